package worker

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// What functions, and goroutines of theirs, do while they are looked at; each until
// the channel is closed.
var lookedAt = map[string]struct {
	does  func(stop chan struct{})
	works bool
}{
	"waits for a channel": {func(stop chan struct{}) { <-stop }, false},
	"waits for several":   {func(stop chan struct{}) { waitsForSeveral(stop) }, false},
	"waits for a group": {func(stop chan struct{}) {
		var group sync.WaitGroup
		group.Go(func() { <-stop })
		group.Wait()
	}, false},
	"waits for a lock": {func(stop chan struct{}) {
		var lock sync.Mutex
		lock.Lock()
		go func() { <-stop; lock.Unlock() }()
		lock.Lock()
	}, false},
	"waits for a condition": {func(stop chan struct{}) {
		var lock sync.Mutex
		over := sync.NewCond(&lock)
		lock.Lock()
		go func() { <-stop; lock.Lock(); over.Signal(); lock.Unlock() }()
		over.Wait()
	}, false},
	"computes": {spin, true},
	"computes far down": {func(stop chan struct{}) {
		spinBelow(stop, 200)
	}, true},
	"sleeps": {func(stop chan struct{}) {
		for !closed(stop) {
			time.Sleep(50 * time.Millisecond)
		}
	}, true},
	"reads from a connection": {readUntil, true},
	"has a goroutine that computes": {func(stop chan struct{}) {
		var group sync.WaitGroup
		group.Go(func() { spin(stop) })
		group.Wait()
	}, true},
	"has a goroutine that sleeps": {func(stop chan struct{}) {
		go func() {
			for !closed(stop) {
				time.Sleep(50 * time.Millisecond)
			}
		}()
		<-stop
	}, false},
	"has a goroutine that reads from a connection": {func(stop chan struct{}) {
		go readUntil(stop)
		<-stop
	}, false},
}

func closed(stop chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

func waitsForSeveral(stop chan struct{}) {
	select {
	case <-stop:
	case <-make(chan int):
	}
}

func spin(stop chan struct{}) {
	for n := 0; ; n++ {
		if n%1_000_000 == 0 && closed(stop) {
			return
		}
	}
}

func spinBelow(stop chan struct{}, frames int) {
	if frames == 0 {
		spin(stop)
		return
	}
	spinBelow(stop, frames-1)
}

func readUntil(stop chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	go func() { <-stop; _ = c.Close() }()
	_, _ = c.Read(make([]byte, 1))
}

// A function is looked at while it does one thing or the other.
func TestLookTellsWorkFromWaiting(t *testing.T) {
	for what, of := range lookedAt {
		t.Run(what, func(t *testing.T) {
			stop := make(chan struct{})
			defer close(stop)
			looks(t, workerTestConfig{}, func(context.Context, *attempt.Attempt) ([]byte, error) {
				of.does(stop)
				return []byte("1"), nil
			}, of.works)
		})
	}
}

// A function that waits for its local state to be built works.
func TestLookTellsWaitingForStateFromWaitingForGoroutines(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	state := newKept("x", make(chan string, 1))
	state.Bind = func(context.Context, *attempt.Build) (any, error) { <-stop; return 1, nil }
	looks(t, workerTestConfig{locals: map[string]*attempt.Local{"x": state.Local}}, getting(state), true, ofEpoch(1))
}

// looks wants the function to be seen at work, or not.
func looks(t *testing.T, c workerTestConfig, f attempt.Function, works bool, change ...func(*messages.Dispatch)) {
	t.Helper()
	began := make(chan struct{})
	c.slots, c.functions = 1, map[string]attempt.Function{"f": func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
		close(began)
		return f(ctx, a)
	}}
	w := mustStartTestWorker(t, startWorkerServer(t), c)
	w.dispatch("r", "f", change...)
	<-began
	// It takes a moment to get there, and may be elsewhere for one.
	agrees := 0
	for range 200 {
		if functionsAtWork()[1] == works {
			agrees++
		} else {
			agrees = 0
		}
		if agrees == 3 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("it is not seen to be so: at work %v", works)
}

// A goroutine that a function has started is told from the function, at any depth.
func TestLookKnowsTheFunctionsOwnGoroutine(t *testing.T) {
	s := startWorkerServer(t)
	type answers struct{ own, deep, other bool }
	told := make(chan answers, 1)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"f": func(context.Context, *attempt.Attempt) ([]byte, error) {
			var a answers
			a.own, a.deep = inFunction(), inFunctionBelow(300)
			var group sync.WaitGroup
			group.Go(func() { a.other = inFunction() })
			group.Wait()
			told <- a
			return []byte("1"), nil
		}}})
	w.dispatch("r", "f")
	if got, want := <-told, (answers{true, true, false}); got != want {
		t.Errorf("in the function: %+v, want %+v", got, want)
	}
}

func inFunctionBelow(frames int) bool {
	if frames == 0 {
		return inFunction()
	}
	return inFunctionBelow(frames - 1)
}
