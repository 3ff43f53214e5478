package worker

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

const (
	// watchWait is how long a server may take to say that a run has not ended:
	// an answer that is lost on the way is missed for so long.
	watchWait = 3 * time.Second
	// watchSlack is the time on top after which the question counts as lost.
	watchSlack = 3 * time.Second
)

// attemptCalls is what a running function asks through. Its methods run on the
// function's goroutines.
type attemptCalls struct {
	worker   *Worker
	id       uint64
	dispatch *messages.Dispatch
	life     context.Context // of the attempt
	limit    *attemptContext // the same, for its deadline
	records  records

	mu sync.Mutex
	// waits for children that go on; own: the function itself is in one of them, or
	// waits for the slot after that.
	waits int
	own   bool
	// free: the slot was given back. doubts counts the looks in a row that saw
	// something else.
	free   bool
	doubts int
	// returning are questions for the slot, each closed when it is answered; asked is
	// the newest of them, nil if there is none.
	returning []chan struct{}
	asked     chan struct{}
}

var _ attempt.Calls = (*attemptCalls)(nil)

// SpawnChild implements attempt.Calls.
func (c *attemptCalls) SpawnChild(ctx context.Context, s *messages.SpawnChild) (string, error) {
	d := c.dispatch
	s.RunId, s.Step, s.Attempt, s.Epoch = d.RunId, d.Step, d.Attempt, d.Epoch
	reply, err := askRun[*messages.SpawnChildReply](ctx, c, "the spawn of workflow "+s.Workflow, s)
	if err != nil {
		return "", err
	}
	return reply.ChildRun, nil
}

// answer is what a run answers its step.
type answer interface {
	proto.Message
	GetError() *messages.Failure
}

// askRun asks the attempt's run, and again as long as the answer is that it may
// have another one later.
func askRun[A answer](ctx context.Context, c *attemptCalls, what string, msg proto.Message) (none A, err error) {
	pauses := retryPauses
	for {
		if !c.worker.mayAct() {
			return none, context.Cause(c.life)
		}
		reply, err := c.worker.node.Call(ctx, cluster.KindRun, c.dispatch.RunId, msg)
		if err != nil {
			return none, ended(ctx, err)
		}
		answer, ok := reply.(A)
		if !ok {
			return none, messages.Errorf(messages.CodeInternal, "%s: run %s answered with %T", what, c.dispatch.RunId, reply)
		}
		failure := answer.GetError()
		switch {
		case failure == nil:
			return answer, nil
		case !messages.Code(failure.Code).Retryable():
			return none, messages.FromFailure(failure)
		}
		if backoff.Sleep(ctx, pauses.Next()) != nil {
			return none, ended(ctx, messages.FromFailure(failure))
		}
	}
}

// ended prefers the reason why a context ended to what a call made of it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// AwaitRun implements attempt.Calls. While the function itself waits its slot is
// free, whatever its goroutines do. While only goroutines of it wait, that is so as
// long as it does not work: see look.go. The end of a wait takes the slot again, but
// for one of a goroutine while the function itself waits.
func (c *attemptCalls) AwaitRun(ctx context.Context, runID string) (*messages.RunEnded, map[string][]byte, error) {
	own := inFunction()
	c.waitBegan(own)
	end, outputs, err := c.watch(ctx, runID)
	c.waitEnded(own)
	return end, outputs, err
}

func (c *attemptCalls) waitBegan(own bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits++
	c.own = c.own || own
	if own && !c.free {
		c.giveBack()
	}
	c.changed()
}

// waitEnded asks for the slot, unless the attempt has it, and waits for it. An attempt
// whose own context has ended gets none for its way out.
func (c *attemptCalls) waitEnded(own bool) {
	c.mu.Lock()
	c.waits--
	var resumed chan struct{}
	if own || !c.own {
		if c.free {
			c.takeAgain()
		}
		resumed = c.asked
	}
	c.changed()
	c.mu.Unlock()
	if resumed != nil {
		select {
		case <-resumed:
		case <-c.life.Done():
		}
	}
	if own {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.own = false
		c.changed()
	}
}

// ended: the function has, whatever goes on that it has started.
func (c *attemptCalls) ended() { c.worker.looker.look(c, false) }

// seen takes what a look saw of the function.
func (c *attemptCalls) seen(works bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits == 0 || c.own || c.asked != nil || works != c.free {
		c.doubts = 0
		return
	}
	if c.doubts++; c.doubts < looksAgree {
		return
	}
	if works {
		c.takeAgain()
	} else {
		c.giveBack()
	}
}

