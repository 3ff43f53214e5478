package gateway

import (
	"context"
	"errors"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// An error of a bulk call names its run, and still is what it was.
func TestLocatedKeepsTheError(t *testing.T) {
	was := messages.Errorf(messages.CodeJournalUnavailable, "read the definitions: %w", context.DeadlineExceeded)
	was.Final, was.Stack = true, "stack"
	err := located("runs[%d]: ", 3, was)
	var e *messages.Error
	if !errors.As(err, &e) || e.Code != was.Code || e.Message != "runs[3]: "+was.Message || !e.Final || e.Stack != "stack" {
		t.Errorf("%#v", err)
	}
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, was) {
		t.Errorf("%v does not wrap its cause", err)
	}
	if plain := located("", 3, was); plain != error(was) {
		t.Errorf("a single start's error became %v", plain)
	}
}
