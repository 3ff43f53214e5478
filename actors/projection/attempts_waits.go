package projection

import (
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Reasons of waits that are neither a Reason nor a WaitReason.
const (
	waitBackoff   = "backoff"
	waitQueued    = "queued"
	waitCall      = "call"
	waitPlacement = "placement"
)

// readiness of a step that waits to be sent.
type readiness struct {
	since time.Time
	// What nobody offers, if that was said.
	reason, words string
}

// callsWait are the calls in which a step waits, by name and key.
type callsWait struct {
	step      string
	open      map[[2]string]bool
	words     string
	wait      *api.StepWait
	suspended bool
}

// wait notes one; the zero time for until means that it goes on. One of no time is none.
func (f *attempts) wait(step string, attempt int32, reason string, from, until time.Time, words string) *api.StepWait {
	w := &api.StepWait{Step: step, Attempt: attempt, Reason: reason, From: api.Moment(from), Until: api.Moment(until), WaitingFor: words}
	if until.IsZero() || until.After(from) {
		f.waits = append(f.waits, w)
	}
	return w
}

// begin has the steps wait for those that they come after: all, or the named ones and
// what descends from them.
func (f *attempts) begin(steps []string) {
	again := map[string]bool{}
	for moved := true; moved; {
		moved = false
		for _, s := range f.def.GetSteps() {
			descends := slices.ContainsFunc(s.Parents, func(p string) bool { return again[p] })
			if !again[s.Name] && (len(steps) == 0 || slices.Contains(steps, s.Name) || descends) {
				again[s.Name], moved = true, true
			}
		}
	}
	for s := range again {
		delete(f.ended, s)
		delete(f.ready, s)
		delete(f.rebuilds, s)
	}
	f.sendable()
}

// sendable makes those steps ready that all have ended which they come after.
func (f *attempts) sendable() {
	for _, s := range f.def.GetSteps() {
		waits := slices.ContainsFunc(s.Parents, func(p string) bool { return !f.ended[p] })
		if _, is := f.ready[s.Name]; !is && !waits && !f.ended[s.Name] && f.live[s.Name] == nil && f.calls[s.Name] == nil && !s.IsEndStep() {
			f.isReady(s.Name, f.at)
		}
	}
}

func (f *attempts) isReady(step string, since time.Time) { f.ready[step] = readiness{since: since} }

func (f *attempts) stepEnded(step string) {
	f.ended[step] = true
	delete(f.ready, step)
	f.sendable()
}

// readyIsOver ends the wait of a step for its next attempt.
func (f *attempts) readyIsOver(a *api.Attempt) {
	r, ok := f.ready[a.Step]
	if !ok {
		r.since = f.at
	}
	a.ReadyAt = api.Moment(r.since)
	f.placed(a.Step, a.Number, r, f.at)
	delete(f.ready, a.Step)
}

// placed notes what a ready step waited for.
func (f *attempts) placed(step string, attempt int32, r readiness, until time.Time) {
	switch {
	case r.reason != "":
	case !f.lost.IsZero():
		r = f.because(r.since, f.reason)
	default:
		r.reason, r.words = waitPlacement, "a worker"
	}
	f.wait(step, attempt, r.reason, r.since, until, r.words)
}

// because is a wait for a reason of the run's.
func (f *attempts) because(since time.Time, reason messages.Reason) readiness {
	return readiness{since, reasonName(reason.String(), "REASON_"), "a worker: " + reason.Words()}
}

func reasonName(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

func (f *attempts) notOffered(n *messages.NotOffered) {
	for _, step := range n.Steps {
		if r, ok := f.ready[step]; ok {
			r.reason, r.words = reasonName(n.Reason.String(), "WAIT_REASON_"), n.Text
			f.ready[step] = r
		}
	}
}

// bindingIsBack ends what live attempts waited for their worker.
func (f *attempts) bindingIsBack() {
	for _, s := range f.def.GetSteps() {
		if a := f.live[s.Name]; a != nil {
			f.awayIsOver(a)
		}
		if r, ok := f.ready[s.Name]; ok && r.reason == "" && !f.lost.IsZero() {
			f.ready[s.Name] = f.because(r.since, f.reason)
		}
	}
	f.lost = time.Time{}
}

// awayIsOver ends the wait of a live attempt for the worker that it is on.
func (f *attempts) awayIsOver(a *api.Attempt) {
	if !f.lost.IsZero() {
		f.away(a, f.at)
	}
}

func (f *attempts) away(a *api.Attempt, until time.Time) {
	f.wait(a.Step, a.Number, reasonName(f.reason.String(), "REASON_"), f.lost, until, "its worker: "+f.reason.Words())
}

// queued notes how long an attempt waited at its worker.
func (f *attempts) queued(a *api.Attempt) {
	if a.StartedAt != nil {
		f.wait(a.Step, a.Number, waitQueued, a.SentAt.AsTime(), a.StartedAt.AsTime(), "a slot of its worker")
	}
}

// callWaits: one of the calls that are under way at once names the wait.
func (f *attempts) callWaits(k *messages.CallWaits) {
	a := f.live[k.Step]
	if a == nil || a.Number != k.Attempt || k.FailedCondition != nil {
		return
	}
	c := f.calls[k.Step]
	if c == nil {
		c = &callsWait{step: k.Step, open: map[[2]string]bool{}, words: "in " + k.Kind.Words() + " " + k.Name + " " + k.Key}
		c.next(f, k.Attempt, c.words)
		f.calls[k.Step] = c
	}
	c.open[[2]string{k.Name, k.Key}] = true
}

// next begins a part of the wait, where the one before ends.
func (c *callsWait) next(f *attempts, attempt int32, words string) {
	if c.wait != nil {
		c.wait.Until = api.Moment(f.at)
	}
	c.wait = f.wait(c.step, attempt, waitCall, f.at, time.Time{}, words)
}

// callCame ends the wait with its last call; that of a suspended attempt with the first
// one, for then the step runs again.
func (f *attempts) callCame(k *messages.CallRecorded) {
	c := f.calls[k.Step]
	if c == nil || !c.open[[2]string{k.Name, k.Key}] {
		return
	}
	delete(c.open, [2]string{k.Name, k.Key})
	if c.suspended {
		f.callsOver(k.Step)
		f.isReady(k.Step, f.at)
	} else if len(c.open) == 0 {
		f.callsOver(k.Step)
	}
}

func (f *attempts) callsOver(step string) {
	if c := f.calls[step]; c != nil {
		c.wait.Until = api.Moment(f.at)
		delete(f.calls, step)
	}
}

// stillWaits notes what goes on: of a run that has ended nothing does.
func (f *attempts) stillWaits(ended bool) {
	for _, s := range f.def.GetSteps() {
		if ended {
			f.callsOver(s.Name)
			continue
		}
		a := f.live[s.Name]
		if r, ok := f.ready[s.Name]; ok && a == nil && !r.since.After(f.at) {
			f.placed(s.Name, 0, r, time.Time{})
		}
		if a == nil {
			continue
		}
		f.queued(a)
		if !f.lost.IsZero() {
			f.away(a, time.Time{})
		}
	}
}
