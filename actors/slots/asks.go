package slots

import (
	"container/list"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// The owner of a run says when it is no longer bound here, but RunReleased may
// be lost: then the run would be counted, and its local state kept, for good.
const (
	// StillBoundAfter is how long nothing is heard of a bound run before its
	// owner is asked about it, StillBoundDraining the same while the worker
	// drains: somebody waits for its end.
	StillBoundAfter    = time.Minute
	StillBoundDraining = 5 * time.Second
	// StillBoundEvery is the least time between two rounds of questions,
	// StillBoundBatch the number of runs in one.
	StillBoundEvery = time.Second
	StillBoundBatch = 256
)

// boundRuns are the bound runs, the one that was heard of the longest ago
// first.
type boundRuns struct {
	order list.List
	from  time.Time // no question before
}

func (b *boundRuns) add(r *run, now time.Time) {
	r.heardAt = now
	r.asked = b.order.PushBack(r)
}

func (b *boundRuns) remove(r *run) {
	b.order.Remove(r.asked)
	r.asked = nil
}

func (b *boundRuns) heard(r *run, now time.Time) {
	r.heardAt = now
	b.order.MoveToBack(r.asked)
}

func (b *boundRuns) oldest() *run {
	if e := b.order.Front(); e != nil {
		return e.Value.(*run)
	}
	return nil
}

// heardOf notes a message of a run.
func (c *Core) heardOf(now time.Time, runID string) {
	if r := c.runs[runID]; r != nil && r.bound {
		c.asks.heard(r, now)
	}
}

func (c *Core) askAfter() time.Duration {
	if c.drain.on {
		return StillBoundDraining
	}
	return StillBoundAfter
}

// askDue is when the next question is; zero for never.
func (c *Core) askDue() time.Time {
	r := c.asks.oldest()
	if r == nil {
		return time.Time{}
	}
	if due := r.heardAt.Add(c.askAfter()); due.After(c.asks.from) {
		return due
	}
	return c.asks.from
}

// askBound asks about the runs of which nothing was heard for long.
func (c *Core) askBound(now time.Time) {
	due := c.askDue()
	if c.stopped || due.IsZero() || now.Before(due) {
		return
	}
	after := c.askAfter()
	var runs []*messages.BoundRun
	for r := c.asks.oldest(); len(runs) < StillBoundBatch && !now.Before(r.heardAt.Add(after)); r = c.asks.oldest() {
		runs = append(runs, &messages.BoundRun{RunId: r.id, Epoch: r.epoch})
		c.asks.heard(r, now)
	}
	c.asks.from = now.Add(StillBoundEvery)
	c.out = append(c.out, Action{Kind: AskBound, Runs: runs})
}
