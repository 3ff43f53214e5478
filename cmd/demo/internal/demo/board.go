package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

// binding of a run, as its history tells.
type binding struct {
	epoch       uint64
	worker      string
	incarnation string
	reason      string
	from        string
}

// result of a step, as recorded in the history of its run.
type result struct {
	attempt int
	output  []byte
}

// runView is what the history of a run has told so far.
type runView struct {
	name   string
	id     string
	corpus Corpus
	sticky sdk.Sticky
	// parent is the id of the run that spawned it, and parentStep the step.
	parent, parentStep string

	bindings []binding
	// pending is why the binding cannot be used now.
	pending string
	results map[string][]result
	ended   bool
	status  messages.RunStatus
	failure *messages.Failure
	// started and endedAt are times of the server.
	started, endedAt time.Time
}

// worker is that of the newest binding.
func (v *runView) worker() string {
	if len(v.bindings) == 0 {
		return ""
	}
	return v.bindings[len(v.bindings)-1].worker
}

// Board follows the histories of all runs.
type Board struct {
	client *sdk.Client
	screen *Screen

	mu      sync.Mutex
	runs    []*runView
	changed chan struct{}
	// failed is the first error of a watch.
	failed   error
	watching sync.WaitGroup
}

func newBoard(client *sdk.Client, screen *Screen) *Board {
	return &Board{client: client, screen: screen, changed: make(chan struct{})}
}

// follow adds a run and watches it until it has ended.
func (b *Board) follow(ctx context.Context, v *runView) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(ctx, v)
}

// add is follow under the lock.
func (b *Board) add(ctx context.Context, v *runView) {
	v.results = make(map[string][]result)
	b.runs = append(b.runs, v)
	b.watching.Go(func() {
		for try := 0; b.watch(ctx, v); try++ {
			// A child is made after its parent's history names it.
			if backoff.Sleep(ctx, unbornPause) != nil {
				return
			}
			if try == unbornTries {
				b.told(func() { b.failed = fmt.Errorf("%s (%s) was named by its parent, but does not exist", v.name, v.id) })
				return
			}
		}
	})
}

// How often, and in which distance, a child is looked for.
const (
	unbornTries = 100
	unbornPause = 50 * time.Millisecond
)

// watch follows a run until it has ended; unborn says that there is none yet.
func (b *Board) watch(ctx context.Context, v *runView) (unborn bool) {
	for entry, err := range b.client.Run(v.id).Watch(ctx, 0) {
		if v.parent != "" && errors.Is(err, sdk.ErrUnknownRun) {
			return true
		}
		b.told(func() {
			if err != nil && b.failed == nil {
				b.failed = fmt.Errorf("watch %s (%s): %w", v.name, v.id, err)
			}
			for _, e := range entry.GetEvents() {
				b.apply(ctx, v, e, entry)
			}
		})
	}
	return false
}

// told changes the board and wakes who waits for a change.
func (b *Board) told(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

// apply folds one event. The lock is held.
func (b *Board) apply(ctx context.Context, v *runView, e *messages.Event, at *api.WatchRunResponse) {
	switch k := e.GetKind().(type) {
	case *messages.Event_RunStarted:
		v.started = at.GetAt().AsTime()
		v.parentStep = k.RunStarted.GetParentStep()
	case *messages.Event_Bound:
		b.bound(v, k.Bound)
	case *messages.Event_BindingLost:
		v.pending = k.BindingLost.GetReason().Words()
		b.screen.Line("%s lost %s: %s", v.name, v.worker(), v.pending)
	case *messages.Event_BindingRestored:
		v.pending = ""
		b.screen.Line("%s has %s back", v.name, v.worker())
	case *messages.Event_StepSucceeded:
		s := k.StepSucceeded
		v.results[s.GetStep()] = append(v.results[s.GetStep()], result{int(s.GetAttempt()), s.GetOutput()})
	case *messages.Event_AttemptLost:
		b.screen.Line("%s %s#%d is lost: %s", v.name, k.AttemptLost.GetStep(), k.AttemptLost.GetAttempt(), k.AttemptLost.Why())
	case *messages.Event_AttemptFailed:
		f := k.AttemptFailed
		b.screen.Line("%s %s#%d failed: %s", v.name, f.GetStep(), f.GetAttempt(), f.GetFailure().GetMessage())
	case *messages.Event_ChildSpawned:
		c := k.ChildSpawned
		if b.find(c.GetChildRun()) == nil {
			child := &runView{name: nameChild, id: c.GetChildRun(), corpus: v.corpus, sticky: sdk.Soft, parent: v.id}
			b.screen.Line("%s spawned a sticky child", v.name)
			b.add(ctx, child)
		}
	case *messages.Event_RunEnded:
		v.ended, v.status, v.failure, v.endedAt = true, k.RunEnded.GetStatus(), k.RunEnded.GetFailure(), at.GetAt().AsTime()
		b.screen.Line("%s %s after %s", v.name, statusName(v.status), span(v.endedAt.Sub(v.started)))
	}
}

func (b *Board) bound(v *runView, e *messages.Bound) {
	before := v.worker()
	v.pending = ""
	v.bindings = append(v.bindings, binding{
		epoch: e.GetEpoch(), worker: e.GetWorker().GetWorkerId(), incarnation: e.GetWorker().GetIncarnation(),
		reason: e.GetReason().Words(), from: e.GetFromWorker(),
	})
	switch {
	case before == "":
		b.screen.Line("%s is bound to %s (%s)", v.name, v.worker(), e.GetReason().Words())
	case before == v.worker():
		b.screen.Line("%s stays with %s, a new process (%s, epoch %d)", v.name, v.worker(), e.GetReason().Words(), e.GetEpoch())
	default:
		b.screen.Line("%s moves from %s to %s (%s, epoch %d)", v.name, before, v.worker(), e.GetReason().Words(), e.GetEpoch())
	}
}

func (b *Board) find(id string) *runView {
	for _, v := range b.runs {
		if v.id == id {
			return v
		}
	}
	return nil
}

// until waits for a condition, which is called under the lock; what names it
// in the error.
func (b *Board) until(ctx context.Context, what string, condition func() bool) error {
	for {
		b.mu.Lock()
		ok, failed, changed := condition(), b.failed, b.changed
		b.mu.Unlock()
		switch {
		case ok:
			return nil
		case failed != nil:
			return failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
}

// allEnded is a condition for until.
func (b *Board) allEnded() bool {
	for _, v := range b.runs {
		if !v.ended {
			return false
		}
	}
	return true
}

// tally is the board in numbers.
type tally struct {
	runs, ended, steps, done int
	// live is the number of unfinished runs of each worker.
	live map[string]int
	// pending runs wait for their worker.
	pending int
}

func (b *Board) tally() tally {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count()
}

// count is tally under the lock.
func (b *Board) count() tally {
	t := tally{live: make(map[string]int)}
	for _, v := range b.runs {
		t.runs++
		t.steps += v.stepCount()
		t.done += len(v.results)
		switch {
		case v.ended:
			t.ended++
		case v.pending != "":
			t.pending++
		case v.worker() != "":
			t.live[v.worker()]++
		}
	}
	return t
}

// stepCount is the number of steps of the run's workflow.
func (v *runView) stepCount() int {
	switch v.name {
	case nameChild:
		return 2
	case nameParent:
		return len(questions) + 3
	}
	return len(questions) + 2
}
