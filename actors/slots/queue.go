package slots

import (
	"time"

	"github.com/limpetrun/limpet/actors/heap"
	"github.com/limpetrun/limpet/messages"
)

// Classes of the queue.
const (
	classReturning = iota + 1
	classBound
	classNew
	// classAside are suspects whose turn it is not, behind all others.
	classAside
)

// newQueue makes the queue of the attempts that wait for a slot.
func newQueue() heap.Heap[*attempt] {
	return heap.New((*attempt).goesBefore, func(a *attempt) *heap.Place { return &a.inQueue })
}

// newTimers makes the queue of the attempts with something due.
func newTimers() heap.Heap[*attempt] {
	return heap.New(func(a, b *attempt) bool { return a.due.Before(b.due) }, func(a *attempt) *heap.Place { return &a.inTimers })
}

// goesBefore is the order of the queue: class, priority, ready time, arrival.
// Steps that return from a wait go in the order in which they came back.
func (a *attempt) goesBefore(b *attempt) bool {
	if a.queueClass != b.queueClass {
		return a.queueClass < b.queueClass
	}
	if a.queueClass != classReturning {
		if p, q := priority(a), priority(b); p != q {
			return p < q
		}
		if a.dispatch.ReadyUs != b.dispatch.ReadyUs {
			return a.dispatch.ReadyUs < b.dispatch.ReadyUs
		}
	}
	return a.order < b.order
}

func priority(a *attempt) int32 {
	if a.dispatch.Priority == 0 {
		return messages.DefaultPriority
	}
	return a.dispatch.Priority
}

// ahead counts the attempts of the queue that go before one. Beyond aheadMax it
// counts all others: the number is for people.
func (c *Core) ahead(a *attempt) int {
	const aheadMax = 256
	if c.queue.Len() > aheadMax {
		return c.queue.Len() - 1
	}
	n := 0
	for _, b := range c.queue.Items() {
		if b != a && b.goesBefore(a) {
			n++
		}
	}
	return n
}

func (c *Core) enqueue(a *attempt) {
	c.lastOrder++
	a.order = c.lastOrder
	switch {
	case a.phase == phaseReturning:
		a.queueClass = classReturning
	case !c.suspects.hasTurn(a):
		a.queueClass = classAside
		c.suspects.aside++
	case a.dispatch.Bound:
		a.queueClass = classBound
	default:
		a.queueClass = classNew
	}
	c.queue.Push(a)
	c.load.dirty = true
}

func (c *Core) dequeue(a *attempt) {
	if a.inQueue.In() {
		if a.queueClass == classAside {
			c.suspects.aside--
		}
		c.queue.Remove(a)
		c.load.dirty = true
	}
}

// retime computes what is next due of an attempt.
func (c *Core) retime(a *attempt) {
	due := a.nextDue()
	switch {
	case due.IsZero():
		c.untime(a)
	case !a.inTimers.In():
		a.due = due
		c.timers.Push(a)
	case !due.Equal(a.due):
		a.due = due
		c.timers.Fix(a)
	}
}

func (c *Core) untime(a *attempt) {
	if a.inTimers.In() {
		c.timers.Remove(a)
	}
}

func (a *attempt) nextDue() time.Time {
	switch {
	case a.phase == phaseEnded:
		return a.resendAt
	case a.phase == phaseQueued:
		return time.Time{}
	case a.phase == phaseForgotten || a.cause != nil:
		return a.giveUp
	}
	due := minTime(minTime(a.deadline, a.askAt), minTime(a.silentTo, a.progress.due()))
	if !a.told {
		due = minTime(due, a.newsAt.Add(StartedNotice))
	}
	return due
}

// expire does what is due of attempts, in the order of the times at which it
// became due.
func (c *Core) expire(now time.Time) {
	for c.timers.Len() > 0 && !c.timers.First().due.After(now) {
		a := c.timers.First()
		switch {
		case a.phase == phaseEnded:
			c.resend(now, a)
		case a.phase == phaseForgotten:
			c.holdSlot(now, a)
		case a.cause != nil:
			c.holdSlot(now, a)
			c.conclude(now, a, nil, messages.ToFailure(a.cause))
		case passed(a.deadline, now):
			c.abandon(now, a, timeoutError(a))
		case passed(a.silentTo, now):
			c.abandon(now, a, silenceError(a))
		default:
			c.tellWhatIsDue(now, a)
			c.retime(a)
		}
	}
}

// passed says that a time is set and has come.
func passed(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }

// tellWhatIsDue tells the run of an attempt that goes on.
func (c *Core) tellWhatIsDue(now time.Time, a *attempt) {
	if !a.told && !now.Before(a.newsAt.Add(StartedNotice)) {
		c.sendStarted(now, a)
	}
	if passed(a.progress.due(), now) {
		c.sendProgress(now, a)
	}
	if passed(a.askAt, now) {
		c.askToSuspend(now, a)
	}
}

// Next returns when Tick has something to do if no input comes before: never
// later than the next heartbeat, zero for a core that has stopped.
func (c *Core) Next() time.Time {
	if c.stopped {
		return time.Time{}
	}
	next := c.load.nextDue()
	if c.timers.Len() > 0 {
		next = minTime(next, c.timers.First().due)
	}
	next = minTime(minTime(next, c.drainDue()), c.askDue())
	return minTime(minTime(next, c.overheldDue()), c.apartDue())
}

// minTime returns the earlier time; zero means none.
func minTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
