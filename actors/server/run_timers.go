package server

import (
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/clock"
	"github.com/limpetrun/limpet/actors/heap"
)

// runTimers is one timer for all runs of a server: each run has at most one
// time set. It is safe for concurrent use.
type runTimers struct {
	// clock of the run timers' times.
	clock *clock.Clock
	mu    sync.Mutex
	queue heap.Heap[*runTimer]
	timer *time.Timer
	// set is the time that the timer is set to; zero if it is not.
	set    time.Time
	closed bool
}

// runTimer stands in the queue by a time that is never after at: most are put off
// again and again, which then moves nothing.
type runTimer struct {
	at, queued time.Time
	fire       func()
	place      heap.Place
}

func newRunTimers(c *clock.Clock) *runTimers {
	return &runTimers{clock: c, queue: heap.New(
		func(a, b *runTimer) bool { return a.queued.Before(b.queued) },
		func(a *runTimer) *heap.Place { return &a.place })}
}

// reset replaces the time of a run timer; the zero time takes it back. One that
// is just firing may fire all the same.
func (q *runTimers) reset(a *runTimer, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a.at = at
	switch {
	case at.IsZero() || q.closed:
		if a.place.In() {
			q.queue.Remove(a)
		}
	case !a.place.In():
		a.queued = at
		q.queue.Push(a)
	case at.Before(a.queued):
		a.queued = at
		q.queue.Fix(a)
	}
	q.arm()
}

func (q *runTimers) arm() {
	if q.queue.Len() == 0 || q.closed {
		return
	}
	first := q.queue.First().queued
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

// moved sets the timer anew after its clock was moved on.
func (q *runTimers) moved() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.set = time.Time{}
	q.arm()
}

// fire calls what is due, outside the lock.
func (q *runTimers) fire() {
	var due []*runTimer
	q.mu.Lock()
	now := q.clock.Now()
	for q.queue.Len() > 0 && !q.queue.First().queued.After(now) {
		if a := q.queue.First(); a.at.After(now) {
			a.queued = a.at
			q.queue.Fix(a)
			continue
		}
		due = append(due, q.queue.Pop())
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
