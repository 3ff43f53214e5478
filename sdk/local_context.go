package sdk

import (
	"context"
	"errors"
	"log/slog"

	"github.com/limpetrun/limpet/actors/attempt"
)

// BindContext is what Bind of local state is given. As a context.Context it is
// for the building alone: it ends when Bind returns, when nobody waits for the
// value any more, when the run is released, or when the worker stops. What the
// value consists of, such as a browser or a child process, is made from Lifetime
// instead. It is not the context of a step: steps of several runs may wait for a
// shared value.
type BindContext interface {
	context.Context
	// Lifetime is a context that lives as long as the value: it ends once Release
	// has returned, or has taken longer than 30 s, or when Bind fails.
	Lifetime() context.Context
	// RunID, Workflow and Step are those of the step that asked first.
	RunID() string
	Workflow() string
	Step() string
	WorkerID() string
	// WorkerLabels are the labels of that worker. The caller's to keep.
	WorkerLabels() map[string]string
	// Binding of that run: why the state is to be built.
	Binding() Binding
	// Key of a shared value; empty for one of a run's own.
	Key() string
	// HandedOff returns what Handoff on the run's previous worker returned;
	// false if there is nothing, so that the state has to be built anew.
	HandedOff() ([]byte, bool)
	// Logger adds the run, or the key, and the name of the state to what it logs.
	Logger() *slog.Logger
	// Metadata that the run was started with. The caller's to keep.
	Metadata() map[string]string

	// Only this package makes a BindContext.
	sealed()
}

// bindContext is no context of a step: it does not find the stepContext that it
// consists of.
type bindContext struct {
	*stepContext
	local string
	build *attempt.Build
}

func (c *bindContext) Value(key any) any { return c.stepContext.Context.Value(key) }

// Err says after Bind which context would have been the right one.
func (c *bindContext) Err() error {
	err := c.stepContext.Context.Err()
	if err != nil && errors.Is(context.Cause(c.stepContext.Context), attempt.ErrBindReturned) {
		return attempt.ErrBindReturned
	}
	return err
}

func (c *bindContext) Lifetime() context.Context {
	if c.build.Life == nil {
		return context.WithoutCancel(c.stepContext.Context) // of a test
	}
	return c.build.Life
}

func (c *bindContext) Key() string { return c.build.Key }

func (c *bindContext) HandedOff() ([]byte, bool) {
	if c.build.HandedOff == nil {
		return nil, false
	}
	return c.build.HandedOff.GetData(), true
}

func (c *bindContext) Logger() *slog.Logger {
	l := c.stepContext.baseLogger().With("local", c.local)
	if c.build.Key != "" {
		return l.With("key", c.build.Key)
	}
	return l.With("run", c.RunID())
}
