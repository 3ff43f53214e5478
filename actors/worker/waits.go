package worker

import (
	"context"
	"sync"

	"github.com/limpetrun/limpet/messages"
)

// news wakes the waiting calls of an attempt when its run asks what became of it:
// one of them may have come out. The zero value is ready.
type news struct {
	mu    sync.Mutex
	waits map[attemptID]chan struct{}
}

// attemptID names an attempt.
type attemptID struct {
	run, step string
	attempt   int32
}

func attemptIDOf(d *messages.Dispatch) attemptID { return attemptID{d.RunId, d.Step, d.Attempt} }

// next is closed by the next news of the attempt.
func (n *news) next(id attemptID) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waits == nil {
		n.waits = make(map[attemptID]chan struct{})
	}
	if n.waits[id] == nil {
		n.waits[id] = make(chan struct{})
	}
	return n.waits[id]
}

// came wakes those that wait; after an attempt has ended it forgets it.
func (n *news) came(id attemptID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.waits[id]; c != nil {
		close(c)
		delete(n.waits, id)
	}
}

// slotless gives the slot of an attempt back once one of its calls has to wait.
type slotless struct {
	*attemptCalls
	id         callID
	own, began bool
}

func (s *slotless) begin() {
	if !s.began {
		s.own, s.began = inFunction(), true
		s.waitBegan(s.own, s.id)
	}
}

func (s *slotless) end() {
	if s.began {
		s.waitEnded(s.own, s.id)
	}
}

// AwaitCall implements attempt.Calls.
func (c *attemptCalls) AwaitCall(ctx context.Context, wait *messages.AwaitCall) (*messages.CallRecorded, error) {
	c.name(wait)
	c.flushStreams(ctx)
	slot := &slotless{attemptCalls: c, id: callID{wait.Name, wait.Key}}
	defer slot.end()
	return slot.await(ctx, wait)
}

// AwaitAll implements attempt.Calls. The worker is told once all parts have come out, so
// that they can be waited for one after the other.
func (c *attemptCalls) AwaitAll(ctx context.Context, all *messages.AwaitCall) (*messages.CallRecorded, []*messages.CallRecorded, error) {
	c.name(all)
	c.flushStreams(ctx)
	recorded, err := c.RecordedCall(ctx, all.Name, all.Key)
	if err != nil || recorded != nil && recorded.Kind != all.Kind {
		return recorded, nil, err
	}
	parts := messages.PartsOf(all)
	calls, missing := make([]*messages.CallRecorded, len(parts)), false
	for i, part := range parts {
		if calls[i], err = c.RecordedCall(ctx, part.Name, part.Key); err != nil {
			return nil, nil, err
		}
		missing = missing || calls[i] == nil
	}
	if recorded == nil || missing {
		over := c.Works()
		recorded, err = c.askWait(ctx, all)
		if over(); err != nil {
			return nil, nil, err
		}
	}
	slot := &slotless{attemptCalls: c, id: callID{all.Name, all.Key}}
	defer slot.end()
	for i, part := range parts {
		if calls[i] == nil {
			if calls[i], err = slot.await(ctx, part); err != nil {
				return nil, nil, err
			}
		}
	}
	return recorded, calls, nil
}

// name says whose call it is.
func (c *attemptCalls) name(wait *messages.AwaitCall) {
	d := c.dispatch
	wait.RunId, wait.Step, wait.Attempt, wait.Epoch = d.RunId, d.Step, d.Attempt, d.Epoch
}

// askAgain asks once more. Until it is known to wait it counts as work.
func (s *slotless) askAgain(ctx context.Context, wait *messages.AwaitCall) (*messages.CallRecorded, error) {
	if cause := s.released(); cause != nil {
		return nil, cause
	}
	if !s.began {
		defer s.Works()()
	}
	return s.askWait(ctx, wait)
}

// await asks how a call came out, with each news, until it has. What is there at once
// needs no slot to be given back.
func (s *slotless) await(ctx context.Context, wait *messages.AwaitCall) (*messages.CallRecorded, error) {
	for {
		news := s.worker.news.next(attemptIDOf(s.dispatch))
		call, err := s.askAgain(ctx, wait)
		switch {
		case ctx.Err() != nil && s.life.Err() == nil:
			return s.withdraw(wait)
		case call != nil || err != nil:
			return call, err
		}
		s.begin()
		select {
		case <-news:
		case <-s.life.Done():
			return nil, context.Cause(s.life)
		case <-ctx.Done():
			return s.withdraw(wait)
		}
	}
}

// withdraw ends a wait for good: also what comes out of that is on record.
func (c *attemptCalls) withdraw(wait *messages.AwaitCall) (*messages.CallRecorded, error) {
	wait.Withdrawn = true
	return c.askWait(c.life, wait)
}

func (c *attemptCalls) askWait(ctx context.Context, wait *messages.AwaitCall) (*messages.CallRecorded, error) {
	reply, err := askRun[*messages.RecordedCallsReply](ctx, c, "the wait of call "+wait.Name, wait)
	if err != nil || len(reply.Calls) == 0 {
		return nil, c.refused(err)
	}
	return reply.Calls[0], nil
}
