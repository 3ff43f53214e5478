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

// AwaitCall implements attempt.Calls.
func (c *attemptCalls) AwaitCall(ctx context.Context, wait *messages.AwaitCall) (*messages.CallRecorded, error) {
	d := c.dispatch
	wait.RunId, wait.Step, wait.Attempt, wait.Epoch = d.RunId, d.Step, d.Attempt, d.Epoch
	// What is there at once needs no slot to be given back.
	news := c.worker.news.next(attemptIDOf(d))
	call, err := c.askWait(ctx, wait)
	if call != nil || err != nil {
		return call, err
	}
	own := inFunction()
	c.waitBegan(own)
	defer c.waitEnded(own)
	for {
		select {
		case <-news:
		case <-c.life.Done():
			return nil, context.Cause(c.life)
		case <-ctx.Done():
			return c.withdraw(wait)
		}
		news = c.worker.news.next(attemptIDOf(d))
		call, err := c.askWait(ctx, wait)
		switch {
		case ctx.Err() != nil && c.life.Err() == nil:
			return c.withdraw(wait)
		case call != nil || err != nil:
			return call, err
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
