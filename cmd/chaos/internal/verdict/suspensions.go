package verdict

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

func (h *history) callWaits(w *messages.CallWaits) {
	if w.GetFailedCondition() != nil {
		return // it waits on
	}
	if a := h.byKey[attemptKey{w.GetStep(), w.GetAttempt()}]; a == nil || a.ending != live {
		h.breaks(RuleStaleAccepted, "%s#%d waits in call %s %s, and is not live", w.GetStep(), w.GetAttempt(), w.GetName(), w.GetKey())
	}
	key := callKey{w.GetStep(), w.GetName(), w.GetKey()}
	if h.calls[key] != nil {
		h.breaks(RuleRecordedTwice, "call %s %s of %s#%d waits, and had come out", key.name, key.key, w.GetStep(), w.GetAttempt())
	}
	h.pending[key] = w.GetAttempt()
}

// decided: a call comes out for an attempt that is live, or suspended while the call
// waits. An event comes to a call whatever has become of the attempt.
func (h *history) decided(key callKey, k *messages.CallRecorded) {
	a := h.byKey[attemptKey{k.GetStep(), k.GetAttempt()}]
	number, waits := h.pending[key]
	waits = waits && number == k.GetAttempt()
	delete(h.pending, key)
	switch {
	case a != nil && a.ending == live:
	case a != nil && a.ending == suspended && waits:
		a.resumed = true
	case a != nil && k.GetEvent() != nil && waits:
	default:
		h.breaks(RuleStaleAccepted, "%s#%d records call %s %s, and is not live", k.GetStep(), k.GetAttempt(), key.name, key.key)
	}
}

// suspended ends an attempt that waits: its calls go on to.
func (h *history) suspended(s *messages.AttemptSuspended) {
	h.withdrawn(s.GetStep(), s.GetAttempt(), suspended, s.GetReason())
	h.c.report.Seen.Suspended++
	for key, number := range h.pending {
		if key.step == s.GetStep() && number == s.GetAttempt() {
			return
		}
	}
	h.breaks(RuleSuspended, "%s#%d is suspended (%s), and waits in no call", s.GetStep(), s.GetAttempt(), s.GetReason().Words())
}

// cleanUp: what is suspended when its run is canceled may run once more, to clean up.
func (h *history) cleanUp() {
	for _, a := range h.newest {
		if a.ending == suspended {
			a.resumed = true
		}
	}
}

// eventCame: what came to a call was pushed. It comes to all that wait for it, so that
// nothing is said of how often.
func (h *history) eventCame(key callKey, e *messages.CameEvent) {
	switch {
	case e == nil:
	case !h.c.pushed[e.GetEventId()]:
		h.breaks(RuleMessages, "event %s of id %q came to call %s %s of step %s, and nobody pushed it", e.GetKey(), e.GetEventId(), key.name, key.key, key.step)
	default:
		h.c.report.Seen.Events++
	}
}

// checkSuspended checks an attempt that was suspended: something was done to its worker
// if that is the reason, and it does nothing any more.
func (h *history) checkSuspended(a *attempt) {
	idle := a.reason == messages.Reason_REASON_IDLE || a.reason == messages.Reason_REASON_KEPT_MAX
	if !idle && !h.c.excused(a.worker, a.reason, a.endAt) {
		h.breaks(RuleFalseLoss, "%s#%d on %s is suspended at %s (%s), and nothing was done to it", a.step, a.number, place(a.worker), clock(a.endAt), a.reason.Words())
	}
	for _, e := range a.executions {
		last := e.Begin
		for _, d := range e.Did {
			last = later(last, d.At)
		}
		for _, us := range e.Ticks {
			last = later(last, time.UnixMicro(us))
		}
		if last.After(a.endAt.Add(slack)) {
			h.breaks(RuleSuspended, "%s#%d acts on %s at %s, and was suspended at %s (%s)", a.step, a.number, at(e), clock(last), clock(a.endAt), a.reason.Words())
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
