package server_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/messages"
)

// startWithin starts a run and wants an answer in time.
func (w *hostWorld) startWithin(s *actorstest.Server, within time.Duration, start *messages.StartRun) *messages.StartRunReply {
	w.T.Helper()
	answered := make(chan *messages.StartRunReply, 1)
	go func() {
		replies, err := s.Host.Engine().StartRuns(w.T.Context(), []*messages.StartRun{start})
		if err != nil {
			answered <- &messages.StartRunReply{Error: messages.ToFailure(err)}
			return
		}
		answered <- replies[0]
	}()
	select {
	case r := <-answered:
		return r
	case <-time.After(within):
		w.T.Fatalf("the start of %s is not answered within %v", start.RunId, within)
		return nil
	}
}

// A run moves to another server before it is stored, and is started there.
func TestHostAnswersTheStartOfARunThatMoves(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, succeed)
		s1 := w.Server("s1")
		w.Record(def)
		id := w.leaves(s1, "s2")
		gate := make(chan struct{})
		var held atomic.Bool
		w.Store.Before(func(method, arg string) error {
			if method == "Append" && arg == id && held.CompareAndSwap(false, true) {
				<-gate
			}
			return nil
		})
		started := w.Later(time.Second, func() { w.StartServer("s2", w.Network.Host("s2"), server.HostConfig{}) })
		time.AfterFunc(5*time.Second, func() { close(gate) })
		if r := w.startWithin(s1, 10*time.Second, actorstest.StartOf(id, def)); r.Error != nil {
			w.T.Fatalf("the start: %v", r.Error)
		}
		started()
		w.Worker("w1", def)
		w.Ends(s1, id, 5*time.Second, succeeded)
	})
}

// Somebody asks for a run just before it is started: the activation that finds
// nothing in the journal does not refuse the start.
func TestHostStartsARunThatIsLookedFor(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, succeed)
		s := w.Server("s1")
		w.Worker("w1", def)
		gate := make(chan struct{})
		var held atomic.Bool
		w.Store.Before(func(method, arg string) error {
			if method == "Load" && arg == "r1" && held.CompareAndSwap(false, true) {
				<-gate
			}
			return nil
		})
		looked := w.Later(0, func() {
			if err := s.Host.Engine().CancelRun(w.T.Context(), &messages.CancelRun{RunId: "r1", Reason: "looked for"}); messages.CodeOf(err) != messages.CodeUnknownRun {
				w.T.Errorf("canceling a run that is not there: %v", err)
			}
		})
		time.AfterFunc(2*time.Second, func() { close(gate) })
		time.Sleep(time.Second)
		if r := w.startWithin(s, 10*time.Second, actorstest.StartOf("r1", def)); r.Error != nil {
			w.T.Errorf("the start: %v", r.Error)
		}
		looked()
		w.Ends(s, "r1", 5*time.Second, succeeded)
	})
}

// An activation that panics takes the message that it was handling along; the
// run goes on in another one.
func TestHostStartsAgainWhatPanicked(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, succeed)
		var panicked atomic.Int32
		s := w.StartServer("s1", w.Network.Host("s1"), server.HostConfig{Hooks: server.HostHooks{AppendFailed: func(string, error) {
			if panicked.Add(1) == 1 {
				panic("on purpose")
			}
		}}})
		w.Worker("w1", def)
		var refused atomic.Bool
		w.Store.Before(func(method, _ string) error {
			if method == "Append" && refused.CompareAndSwap(false, true) {
				return messages.Errorf(messages.CodeJournalCorrupt, "on purpose")
			}
			return nil
		})
		if r := w.startWithin(s, 10*time.Second, actorstest.StartOf("r1", def)); r.Error != nil {
			w.T.Fatalf("the start: %v", r.Error)
		}
		w.Ends(s, "r1", 5*time.Second, succeeded)
		if panicked.Load() != 1 {
			w.T.Fatal("nothing panicked")
		}
	})
}