// changed: other waits go on than before.
func (c *attemptCalls) changed() {
	c.worker.looker.look(c, c.waits > 0 && !c.own && c.life.Err() == nil)
}

// giveBack gives the slot back.
func (c *attemptCalls) giveBack() {
	c.free, c.doubts = true, 0
	c.limit.setDeadline(time.Time{})
	c.worker.root.Send(c.worker.pid, childWaitBegan{c.id})
}

// takeAgain asks for the slot.
func (c *attemptCalls) takeAgain() {
	c.free, c.doubts = false, 0
	c.asked = make(chan struct{})
	c.returning = append(c.returning, c.asked)
	c.worker.root.Send(c.worker.pid, childWaitEnded{c.id})
}

// resume lets a wait return, of several the one that ended first: each is
// answered, in order.
func (c *attemptCalls) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.returning) > 0 {
		close(c.returning[0])
		c.returning = c.returning[1:]
	}
	if len(c.returning) == 0 {
		c.asked = nil
	}
}

// watch asks the run's owner until the run has ended. It asks again, with what
// it has seen so far, when the owner changes.
func (c *attemptCalls) watch(ctx context.Context, runID string) (*messages.RunEnded, map[string][]byte, error) {
	seen := runOutputs{outputs: map[string][]byte{}}
	pauses := retryPauses
	for {
		_, changed := c.worker.node.Watch()
		reply, err := c.ask(ctx, runID, seen.after)
		switch {
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case err == nil && reply.Error == nil:
			fresh := seen.fold(reply.Entries)
			if seen.end != nil && (reply.Ended || !fresh) {
				return seen.end, seen.outputs, nil
			}
			if fresh || !reply.Ended {
				pauses.Reset()
				continue
			}
			err = messages.Errorf(messages.CodeInternal, "run %s has ended, but its end is not in its history", runID)
		case err == nil && !messages.Code(reply.Error.Code).Retryable():
			return nil, nil, messages.FromFailure(reply.Error)
		}
		if backoff.SleepUntil(ctx, pauses.Next(), changed) != nil {
			return nil, nil, ended(ctx, err)
		}
	}
}

// ask is one question to the run's owner; it ends early if the run gets another
// owner.
func (c *attemptCalls) ask(ctx context.Context, runID string, after uint64) (*messages.WatchRunReply, error) {
	w := c.worker
	view := w.node.View()
	owner, ok := view.OwnerOfRun(runID)
	if !ok {
		return nil, messages.Errorf(messages.CodeUnavailable, "run %s: no server is in the view", runID)
	}
	pid, _ := view.HostPID(runID)
	ctx, cancel := context.WithTimeout(ctx, watchWait+watchSlack)
	defer cancel()
	go func() {
		_, _ = w.node.Await(ctx, func(v *cluster.View) bool {
			now, ok := v.OwnerOfRun(runID)
			return !ok || now.ID != owner.ID
		})
		cancel()
	}()
	reply, err := w.node.Request(ctx, pid, &messages.WatchRun{
		RunId: runID, After: after, WaitMs: watchWait.Milliseconds(), UntilEnded: true,
	})
	if err != nil {
		return nil, err
	}
	answer, ok := reply.(*messages.WatchRunReply)
	if !ok {
		return nil, messages.Errorf(messages.CodeInternal, "run %s: its host answered with %T", runID, reply)
	}
	return answer, nil
}

// runOutputs folds the history of a run to its end and the outputs of its
// steps.
type runOutputs struct {
	after   uint64
	end     *messages.RunEnded
	outputs map[string][]byte
}

// fold says whether there was an entry that it had not seen.
func (r *runOutputs) fold(entries []*messages.NumberedEntry) bool {
	fresh := false
	for _, e := range entries {
		if e.Number != r.after+1 {
			continue
		}
		r.after, fresh = e.Number, true
		for _, ev := range e.GetEntry().GetEvents() {
			switch k := ev.Kind.(type) {
			case *messages.Event_StepSucceeded:
				r.outputs[k.StepSucceeded.Step] = k.StepSucceeded.Output
			case *messages.Event_RunEnded:
				r.end = k.RunEnded
			case *messages.Event_RunReplayed:
				r.end = nil
				for _, step := range k.RunReplayed.Steps {
					delete(r.outputs, step)
				}
				if len(k.RunReplayed.Steps) == 0 {
					clear(r.outputs)
				}
			}
		}
	}
	return fresh
}

// retryPauses are between two tries of a call.
var retryPauses = backoff.Pauses{First: 20 * time.Millisecond, Most: time.Second}
