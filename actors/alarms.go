package actors

import (
	"container/heap"
	"sync"
	"time"
)

// runTimers is one timer for all runs of a server: each run has at most one
// time set. It is safe for concurrent use.
type runTimers struct {
	// clock of the run timers' times.
	clock *Clock
	mu    sync.Mutex
	queue runTimerQueue
	timer *time.Timer
	// set is the time that the timer is set to; zero if it is not.
	set    time.Time
	closed bool
}

type runTimer struct {
	at   time.Time
	fire func()
	// index in the queue; -1 when it is not there.
	index int
}

func newRunTimer(fire func()) *runTimer { return &runTimer{fire: fire, index: -1} }

// reset replaces the time of a run timer; the zero time takes it back. One that
// is just firing may fire all the same.
func (q *runTimers) reset(a *runTimer, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a.at = at
	switch {
	case at.IsZero() || q.closed:
		if a.index >= 0 {
			heap.Remove(&q.queue, a.index)
		}
	case a.index >= 0:
		heap.Fix(&q.queue, a.index)
	default:
		heap.Push(&q.queue, a)
	}
	q.arm()
}

func (q *runTimers) arm() {
	if len(q.queue) == 0 || q.closed {
		return
	}
	first := q.queue[0].at
	if !q.set.IsZero() && !first.Before(q.set) {
		return
	}
	q.set = first
	if q.timer == nil {
		q.timer = time.AfterFunc(q.clock.Until(first), q.fire)
		return
	}
	q.timer.Reset(q.clock.Until(first))
}

// fire calls what is due, outside the lock.
func (q *runTimers) fire() {
	var due []*runTimer
	q.mu.Lock()
	now := q.clock.Now()
	for len(q.queue) > 0 && !q.queue[0].at.After(now) {
		due = append(due, heap.Pop(&q.queue).(*runTimer))
	}
	q.set = time.Time{}
	q.arm()
	q.mu.Unlock()
	for _, a := range due {
		a.fire()
	}
}

func (q *runTimers) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
}

type runTimerQueue []*runTimer

// runTimersKept is the room that an empty queue keeps.
const runTimersKept = 4096

func (q runTimerQueue) Len() int           { return len(q) }
func (q runTimerQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q runTimerQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *runTimerQueue) Push(x any) {
	a := x.(*runTimer)
	a.index = len(*q)
	*q = append(*q, a)
}
func (q *runTimerQueue) Pop() any {
	old := *q
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	if len(*q) == 0 && cap(*q) > runTimersKept {
		*q = nil
	}
	a.index = -1
	return a
}
