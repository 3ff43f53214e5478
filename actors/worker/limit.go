package worker

import (
	"context"
	"sync"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// attemptContext is the context of an attempt. Its deadline moves: it stands still
// while the function waits for a child.
type attemptContext struct {
	context.Context
	cancel context.CancelCauseFunc
	cause  func() error

	mu       sync.Mutex
	deadline time.Time
	timer    *time.Timer
}

// newAttemptContext makes one that ends with its parent, by end, or for the cause
// at the deadline, if it is not zero. The cause is made then: most have no need of it.
func newAttemptContext(parent context.Context, deadline time.Time, cause func() error) *attemptContext {
	c := &attemptContext{cause: cause}
	c.Context, c.cancel = context.WithCancelCause(parent)
	c.setDeadline(deadline)
	return c
}

// end ends it for a cause; the first one stands.
func (c *attemptContext) end(cause error) {
	c.setDeadline(time.Time{})
	c.cancel(cause)
}

// setDeadline replaces the deadline; zero is none.
func (c *attemptContext) setDeadline(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.deadline, c.timer = at, nil
	if !at.IsZero() {
		c.timer = time.AfterFunc(time.Until(at), func() { c.reached(at) })
	}
}

// reached ends the context at a deadline that still stands.
func (c *attemptContext) reached(at time.Time) {
	c.mu.Lock()
	stands := c.deadline.Equal(at)
	c.mu.Unlock()
	if stands {
		c.cancel(c.cause())
	}
}

// Deadline is the one at the moment.
func (c *attemptContext) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadline, !c.deadline.IsZero()
}

// Err says DeadlineExceeded after the deadline.
func (c *attemptContext) Err() error {
	err := c.Context.Err()
	if err == nil {
		return nil
	}
	if messages.CodeOf(context.Cause(c.Context)) == messages.CodeExecutionTimeout {
		return context.DeadlineExceeded
	}
	return err
}
