package slots

import (
	"container/heap"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Classes of the queue.
const (
	classReturning = iota
	classBound
	classNew
)

// queue is a heap of the attempts that wait for a slot.
type queue []*attempt

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool { return q[i].goesBefore(q[j]) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].queueIndex, q[j].queueIndex = i, j
}

func (q *queue) Push(x any) {
	a := x.(*attempt)
	a.queueIndex = len(*q)
	*q = append(*q, a)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	a := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	a.queueIndex = -1
	return a
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

// ahead counts the attempts that go before one. It looks at no more than
// aheadMax: the number is for people.
func (q queue) ahead(a *attempt) int {
	const aheadMax = 256
	if len(q) > aheadMax {
		return len(q) - 1
	}
	n := 0
	for _, b := range q {
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
	case a.dispatch.Bound:
		a.queueClass = classBound
	default:
		a.queueClass = classNew
	}
	heap.Push(&c.queue, a)
	c.load.dirty = true
}

func (c *Core) dequeue(a *attempt) {
	if a.queueIndex >= 0 {
		heap.Remove(&c.queue, a.queueIndex)
		c.load.dirty = true
	}
}

// timers is a heap of the attempts with something due.
type timers []*attempt

func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heapIndex, t[j].heapIndex = i, j
}

func (t *timers) Push(x any) {
	a := x.(*attempt)
	a.heapIndex = len(*t)
	*t = append(*t, a)
}

func (t *timers) Pop() any {
	last := len(*t) - 1
	a := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	a.heapIndex = -1
	return a
}

// retime computes what is next due of an attempt.
func (c *Core) retime(a *attempt) {
	due := a.nextDue()
	switch {
	case due.IsZero():
		c.untime(a)
	case a.heapIndex < 0:
		a.due = due
		heap.Push(&c.timers, a)
	case !due.Equal(a.due):
		a.due = due
		heap.Fix(&c.timers, a.heapIndex)
	}
}

func (c *Core) untime(a *attempt) {
	if a.heapIndex >= 0 {
		heap.Remove(&c.timers, a.heapIndex)
	}
}

func (a *attempt) nextDue() time.Time {
	switch {
	case a.phase == phaseEnded:
		return a.resendAt
	case a.phase == phaseQueued || a.phase == phaseForgotten:
		return time.Time{}
	case a.cause != nil:
		return a.giveUp
	case a.told:
		return a.deadline
	}
	return minTime(a.newsAt.Add(StartedNotice), a.deadline)
}

// expire does what is due of attempts, in the order of the times at which it
// became due.
func (c *Core) expire(now time.Time) {
	for len(c.timers) > 0 && !c.timers[0].due.After(now) {
		a := c.timers[0]
		switch {
		case a.phase == phaseEnded:
			c.resend(now, a)
		case a.cause != nil:
			c.conclude(now, a, nil, messages.ToFailure(a.cause))
		case !a.deadline.IsZero() && !a.deadline.After(now):
			c.abandon(now, a, timeoutError(a))
		default:
			if !a.told {
				c.sendStarted(now, a)
			}
			c.retime(a)
		}
	}
}

// Next returns when Tick has something to do if no input comes before: never
// later than the next heartbeat, zero for a core that has stopped.
func (c *Core) Next() time.Time {
	if c.stopped {
		return time.Time{}
	}
	next := c.load.nextDue()
	if len(c.timers) > 0 {
		next = minTime(next, c.timers[0].due)
	}
	return minTime(minTime(next, c.drainDue()), c.askDue())
}

// minTime returns the earlier time; zero means none.
func minTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
