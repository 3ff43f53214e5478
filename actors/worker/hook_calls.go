package worker

import (
	"log/slog"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/usercode"
)

// hookCalls calls the hooks of a worker. One that panics, or does not return in
// time, is logged; one that did not return is not called again.
type hookCalls struct {
	logger *slog.Logger
	within time.Duration

	mu   sync.Mutex
	deaf map[string]bool
}

// guarded returns hooks that can do no harm to the worker, after its own; nil if
// there are neither.
func (h *Hooks) guarded(own *Hooks, logger *slog.Logger) *Hooks {
	if h == nil {
		return own
	}
	users := *h
	users.own = own
	users.calls = &hookCalls{logger: logger, within: usercode.MethodWithin, deaf: map[string]bool{}}
	return &users
}

// call calls one hook.
func (h *Hooks) call(name string, hook func()) {
	c := h.calls
	if c == nil {
		hook()
		return
	}
	c.mu.Lock()
	deaf := c.deaf[name]
	c.mu.Unlock()
	if deaf {
		return
	}
	ended := usercode.Go("hook "+name, func() struct{} {
		hook()
		return struct{}{}
	})
	timer := time.NewTimer(c.within)
	defer timer.Stop()
	select {
	case <-ended.Done:
		if _, fault := ended.Outcome(); fault != nil {
			c.logger.Error("a hook failed", "error", fault, "stack", fault.Stack)
		}
	case <-timer.C:
		c.mu.Lock()
		c.deaf[name] = true
		c.mu.Unlock()
		c.logger.Error("a hook has not returned and is not called again", "hook", name, "within", c.within)
	}
}
