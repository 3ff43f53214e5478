package verdict

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// Why a value is released, as the SDK names it.
var (
	releaseEnded   = messages.ReleaseReason_RELEASE_REASON_RUN_ENDED.Words()
	releaseRebound = messages.ReleaseReason_RELEASE_REASON_REBOUND.Words()
	releaseEvicted = messages.ReleaseReason_RELEASE_REASON_EVICTED.Words()
	releaseLost    = messages.ReleaseReason_RELEASE_REASON_STATE_LOST.Words()
)

// leakedAfter is how long after its run's end a private value may still be
// there in a process that lives.
const leakedAfter = 90 * time.Second

// handedOff notes what the worker of the binding in force gave away.
func (h *history) handedOff(s *messages.StateHandedOff) {
	switch {
	case h.current == nil || s.GetEpoch() != h.epoch():
		h.breaks(RuleHandoff, "state of epoch %d is handed off, and the run is bound in epoch %d", s.GetEpoch(), h.epoch())
	case h.handed[s.GetEpoch()] != nil:
		h.breaks(RuleHandoff, "state of epoch %d is handed off twice", s.GetEpoch())
	}
	for _, a := range h.newest {
		if a.ending == live {
			h.breaks(RuleHandoff, "state of epoch %d is handed off while %s#%d is live", s.GetEpoch(), a.step, a.number)
		}
	}
	h.handed[s.GetEpoch()], h.handing = s, s
	if len(s.GetStates()) > 0 {
		h.c.report.Seen.Handoffs++
	} else {
		h.c.report.Seen.HandoffsFailed++
	}
}

// checkHandoffs compares what the history says was given with what the giver
// wrote down, and that the giver did nothing afterwards.
func (h *history) checkHandoffs() {
	for epoch, s := range h.handed {
		for _, state := range s.GetStates() {
			if !h.gave(epoch, state) && !h.handedOn(epoch, state) {
				h.breaks(RuleHandoff, "%q was handed off in epoch %d by the history, and nobody gave it", state.GetData(), epoch)
			}
		}
	}
	for _, v := range h.values {
		for _, g := range v.Gifts {
			h.checkGift(v, g)
		}
		if v.Received != "" {
			h.checkReceived(v)
		}
	}
}

// gave says that the process of an epoch gave the state away.
func (h *history) gave(epoch uint64, state *messages.HandedState) bool {
	return slices.ContainsFunc(h.values, func(v *ledger.Value) bool {
		return v.Epoch == epoch && v.Local == state.GetLocal() && slices.ContainsFunc(v.Gifts, func(g ledger.Gift) bool { return g.Data == string(state.GetData()) })
	})
}

// handedOn says that the epoch began with the very state, and that nobody asked
// for it there.
func (h *history) handedOn(epoch uint64, state *messages.HandedState) bool {
	began := slices.ContainsFunc(h.given[epoch].GetStates(), func(s *messages.HandedState) bool {
		return s.GetLocal() == state.GetLocal() && string(s.GetData()) == string(state.GetData())
	})
	return began && !slices.ContainsFunc(h.values, func(v *ledger.Value) bool { return v.Epoch == epoch && v.Local == state.GetLocal() })
}

// checkGift: what is given is the run's own, and the newest of it; afterwards
// its process executes nothing under the epoch.
func (h *history) checkGift(v *ledger.Value, g ledger.Gift) {
	var s State
	last := 0
	for _, u := range v.Uses {
		last = max(last, u.Version)
		if u.At.After(g.At) {
			h.breaks(RuleHandoff, "%s is used at %s, after it was handed off at %s", v.ID, clock(u.At), clock(g.At))
		}
	}
	if err := json.Unmarshal([]byte(g.Data), &s); err != nil || s.Run != h.ID || s.Version < last {
		h.breaks(RuleHandoff, "%s of the run was given as %q, and its version was %d", v.ID, g.Data, last)
	}
	for _, e := range h.executions {
		if e.Incarnation == v.Incarnation && e.Epoch == v.Epoch && e.Begin.After(g.At) {
			h.breaks(RuleHandoff, "%s#%d is executed on %s in epoch %d, which gave its state away at %s", e.Step, e.Attempt, at(e), e.Epoch, clock(g.At))
		}
	}
}

// checkReceived: what a process received is what the epoch began with: what one
// before gave.
func (h *history) checkReceived(v *ledger.Value) {
	h.c.report.Seen.Received++
	given := h.given[v.Epoch]
	if !slices.ContainsFunc(given.GetStates(), func(s *messages.HandedState) bool {
		return s.GetLocal() == v.Local && string(s.GetData()) == v.Received
	}) {
		h.breaks(RuleHandoff, "%s~%s received %q in epoch %d, and given was %v", v.Worker, v.Incarnation, v.Received, v.Epoch, given.GetStates())
	}
}

// checkValues checks the life of the run's private values.
func (h *history) checkValues() {
	for i, v := range h.values {
		if h.Want != nil && v.Local != h.Want.Private {
			h.breaks(RuleLocal, "%s is %q, which the run has not", v.ID, v.Local)
		}
		for _, o := range h.values[:i] {
			if o.Incarnation == v.Incarnation && o.Epoch == v.Epoch && o.Local == v.Local && (len(o.Releases) == 0 || o.Releases[0].At.After(v.Built)) {
				h.breaks(RuleLocal, "%s is bound on %s in epoch %d while %s is there", v.ID, v.Worker, v.Epoch, o.ID)
			}
		}
		h.checkReleases(v)
	}
}

