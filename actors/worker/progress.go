package worker

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// What the worker's actor hears of a function's own: that there is news of its
// progress, and that it wants more time.
type (
	progressed struct{ calls *attemptCalls }
	extends    struct {
		id   uint64
		more time.Duration
	}
)

// extendFunction tells an attempt's actor when its context ends now.
type extendFunction struct{ deadline time.Time }

// Progress implements attempt.Calls. However often it is called, one message at most is
// on its way to the worker's actor, which takes the newest with it.
func (c *attemptCalls) Progress(progress []byte) error {
	if err := messages.CheckProgress(progress); err != nil {
		return err
	}
	if c.life.Err() != nil {
		return context.Cause(c.life)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == nil {
		c.worker.root.Send(c.worker.pid, progressed{c})
	}
	c.told = progress
	return nil
}

// takeTold returns the newest progress that the worker's actor has not taken.
func (c *attemptCalls) takeTold() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := c.told
	c.told = nil
	return told
}

// Extend implements attempt.Calls.
func (c *attemptCalls) Extend(more time.Duration) error {
	if c.life.Err() != nil {
		return context.Cause(c.life)
	}
	c.worker.root.Send(c.worker.pid, extends{c.id, more})
	return nil
}
