package sdk

import (
	"context"
	"encoding/json"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Progress implements Context.
func (c *stepContext) Progress(value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "the progress does not encode as JSON: %w", err)
	}
	return c.attempt.Calls.Progress(data)
}

// Extend implements Context.
func (c *stepContext) Extend(d time.Duration) error {
	if d < time.Millisecond || d.Milliseconds() > messages.DurationMsMax {
		return messages.Errorf(messages.CodeInvalidArgument, "an extension by %v: must be 1ms to %d ms (DurationMsMax)", d, messages.DurationMsMax)
	}
	return c.attempt.Calls.Extend(d)
}

// LastProgress returns what an earlier attempt of the step has told last by
// Context.Progress, so that this one can go on from there; false if there is none. ctx is
// the step's context or one derived from it. A replay of the step begins without.
//
// Errors: INVALID_ARGUMENT for a ctx of no step, and for a progress that is no T.
func LastProgress[T any](ctx context.Context) (last T, told bool, err error) {
	c, err := stepOf(ctx, "LastProgress")
	if err != nil {
		return last, false, err
	}
	data := c.attempt.Dispatch.GetLastProgress()
	if len(data) == 0 {
		return last, false, nil
	}
	if err := decode(data, &last); err != nil {
		return last, false, messages.Errorf(messages.CodeInvalidArgument, "the last progress of step %q is no %T: %w", c.Step(), last, err)
	}
	return last, true, nil
}
