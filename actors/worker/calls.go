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

// readWithin is after what time a question to a run's owner counts as lost.
const readWithin = 6 * time.Second

// attemptCalls is what a running function asks through. Its methods run on the
// function's goroutines.
type attemptCalls struct {
	worker   *Worker
	id       uint64
	dispatch *messages.Dispatch
	life     context.Context // of the attempt
	limit    *attemptContext // the same, for its deadline
	lease    context.Context // under which the attempt executes
	records  records

	mu sync.Mutex
	// waits that go on; own: the function itself is in one of them, or
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
	idle      idleness
	// told is the newest progress that the worker's actor has not taken; nil for none.
	told []byte
	log  attemptLog
	// streams that it writes, in the order in which it began to.
	streams []*streamWriter
}

var _ attempt.Calls = (*attemptCalls)(nil)

// SendSignal implements attempt.Calls.
func (c *attemptCalls) SendSignal(ctx context.Context, s *messages.SendSignal) (*messages.CallRecorded, error) {
	defer c.Works()()
	if cause := c.released(); cause != nil {
		return nil, cause
	}
	d := c.dispatch
	s.RunId, s.Step, s.Attempt, s.Epoch = d.RunId, d.Step, d.Attempt, d.Epoch
	c.flushStreams(ctx)
	reply, err := askRun[*messages.RecordedCallsReply](ctx, c, "the sending of signal "+s.Signal, s)
	if err != nil {
		return nil, c.refused(err)
	}
	if len(reply.Calls) == 0 {
		return nil, messages.Errorf(messages.CodeInternal, "run %s has no record of call %q %s", d.RunId, s.Name, s.Key)
	}
	return reply.Calls[0], nil
}

// SpawnChild implements attempt.Calls.
func (c *attemptCalls) SpawnChild(ctx context.Context, s *messages.SpawnChild) (string, error) {
	defer c.Works()()
	if cause := c.released(); cause != nil {
		return "", cause
	}
	d := c.dispatch
	s.RunId, s.Step, s.Attempt, s.Epoch = d.RunId, d.Step, d.Attempt, d.Epoch
	c.flushStreams(ctx)
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

// waitBegan: a wait has. While the function itself waits its slot is free, whatever its
// goroutines do. While only goroutines of it wait, that is so as long as it does not
// work: see look.go. The end of a wait takes the slot again, but for one of a goroutine
// while the function itself waits.
func (c *attemptCalls) waitBegan(own bool, id callID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits++
	c.waitOpened(id)
	c.own = c.own || own
	if own && !c.free {
		c.giveBack()
	}
	c.changed()
}

// waitEnded asks for the slot, unless the attempt has it, and waits for it. An attempt
// whose own context has ended gets none for its way out.
func (c *attemptCalls) waitEnded(own bool, id callID) {
	c.mu.Lock()
	c.waits--
	c.waitClosed(id)
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
	c.seenIdle(works)
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
	c.sayIdle()
	c.worker.looker.look(c, (c.waits > 0 && !c.own || c.mayBeIdle()) && c.life.Err() == nil)
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

// Outputs implements attempt.Calls. It asks again, with what it has seen so far, when
// the owner of the child changes.
func (c *attemptCalls) Outputs(ctx context.Context, end *messages.ChildEnd) (map[string][]byte, error) {
	defer c.Works()()
	seen := runOutputs{outputs: map[string][]byte{}, to: end.Entry}
	pauses := retryPauses
	for seen.after < end.Entry {
		_, changed := c.worker.node.Watch()
		answer, err := c.askHost(ctx, end.ChildRun, &messages.WatchRun{RunId: end.ChildRun, After: seen.after})
		reply, ok := answer.(*messages.WatchRunReply)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil && !ok:
			return nil, messages.Errorf(messages.CodeInternal, "run %s: its host answered with %T", end.ChildRun, answer)
		case err == nil && reply.Error == nil:
			if seen.fold(reply.Entries) {
				pauses.Reset()
				continue
			}
			err = messages.Errorf(messages.CodeInternal, "run %s ended with entry %d, its history has %d", end.ChildRun, end.Entry, seen.after)
		case err == nil && !messages.Code(reply.Error.Code).Retryable():
			return nil, messages.FromFailure(reply.Error)
		}
		if backoff.SleepUntil(ctx, pauses.Next(), changed) != nil {
			return nil, ended(ctx, err)
		}
	}
	return seen.outputs, nil
}

// askHost is one question to the host of a run's owner; it ends early if the run gets
// another owner.
func (c *attemptCalls) askHost(ctx context.Context, runID string, question proto.Message) (proto.Message, error) {
	w := c.worker
	view := w.node.View()
	owner, ok := view.OwnerOfRun(runID)
	if !ok {
		return nil, messages.Errorf(messages.CodeUnavailable, "run %s: no server is in the view", runID)
	}
	pid, _ := view.HostPID(runID)
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	go func() {
		_, _ = w.node.Await(ctx, func(v *cluster.View) bool {
			now, ok := v.OwnerOfRun(runID)
			return !ok || now.ID != owner.ID
		})
		cancel()
	}()
	return w.node.Request(ctx, pid, question)
}

// runOutputs folds the outputs of a run's steps from its history, up to an entry.
type runOutputs struct {
	after, to uint64
	outputs   map[string][]byte
}

// fold says whether there was an entry that it had not seen.
func (r *runOutputs) fold(entries []*messages.NumberedEntry) bool {
	fresh := false
	for _, e := range entries {
		if e.Number <= r.after || e.Number > r.to {
			continue
		}
		if e.Number > r.after+1 {
			// The entries between were cut, with all that was before the next change-over.
			clear(r.outputs)
		}
		r.after, fresh = e.Number, true
		for _, ev := range e.GetEntry().GetEvents() {
			switch k := ev.Kind.(type) {
			case *messages.Event_StepSucceeded:
				r.outputs[k.StepSucceeded.Step] = k.StepSucceeded.Output
			case *messages.Event_RunContinued:
				clear(r.outputs)
			case *messages.Event_RunReplayed:
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
