package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/limpetrun/limpet/actors/heap"
)

// epoch is the time at which every simulation begins.
var epoch = time.UnixMicro(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())

// clock is simulated time: a queue of what is to happen, in order.
type clock struct {
	now    time.Time
	queue  heap.Heap[event]
	seq    uint64
	events int
}

type event struct {
	at  time.Time
	seq uint64
	do  func()
}

func (e event) before(f event) bool {
	if !e.at.Equal(f.at) {
		return e.at.Before(f.at)
	}
	return e.seq < f.seq
}

func newClock() clock { return clock{now: epoch, queue: heap.New(event.before, nil)} }

// after lets something happen after a span.
func (c *clock) after(d time.Duration, do func()) { c.at(c.now.Add(d), do) }

func (c *clock) at(t time.Time, do func()) {
	if t.Before(c.now) {
		t = c.now
	}
	c.seq++
	c.queue.Push(event{t, c.seq, do})
}

// step lets the next thing happen; false if nothing is left.
func (c *clock) step() bool {
	if c.queue.Len() == 0 {
		return false
	}
	e := c.queue.Pop()
	c.now = e.at
	c.events++
	e.do()
	return true
}

// dice are the only source of chance.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 0x6c696d706574))} }

// chance is true with a probability.
func (d dice) chance(p float64) bool { return p > 0 && d.Float64() < p }

// between draws a span.
func (d dice) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(d.Int64N(int64(to-from)))
}

// upTo draws from 1 to n.
func (d dice) upTo(n int) int { return 1 + d.IntN(n) }

func pick[T any](d dice, list []T) T { return list[d.IntN(len(list))] }

// trace keeps the last lines of what happened, if it is on.
type trace struct {
	on    bool
	lines []string
}

const traceLines = 400

func (s *Sim) tracef(format string, args ...any) {
	if !s.trace.on {
		return
	}
	line := fmt.Sprintf("%9.4f %s", s.now.Sub(epoch).Seconds(), fmt.Sprintf(format, args...))
	if s.watch != nil {
		s.watch(line)
	}
	s.trace.lines = append(s.trace.lines, line)
	if len(s.trace.lines) > 2*traceLines {
		s.trace.lines = append(s.trace.lines[:0], s.trace.lines[traceLines:]...)
	}
}
