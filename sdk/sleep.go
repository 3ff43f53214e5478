package sdk

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// CallOptions name a call that has no name of its own. The zero value, and nil, is one
// that is known by its number.
type CallOptions struct {
	// Name is the name of the call in the step. It defaults to "sleep" for Sleep and
	// SleepUntil, to "signal" for SignalRun, and to "start" for StartOrSignal.
	Name string
	// Key names the call among those of its name, like that of DoOptions.
	Key string
}

// Sleep returns when the time has passed since the step first made the call: a retry,
// the loss of the worker or a restart of whatever does not begin it anew. At once if the
// time is not positive.
//
// It is a call as Do makes them, known by name and key or number: see CallOptions. While
// it sleeps the step holds no slot, and its ExecutionTimeout stands still. Time passes
// whatever clocks are set to. It may sleep longer than it was told, if the engine or its
// worker is away, and never shorter.
//
// If ctx ends first while the step's own context goes on, the call comes out as
// ErrCanceled for good. Errors: ErrCanceled; ErrLimitExceeded for more than WaitMsMax
// milliseconds, a year; those of Do.
func Sleep(ctx context.Context, d time.Duration, options ...*CallOptions) error {
	return sleep(ctx, "Sleep", OnSleep(d), options)
}

// SleepUntil returns when the wall clock of the engine's store shows the time: at once
// if it does already. It is Sleep otherwise. If that clock is set while the step sleeps,
// it may come late, and does not come early.
//
// It takes a moment, not a time of day: that depends on a zone, and on one day of the
// year it is not there, on another one twice. time.Date makes a moment of it: of an hour
// that is left out it gives one an hour off, of an hour that comes twice one of the two.
func SleepUntil(ctx context.Context, t time.Time, options ...*CallOptions) error {
	return sleep(ctx, "SleepUntil", OnSleepUntil(t), options)
}

func sleep(ctx context.Context, what string, branch *SleepBranch, options []*CallOptions) error {
	c, opts, err := callNamed(ctx, what, "sleep", options)
	if err != nil {
		return err
	}
	wait, err := waitFor(messages.CallKind_CALL_KIND_SLEEP, opts.Name, WaitOptions{Key: opts.Key}, []Branch{branch})
	if err != nil {
		return err
	}
	call, err := c.await(ctx, wait, opts.Key)
	if err != nil {
		return err
	}
	return failureOf(call, wait.Kind)
}