func TestHostGoesOnWithARunThatPanicked(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		until := make(chan struct{})
		def := w.Workflow("build", soft, hold(until))
		var panicked atomic.Int32
		s := w.StartServer("s1", w.Network.Host("s1"), server.HostConfig{Hooks: server.HostHooks{AppendFailed: func(string, error) {
			panicked.Add(1)
			panic("on purpose")
		}}})
		w.Worker("w1", def)
		w.Start(s, "r1", def)
		time.Sleep(50 * time.Millisecond)
		var refused atomic.Bool
		w.Store.Before(func(method, _ string) error {
			if method == "Append" && refused.CompareAndSwap(false, true) {
				return messages.Errorf(messages.CodeJournalCorrupt, "on purpose")
			}
			return nil
		})
		time.Sleep(time.Second)
		close(until)
		w.Ends(s, "r1", 5*time.Second, succeeded)
		if panicked.Load() != 1 {
			w.T.Fatal("nothing panicked")
		}
	})
}

// Of many starts with one key one starts the run, and all are answered, also
// while the run ends and leaves memory.
func TestHostAnswersStartsOfOneRun(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, succeed)
		s := w.Server("s1")
		w.Worker("w1", def)
		for round := range 20 {
			id := fmt.Sprintf("r%d", round)
			var fresh atomic.Int32
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					time.Sleep(time.Duration(i/10) * 300 * time.Millisecond)
					r := w.startWithin(s, 5*time.Second, actorstest.StartOf(id, def))
					if r.Error != nil {
						w.T.Errorf("start %d: %v", i, r.Error)
					}
					if !r.Existed {
						fresh.Add(1)
					}
				})
			}
			all.Wait()
			if n := fresh.Load(); n != 1 {
				w.T.Fatalf("%d starts started the run", n)
			}
		}
	})
}

// The journal's queue is full: the start is refused, and nothing is left.
func TestHostRefusesAStartThatTheJournalHasNoRoomFor(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		w.Committer = journal.CommitterConfig{QueueMax: 1}
		def := w.Workflow("build", soft, succeed)
		s := w.Server("s1")
		w.Worker("w1", def)
		gate := make(chan struct{})
		w.Store.Before(func(method, _ string) error {
			if method == "Append" {
				<-gate
			}
			return nil
		})
		var all sync.WaitGroup
		var codes [5]string
		for i := range codes {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				codes[i] = w.startWithin(s, time.Minute, actorstest.StartOf(fmt.Sprintf("r%d", i), def)).Error.GetCode()
			})
		}
		time.Sleep(10 * time.Second)
		close(gate)
		all.Wait()
		const full = string(messages.CodeJournalUnavailable)
		if codes != [5]string{"", "", full, full, full} {
			w.T.Fatalf("the starts: %q", codes)
		}
		for i := range codes {
			if r := w.startWithin(s, time.Second, actorstest.StartOf(fmt.Sprintf("r%d", i), def)); r.Error != nil {
				w.T.Fatalf("started again: %v", r.Error)
			}
			w.Ends(s, fmt.Sprintf("r%d", i), 5*time.Second, succeeded)
		}
	})
}

// A panic over what the store says is an error of what was asked for: it is asked
// again, and the server goes on.
func TestHostGoesOnAfterPanics(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		child := w.Workflow("child", none, succeed)
		def := w.Workflow("parent", soft, func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			id, err := a.Calls.SpawnChild(ctx, &messages.SpawnChild{Workflow: "child", Input: []byte("null"), Key: "k"})
			if err != nil {
				return nil, err
			}
			_, err = a.Calls.AwaitCall(ctx, actorstest.ForChild(id))
			return []byte("1"), err
		})
		var mu sync.Mutex
		panicked := map[string]bool{}
		w.Store.Before(func(method, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range []string{"Load", "Active", "Due", "WatchedWorkers", "WokenByUp"} {
				if method == m && !panicked[method] {
					panicked[method] = true
					panic("on purpose")
				}
			}
			return nil
		})
		s := w.Server("s1")
		w.Worker("w1", def, child)
		if r := w.startWithin(s, 10*time.Second, actorstest.StartOf("r1", def)); r.Error != nil {
			w.T.Fatalf("the start: %v", r.Error)
		}
		w.Ends(s, "r1", time.Minute, succeeded)
		mu.Lock()
		defer mu.Unlock()
		if got := s.Host.Panics(); got == 0 || got != uint64(len(panicked)) {
			w.T.Errorf("%d panics are counted, of %v", got, panicked)
		}
	})
}
