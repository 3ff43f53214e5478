package worker

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Whether an attempt does nothing but wait. Then its run may suspend it.
//
//	its calls     Each that goes on is a wait which its run has on record, and can
//	              bring to an end without it. While a Do goes on, or a question to
//	              its run, or local state is asked for, it is not idle.
//	its function  waits so itself, or has given its slot back: see look.go.
//	the rest      None of its goroutines works, as looks of look.go see it. What a
//	              goroutine waits for elsewhere does not count.

// lookIdle is the pause between two looks while all that is looked at is idle, and
// waits itself.
const lookIdle = 5 * time.Second

// idleness is what is known of that. It is guarded by the mutex of its attemptCalls.
type idleness struct {
	// open are the calls that wait.
	open map[callID]bool
	// busy counts what nobody else can bring to an end.
	busy int
	// looks counts those in a row that saw nothing at work. said is what the worker's
	// actor was told last.
	looks int
	said  uint64
}

// attemptIdle says of a function in which calls it does nothing but wait; 0: it does
// something. bytes are what its run's local state declares.
type attemptIdle struct {
	id, waits uint64
	bytes     int64
}

func (i *idleness) calls(yield func(name, key string) bool) {
	for id := range i.open {
		if !yield(id.name, id.key) {
			return
		}
	}
}

// Works implements attempt.Calls.
func (c *attemptCalls) Works() (over func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle.busy++
	c.changedIdle()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle.busy--
		c.changed()
	}
}

// waitOpened and waitClosed frame the wait of a call.
func (c *attemptCalls) waitOpened(id callID) {
	if c.idle.open == nil {
		c.idle.open = map[callID]bool{}
	}
	c.idle.open[id] = true
	c.changedIdle()
}

func (c *attemptCalls) waitClosed(id callID) {
	delete(c.idle.open, id)
	c.changedIdle()
}

// mayBeIdle says that only a goroutine at work keeps it from being idle.
func (c *attemptCalls) mayBeIdle() bool {
	return c.free && c.asked == nil && c.idle.busy == 0 && len(c.idle.open) > 0
}

// changedIdle begins the looks anew.
func (c *attemptCalls) changedIdle() {
	c.idle.looks = 0
	c.sayIdle()
}

// seenIdle takes what a look saw of the function.
func (c *attemptCalls) seenIdle(works bool) {
	if c.idle.looks++; works {
		c.idle.looks = 0
	}
	c.sayIdle()
}

// sayIdle tells the worker's actor, if it does not know.
func (c *attemptCalls) sayIdle() {
	said := attemptIdle{id: c.id}
	if c.mayBeIdle() && c.idle.looks >= looksAgree {
		said.waits = messages.WaitsHash(c.idle.calls)
	}
	if said.waits == c.idle.said {
		return
	}
	if c.idle.said = said.waits; said.waits != 0 {
		said.bytes = c.worker.locals.bytesOf(c.dispatch.RunId)
	}
	c.worker.root.Send(c.worker.pid, said)
}

// settled says that nothing but news of its calls is waited for, or work that nobody
// expects.
func (c *attemptCalls) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own && c.idle.said != 0
}

// released is SUSPENDED once the attempt is: nothing that it calls has an effect then.
func (c *attemptCalls) released() error { return suspended(c.life) }

func suspended(life context.Context) error {
	if cause := context.Cause(life); messages.CodeOf(cause) == messages.CodeSuspended {
		return cause
	}
	return nil
}
