package notify_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/notify"
)

func TestHooksAreCalledInOrder(t *testing.T) {
	var hooks notify.Hooks[int]
	hooks.Call(0)
	var got []int
	cancel := hooks.Add(func(i int) { got = append(got, i) })
	hooks.Add(func(i int) { got = append(got, 10*i) })
	hooks.Call(1)
	cancel()
	cancel()
	hooks.Call(2)
	if want := []int{1, 10, 20}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A hook may add and cancel hooks: no lock is held while it runs.
func TestHookThatChangesTheHooks(t *testing.T) {
	var hooks notify.Hooks[int]
	calls := 0
	var cancel func()
	cancel = hooks.Add(func(int) {
		cancel()
		hooks.Add(func(int) { calls++ })
	})
	hooks.Call(1)
	hooks.Call(2)
	if calls != 1 {
		t.Errorf("%d calls of the hook that was added, want 1", calls)
	}
}

func TestTopicsGoToTheirOwn(t *testing.T) {
	var topics notify.Topics[string, int]
	topics.Call("a", 0)
	var a, b []int
	cancel := topics.Add("a", func(i int) { a = append(a, i) })
	topics.Add("a", func(i int) { a = append(a, 10*i) })
	topics.Add("b", func(i int) { b = append(b, i) })
	topics.Call("a", 1)
	cancel()
	cancel()
	topics.Call("a", 2)
	topics.Call("b", 3)
	topics.Call("c", 4)
	if !slices.Equal(a, []int{1, 10, 20}) || !slices.Equal(b, []int{3}) {
		t.Errorf("a got %v, b got %v, want [1 10 20] and [3]", a, b)
	}
}

// A hook may add and cancel hooks of its own topic: no lock is held while it runs.
func TestTopicThatIsLeftInItsHook(t *testing.T) {
	var topics notify.Topics[string, int]
	calls := 0
	var cancel func()
	cancel = topics.Add("a", func(int) {
		cancel()
		topics.Add("a", func(int) { calls++ })
	})
	topics.Call("a", 1)
	topics.Call("a", 2)
	if calls != 1 {
		t.Errorf("%d calls of the hook that was added, want 1", calls)
	}
}

func TestQueueKeepsTheOrder(t *testing.T) {
	var queue notify.Queue[int]
	ctx, stop := context.WithCancel(t.Context())
	var got []int
	var done sync.WaitGroup
	done.Go(func() {
		queue.Run(ctx, func(i int) {
			if got = append(got, i); i == 999 {
				stop()
			}
		})
	})
	for i := range 1000 {
		queue.Put(i)
	}
	done.Wait()
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Errorf("%d events, sorted: %v", len(got), slices.IsSorted(got))
	}
}

func TestAwaitSeesTheNewest(t *testing.T) {
	value := notify.NewValue(0)
	go func() {
		for i := range 100 {
			value.Set(i + 1)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := value.Await(ctx, func(i int) bool { return i == 100 }); err != nil || got != 100 {
		t.Errorf("got %d, %v", got, err)
	}
	cancel()
	if _, err := value.Await(ctx, func(int) bool { return false }); err != context.Canceled {
		t.Errorf("got %v, want the cause of the context", err)
	}
}

// Each subscriber gets the newest version at once and the last one of all.
func TestSubscribersGetTheLastVersion(t *testing.T) {
	value := notify.NewValue(0)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { value.Run(ctx) })
	first, last := make(chan int, 1), make(chan struct{})
	cancel := value.Subscribe(func(i int) {
		select {
		case first <- i:
		default:
		}
		if i == 100 {
			close(last)
		}
	})
	if got := <-first; got != 0 {
		t.Errorf("the first version is %d, want 0", got)
	}
	for i := range 100 {
		value.Set(i + 1)
	}
	<-last
	cancel()
	value.Set(100)
	stop()
	running.Wait()
}
