package local

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Peek is Get for a question that builds nothing and waits for nothing: it gets the
// value that the run has by now, or STATE_NOT_THERE. It needs no key: a shared value
// is that which the run holds.
func (k *Keeper) Peek(now time.Time, ask Ask) []Action {
	k.begin()
	w := &wait{ask: ask, attempt: k.attempts[ask.Attempt]}
	v := k.thereFor(w)
	if v == nil {
		k.fail(w, messages.Errorf(messages.CodeStateNotThere, "local %q of the run is not there at worker %q: no step has built it yet, or it was released", ask.Local, k.cfg.WorkerID))
		return k.end(now)
	}
	k.give(v, w, false)
	return k.end(now)
}

// thereFor is the value of a state that the run of a question has; nil for none.
func (k *Keeper) thereFor(w *wait) *value {
	a := w.attempt
	if a == nil || a.over {
		return nil
	}
	r := k.runs[a.RunID]
	if !w.ask.Shared {
		if v := r.private[w.ask.Local]; v != nil && v.phase == phaseThere && v.epoch == a.Epoch {
			return v
		}
		return nil
	}
	var found *value
	for v := range r.shared {
		if v.local == w.ask.Local && v.phase == phaseThere && (found == nil || v.id < found.id) {
			found = v
		}
	}
	return found
}
