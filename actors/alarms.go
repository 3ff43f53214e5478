package actors

import (
	"container/heap"
	"sync"
	"time"
)

// alarms is one timer for all runs of a server: each run has at most one
// alarm. It is safe for concurrent use.
type alarms struct {
	// clock of the alarms' times.
	clock *Clock
	mu    sync.Mutex
	queue alarmQueue
	timer *time.Timer
	// set is the time that the timer is set to; zero if it is not.
	set    time.Time
	closed bool
}

type alarm struct {
	at   time.Time
	ring func()
	// index in the queue; -1 when it is not there.
	index int
}

func newAlarm(ring func()) *alarm { return &alarm{ring: ring, index: -1} }

// reset replaces the alarm's time; the zero time takes it back. An alarm that
// is just ringing may ring all the same.
func (q *alarms) reset(a *alarm, at time.Time) {
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

func (q *alarms) arm() {
	if len(q.queue) == 0 || q.closed {
		return
	}
	first := q.queue[0].at
	if !q.set.IsZero() && !first.Before(q.set) {
		return
	}
	q.set = first
	if q.timer == nil {
		q.timer = time.AfterFunc(q.clock.Until(first), q.ring)
		return
	}
	q.timer.Reset(q.clock.Until(first))
}

// ring calls what is due, outside the lock.
func (q *alarms) ring() {
	var due []*alarm
	q.mu.Lock()
	now := q.clock.Now()
	for len(q.queue) > 0 && !q.queue[0].at.After(now) {
		due = append(due, heap.Pop(&q.queue).(*alarm))
	}
	q.set = time.Time{}
	q.arm()
	q.mu.Unlock()
	for _, a := range due {
		a.ring()
	}
}

func (q *alarms) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
}

type alarmQueue []*alarm

// alarmsKept is the room that an empty queue keeps.
const alarmsKept = 4096

func (q alarmQueue) Len() int           { return len(q) }
func (q alarmQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q alarmQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *alarmQueue) Push(x any) {
	a := x.(*alarm)
	a.index = len(*q)
	*q = append(*q, a)
}
func (q *alarmQueue) Pop() any {
	old := *q
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	if len(*q) == 0 && cap(*q) > alarmsKept {
		*q = nil
	}
	a.index = -1
	return a
}
