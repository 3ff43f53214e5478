package worker

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Hooks is told what happens at a worker. Any field may be nil. They are called
// one after the other, while the worker waits, and must be quick. One that panics
// is logged; one that has not returned after 10 s is not called again.
type Hooks struct {
	// Waiting: admission waits; message says for what.
	Waiting func(message string)
	// Admitted: placement knows the worker, for the first time or again.
	Admitted func()
	// Started and Ended: a function was called, and returned.
	Started func(d *messages.Dispatch)
	Ended   func(d *messages.Dispatch, failure *messages.Failure, took time.Duration)
	// Canceled: the context of a function was canceled.
	Canceled func(d *messages.Dispatch, cause error)
	// Draining: nothing new is taken on. Undrained: that was taken back.
	Draining  func()
	Undrained func()
	// LocalBuilt: Bind of local state has returned, with what the value declares
	// to take, or with an error.
	LocalBuilt func(e LocalEvent, took time.Duration, bytes int64, err error)
	// LocalHit: a step got a value that it did not have to be built for.
	LocalHit func(e LocalEvent)
	// LocalReleased: a value was released; why is run-ended, rebound,
	// worker-stopping, evicted or state-lost, err what its Release returned.
	LocalReleased func(e LocalEvent, why string, err error)

	// LeaseLost: the worker reached no server for so long that what ran is
	// canceled, and nothing starts until it does. It is called beside the others.
	LeaseLost func()

	// own are told first and are trusted; nil for none.
	own   *Hooks
	calls *hookCalls // nil for hooks that are trusted
}

// LocalEvent names a value of local state in Hooks.
type LocalEvent struct {
	// Local is the name of the state.
	Local  string
	Shared bool
	// Key of a shared value.
	Key string
	// Workflow and RunID of the step that asked for it first.
	Workflow string
	RunID    string
}

func (h *Hooks) localBuilt(e LocalEvent, took time.Duration, bytes int64, err error) {
	if h == nil {
		return
	}
	h.own.localBuilt(e, took, bytes, err)
	if h.LocalBuilt != nil {
		h.call("LocalBuilt", func() { h.LocalBuilt(e, took, bytes, err) })
	}
}

func (h *Hooks) localHit(e LocalEvent) {
	if h == nil {
		return
	}
	h.own.localHit(e)
	if h.LocalHit != nil {
		h.call("LocalHit", func() { h.LocalHit(e) })
	}
}

func (h *Hooks) localReleased(e LocalEvent, why string, err error) {
	if h == nil {
		return
	}
	h.own.localReleased(e, why, err)
	if h.LocalReleased != nil {
		h.call("LocalReleased", func() { h.LocalReleased(e, why, err) })
	}
}

func (h *Hooks) waiting(message string) {
	if h == nil {
		return
	}
	h.own.waiting(message)
	if h.Waiting != nil {
		h.call("Waiting", func() { h.Waiting(message) })
	}
}

func (h *Hooks) admitted() {
	if h == nil {
		return
	}
	h.own.admitted()
	if h.Admitted != nil {
		h.call("Admitted", h.Admitted)
	}
}

func (h *Hooks) started(d *messages.Dispatch) {
	if h == nil {
		return
	}
	h.own.started(d)
	if h.Started != nil {
		h.call("Started", func() { h.Started(d) })
	}
}

func (h *Hooks) ended(d *messages.Dispatch, f *messages.Failure, took time.Duration) {
	if h == nil {
		return
	}
	h.own.ended(d, f, took)
	if h.Ended != nil {
		h.call("Ended", func() { h.Ended(d, f, took) })
	}
}

func (h *Hooks) canceled(d *messages.Dispatch, cause error) {
	if h == nil {
		return
	}
	h.own.canceled(d, cause)
	if h.Canceled != nil {
		h.call("Canceled", func() { h.Canceled(d, cause) })
	}
}

func (h *Hooks) draining() {
	if h == nil {
		return
	}
	h.own.draining()
	if h.Draining != nil {
		h.call("Draining", h.Draining)
	}
}

func (h *Hooks) undrained() {
	if h == nil {
		return
	}
	h.own.undrained()
	if h.Undrained != nil {
		h.call("Undrained", h.Undrained)
	}
}

func (h *Hooks) leaseLost() {
	if h == nil {
		return
	}
	h.own.leaseLost()
	if h.LeaseLost != nil {
		h.call("LeaseLost", h.LeaseLost)
	}
}