// checkReleases: what a release says is true, and it comes.
func (h *history) checkReleases(v *ledger.Value) {
	if len(v.Releases) == 0 {
		g := h.generation()
		if g.ended && h.c.evidence.At.Sub(g.endedAt) > leakedAfter && h.c.lives(v.Worker, v.Incarnation, g.endedAt) {
			h.breaks(RuleLocal, "%s on %s is still there %s after the run's end", v.ID, v.Worker, h.c.evidence.At.Sub(g.endedAt).Round(time.Second))
		}
		return
	}
	r := v.Releases[0]
	ended, left := h.endedBy(r.At), h.leftBy(r.At, v.Epoch)
	switch {
	case r.Why == releaseEnded && !ended:
		h.breaks(RuleLocal, "%s is released at %s (%s), and the run had not ended", v.ID, clock(r.At), r.Why)
	case r.Why == releaseRebound && !left && !ended:
		h.breaks(RuleLocal, "%s is released at %s (%s), and the run was bound there still", v.ID, clock(r.At), r.Why)
	case r.Why == releaseLost && !slices.ContainsFunc(h.executions, func(e *ledger.Execution) bool { return h.saidLost(e, v) }):
		h.breaks(RuleLocal, "%s is released at %s (%s), and no step said so", v.ID, clock(r.At), r.Why)
	case r.Why == releaseEvicted:
		h.breaks(RuleLocal, "%s is the run's own, and is evicted at %s", v.ID, clock(r.At))
	}
}

// endedBy says that the run had an end by the time.
func (h *history) endedBy(at time.Time) bool {
	return slices.ContainsFunc(h.generations, func(g *generation) bool { return g.ended && !g.endedAt.After(at.Add(slack)) })
}

// leftBy says that the binding of the epoch was lost, or followed by another one,
// by the time.
func (h *history) leftBy(at time.Time, epoch uint64) bool {
	return slices.ContainsFunc(h.bindings, func(b *binding) bool {
		return b.GetEpoch() > epoch && !b.at.After(at.Add(slack)) || b.GetEpoch() == epoch && b.lostAt.After(h.at) && !b.lostAt.After(at.Add(slack))
	})
}

// saidLost says that a step that could use the value ended with the word that
// its state is lost.
func (h *history) saidLost(e *ledger.Execution, v *ledger.Value) bool {
	return e.Incarnation == v.Incarnation && e.Epoch == v.Epoch && e.Failed && !e.End.After(v.Releases[0].At.Add(slack)) && e.Begin.Before(v.Releases[0].At)
}

// lives says that the process was there until the evidence was taken: no later
// one of its id was, and nothing ended it.
func (c *checker) lives(worker, incarnation string, since time.Time) bool {
	w := &messages.WorkerRef{WorkerId: worker, Incarnation: incarnation}
	return !c.succeededBy(w, c.evidence.At) && !slices.ContainsFunc(c.faults, func(f Fault) bool {
		p := c.struck(&f, worker)
		return f.Kind != WorkerDrain && f.strikes(worker) && p != nil && p.Incarnation == incarnation && (f.deadly() || f.Until.After(since))
	})
}

// checkLocals checks what holds for every value: it is released once at most,
// used by those whom it is for, while it is there.
func (c *checker) checkLocals() {
	byID := map[string]*ledger.Execution{}
	for i := range c.evidence.Executions {
		byID[c.evidence.Executions[i].ID] = &c.evidence.Executions[i]
	}
	for i := range c.evidence.Values {
		v := &c.evidence.Values[i]
		c.report.Seen.Values++
		if len(v.Releases) > 1 {
			c.breaks(RuleLocal, v.Run, "%s on %s is released %d times: %v", v.ID, v.Worker, len(v.Releases), v.Releases)
		}
		versions := map[int]bool{}
		for _, u := range v.Uses {
			c.checkUse(v, u, byID[u.Execution])
			if versions[u.Version] {
				c.breaks(RuleLocal, v.Run, "%s on %s has version %d twice", v.ID, v.Worker, u.Version)
			}
			versions[u.Version] = true
		}
	}
}

// checkUse checks one use of a value.
func (c *checker) checkUse(v *ledger.Value, u ledger.Use, e *ledger.Execution) {
	if e == nil {
		c.breaks(RuleLocal, v.Run, "%s was used by execution %s, which is not there", v.ID, u.Execution)
		return
	}
	h := c.runs[e.Run]
	switch {
	case v.Run != "" && (e.Run != v.Run || e.Epoch != v.Epoch):
		c.breaks(RuleLocal, e.Run, "%s#%d in epoch %d got %s, which is of run %s in epoch %d", e.Step, e.Attempt, e.Epoch, v.ID, v.Run, v.Epoch)
	case v.Run == "" && h != nil && h.Want != nil && (h.Want.Shared != v.Local || h.Want.Key != v.Key):
		c.breaks(RuleLocal, e.Run, "%s#%d got %s, which is %s of key %q, and asks for %s of key %q", e.Step, e.Attempt, v.ID, v.Local, v.Key, h.Want.Shared, h.Want.Key)
	case u.At.Before(v.Built):
		c.breaks(RuleLocal, e.Run, "%s#%d got %s at %s, before it was bound at %s", e.Step, e.Attempt, v.ID, clock(u.At), clock(v.Built))
	}
	c.checkUsedBeforeRelease(v, u, e)
}

// checkUsedBeforeRelease: whoever got a value may use it until it returns.
func (c *checker) checkUsedBeforeRelease(v *ledger.Value, u ledger.Use, e *ledger.Execution) {
	for _, r := range v.Releases {
		if end := e.End; !end.IsZero() && end.After(r.At.Add(slack)) || end.IsZero() && u.At.After(r.At) {
			c.breaks(RuleLocal, e.Run, "%s is released at %s (%s), and %s#%d, which got it at %s, had not returned", v.ID, clock(r.At), r.Why, e.Step, e.Attempt, clock(u.At))
		}
	}
}
