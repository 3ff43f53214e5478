package worker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

const succeeded = messages.RunStatus_RUN_STATUS_SUCCEEDED

// oneSlot is a worker with one slot: its steps say when they are at work, and no two
// may be so at the same time.
type oneSlot struct {
	*actorstest.World
	atWork atomic.Int32
	both   atomic.Bool
	// order is in which steps began to work.
	mu    sync.Mutex
	order []string
}

// work does so for a while, by the name of a step.
func (o *oneSlot) work(name string, d time.Duration) {
	o.mu.Lock()
	o.order = append(o.order, name)
	o.mu.Unlock()
	if o.atWork.Add(1) > 1 {
		o.both.Store(true)
	}
	time.Sleep(d)
	o.atWork.Add(-1)
}

// child is a workflow of one step that works for a while.
func (o *oneSlot) child(name string, d time.Duration) *messages.WorkflowDefinition {
	return o.Workflow(name, messages.Sticky_STICKY_NONE, func(context.Context, *attempt.Attempt) ([]byte, error) {
		o.work(name, d)
		return []byte("1"), nil
	})
}

func (o *oneSlot) spawn(ctx context.Context, a *attempt.Attempt, workflow string) string {
	id, err := a.Calls.SpawnChild(ctx, &messages.SpawnChild{Workflow: workflow, Key: workflow, Input: []byte("null")})
	if err != nil {
		o.T.Errorf("spawn of %s: %v", workflow, err)
	}
	return id
}

func (o *oneSlot) await(ctx context.Context, a *attempt.Attempt, id string) {
	if _, err := a.Calls.AwaitCall(ctx, actorstest.ForChild(id)); err != nil {
		o.T.Errorf("wait for %s: %v", id, err)
	}
}

// runs runs a parent beside its children, on one slot.
func (o *oneSlot) runs(parent attempt.Function, children ...*messages.WorkflowDefinition) {
	o.T.Helper()
	def := o.Workflow("parent", messages.Sticky_STICKY_NONE, parent)
	def.Steps[0].Retries = 0
	s := o.Server("s1")
	o.WorkerWith("w1", o.Network.Host("w1"), 1, append(children, def)...)
	o.Start(s, "p", def)
	o.Ends(s, "p", time.Hour, succeeded)
	if o.both.Load() {
		o.T.Errorf("two steps were at work on one slot; they began in the order of %v", o.order)
	}
}

func withOneSlot(t *testing.T, f func(o *oneSlot)) {
	actorstest.Bubble(t, func(w *actorstest.World) { f(&oneSlot{World: w}) })
}

// A function that goes on while a goroutine of it waits for a child keeps its slot.
// The child gets it once the function has nothing to do but to wait.
func TestAFunctionThatWorksKeepsItsSlot(t *testing.T) {
	withOneSlot(t, func(o *oneSlot) {
		o.runs(func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			id := o.spawn(ctx, a, "child")
			var group sync.WaitGroup
			group.Go(func() { o.await(ctx, a, id) })
			o.work("parent", 10*time.Second)
			group.Wait()
			o.work("parent", time.Second)
			return []byte("1"), nil
		}, o.child("child", 5*time.Second))
	})
}

// The same while it waits for a signal.
func TestAFunctionThatWorksWhileAGoroutineReceivesKeepsItsSlot(t *testing.T) {
	withOneSlot(t, func(o *oneSlot) {
		o.runs(func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			id := o.spawn(ctx, a, "child")
			var group sync.WaitGroup
			group.Go(func() {
				if _, err := a.Calls.AwaitCall(ctx, &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "go", Key: "k", TimeoutMs: 20_000}); err != nil {
					o.T.Error(err)
				}
			})
			o.work("parent", 10*time.Second)
			group.Wait()
			if len(o.order) != 2 {
				o.T.Errorf("the child should have had the slot while the function waited: %v", o.order)
			}
			o.await(ctx, a, id)
			return []byte("1"), nil
		}, o.child("child", 5*time.Second))
	})
}

// The goroutines of a function wait for several children, on the one slot.
func TestAFunctionThatWaitsForItsGoroutinesHoldsNoSlot(t *testing.T) {
	withOneSlot(t, func(o *oneSlot) {
		o.runs(func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			var group sync.WaitGroup
			for _, name := range []string{"one", "two", "three"} {
				id := o.spawn(ctx, a, name)
				group.Go(func() { o.await(ctx, a, id) })
			}
			group.Wait()
			return []byte("1"), nil
		}, o.child("one", 5*time.Second), o.child("two", time.Second), o.child("three", 3*time.Second))
	})
}

// A function that works on what came first, while a goroutine of it waits for the
// rest, has the slot for that.
func TestAFunctionThatWorksAgainTakesItsSlot(t *testing.T) {
	withOneSlot(t, func(o *oneSlot) {
		o.runs(func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			results := make(chan string, 3)
			for _, name := range []string{"one", "two", "three"} {
				id := o.spawn(ctx, a, name)
				go func() { o.await(ctx, a, id); results <- id }()
			}
			for range 3 {
				<-results
				o.work("parent", 10*time.Second)
			}
			return []byte("1"), nil
		}, o.child("one", time.Second), o.child("two", time.Second), o.child("three", time.Second))
	})
}

// A function that waits itself gives the slot back at once, and has it before it goes
// on, though goroutines of it still wait.
func TestAFunctionThatWaitsItselfTakesItsSlotAgain(t *testing.T) {
	withOneSlot(t, func(o *oneSlot) {
		o.runs(func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			one, two := o.spawn(ctx, a, "one"), o.spawn(ctx, a, "two")
			var group sync.WaitGroup
			group.Go(func() { o.await(ctx, a, two) })
			o.await(ctx, a, one)
			o.work("parent", 10*time.Second)
			group.Wait()
			return []byte("1"), nil
		}, o.child("one", time.Second), o.child("two", time.Second))
	})
}
