package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// The deadline of an attempt goes away while it waits for a child, and comes back
// as much later.
func TestDeadlineOfAnAttemptMoves(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cause := messages.Errorf(messages.CodeExecutionTimeout, "it has reached its execution timeout")
		c := newAttemptContext(t.Context(), time.Now().Add(10*time.Second), func() error { return cause })
		defer c.end(context.Canceled)
		time.Sleep(4 * time.Second)
		c.setDeadline(time.Time{})
		time.Sleep(time.Hour)
		if at, ok := c.Deadline(); ok || c.Err() != nil {
			t.Fatalf("while it waits its deadline is %v, and it has ended with %v", at, c.Err())
		}
		end := time.Now().Add(6 * time.Second)
		c.setDeadline(end)
		child, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		if at, ok := c.Deadline(); !ok || !at.Equal(end) {
			t.Fatalf("its deadline is %v, want %v", at, end)
		}
		time.Sleep(6*time.Second - 1)
		if c.Err() != nil {
			t.Fatalf("it ends before its deadline: %v", c.Err())
		}
		time.Sleep(time.Millisecond)
		if !errors.Is(c.Err(), context.DeadlineExceeded) || context.Cause(child) != error(cause) {
			t.Fatalf("at its deadline it ends with %v; what is made of it has the cause %v", c.Err(), context.Cause(child))
		}
	})
}
