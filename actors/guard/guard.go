// Package guard keeps a panic over what came from outside from ending the process.
//
// Data flow: a goroutine of ours → Do → what it asks for; a panic → the log, a
// count, and an error in place of the answer, so that nobody waits for it in vain.
//
// An actor needs none: its supervisor catches a panic. Calls of user code have a
// guard of their own (package usercode), for these leave by more doors.
//
// Imports only messages.
package guard

import (
	"log/slog"
	"runtime/debug"
	"sync/atomic"

	"github.com/limpetrun/limpet/messages"
)

// Guard catches panics and counts them. It is safe for concurrent use.
type Guard struct {
	log    *slog.Logger
	panics atomic.Uint64
}

// New makes a Guard that logs with its stack what it catches.
func New(log *slog.Logger) *Guard { return &Guard{log: log} }

// Do calls f. Errors: those of f; INTERNAL if it panics.
func (g *Guard) Do(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("a panic ended what a message asked for", "panic", p, "panics_so_far", g.panics.Add(1), "stack", string(debug.Stack()))
			err = messages.Errorf(messages.CodeInternal, "a panic ended it: %v", p)
		}
	}()
	return f()
}

// Panics counts those that were caught.
func (g *Guard) Panics() uint64 { return g.panics.Load() }
