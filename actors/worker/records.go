package worker

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// recordGrace is how long a call may still be recorded after the context of its
// attempt has ended: its function has been called, and the attempt is live until
// its result is recorded.
const recordGrace = 5 * time.Second

// callID names a call within a step.
type callID struct{ name, key string }

// records are the calls that earlier attempts of the step have recorded. They are
// asked for when the step makes them again, a page at a time: a page that was not
// used up is dropped for the next one.
type records struct {
	// turn is held by whoever asks for a page.
	turn chan struct{}
	page map[callID]*messages.CallRecorded
	// taken counts those that the step has made again, made those that it adds.
	taken, made int
}

func newRecords() records { return records{turn: make(chan struct{}, 1)} }

// RecordedCall implements attempt.Calls.
func (c *attemptCalls) RecordedCall(ctx context.Context, name, key string) (*messages.CallRecorded, error) {
	if cause := c.released(); cause != nil {
		return nil, cause
	}
	defer c.Works()()
	r := &c.records
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	id, all := callID{name, key}, int(c.dispatch.RecordedCalls)
	if r.page[id] == nil && r.taken < all {
		if err := c.readPage(ctx, name, key); err != nil {
			return nil, err
		}
	}
	if call := r.page[id]; call != nil {
		delete(r.page, id)
		r.taken++
		return call, nil
	}
	if all+r.made >= messages.CallsMax {
		return nil, messages.Errorf(messages.CodeLimitExceeded, "step %q has made %d calls; more than CallsMax = %d are not recorded", c.dispatch.Step, all+r.made, messages.CallsMax)
	}
	r.made++
	return nil, nil
}

// readPage asks the run for a record and what follows it.
func (c *attemptCalls) readPage(ctx context.Context, name, key string) error {
	d := c.dispatch
	reply, err := askRun[*messages.RecordedCallsReply](ctx, c, "the record of call "+name, &messages.RecordedCalls{
		RunId: d.RunId, Step: d.Step, Attempt: d.Attempt, Epoch: d.Epoch, Name: name, Key: key})
	if err != nil || len(reply.Calls) == 0 {
		return c.refused(err)
	}
	c.records.page = make(map[callID]*messages.CallRecorded, len(reply.Calls))
	for _, call := range reply.Calls {
		// What this attempt has recorded it does not ask for again.
		if call.Attempt < d.Attempt {
			c.records.page[callID{call.Name, call.Key}] = call
		}
	}
	return nil
}

// RecordCall implements attempt.Calls.
func (c *attemptCalls) RecordCall(ctx context.Context, call *messages.CallRecorded) error {
	if cause := c.released(); cause != nil {
		return cause
	}
	defer c.Works()()
	d := c.dispatch
	call.Step, call.Attempt = d.Step, d.Attempt
	c.flushStreams(ctx)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() {
		timer := time.AfterFunc(recordGrace, func() { cancel(context.Cause(c.life)) })
		context.AfterFunc(ctx, func() { timer.Stop() })
	})()
	_, err := askRun[*messages.RecordCallReply](ctx, c, "the record of call "+call.Name, &messages.RecordCall{RunId: d.RunId, Epoch: d.Epoch, Call: call})
	return c.refused(err)
}

// refused ends the context of an attempt that its run does not want any more: what
// it returns will not count either.
func (c *attemptCalls) refused(err error) error {
	if code := messages.CodeOf(err); code == messages.CodeStaleAttempt || code == messages.CodeSuspended {
		c.limit.end(err)
	}
	if cause := c.released(); cause != nil {
		return cause
	}
	return err
}
