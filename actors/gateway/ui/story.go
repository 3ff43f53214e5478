package ui

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// story is a run by its attempts, waits and bindings, as it is drawn and listed; or a
// worker by its attempts.
type story struct {
	from, to time.Time
	attempts []*api.Attempt
	waits    []*api.StepWait
	bindings []*api.BindingRecord
	// marks are moments in lanes.
	marks []moment
	// processes have lanes even without attempts.
	processes []moment
	// runs says that the attempts are of several: bars say whose they are.
	runs bool
}

// moment is what happened to a lane at one time.
type moment struct {
	lane
	at           time.Time
	class, title string
}

// tell makes the story of a run until it ended, or until now.
func tell(run *api.GetRunResponse, attempts *api.ListAttemptsResponse, now time.Time) story {
	s := story{
		from: run.GetRun().GetCreatedAt().AsTime(), to: timeOr(run.GetRun().GetFinishedAt(), now),
		attempts: attempts.GetAttempts(), waits: attempts.GetWaits(), bindings: run.GetBindings(),
	}
	for _, b := range s.bindings {
		s.marks = append(s.marks, marksOf(b)...)
	}
	for _, a := range s.attempts {
		if a.GetReason() == messages.Reason_REASON_LEASE_EXPIRED && a.GetEndedAt() != nil {
			s.marks = append(s.marks, moment{laneOf(a), a.GetEndedAt().AsTime(), "lost", "the lease of " + a.GetWorkerId() + " was over"})
		}
	}
	return s
}

// marksOf are what happened to a binding: that its worker was lost, that state was handed
// off, and that steps ran again for theirs.
func marksOf(b *api.BindingRecord) (all []moment) {
	if at := b.GetLostAt(); at != nil {
		all = append(all, moment{laneTo(b), at.AsTime(), "lost", b.GetWorkerId() + " cannot be used: " + b.GetLostReason().Words()})
	}
	if h := b.GetHandOff(); h != nil {
		title := "handed off"
		for _, l := range h.GetLocals() {
			title += fmt.Sprintf(" %s (%s)", l.GetName(), sizeText(int(l.GetBytes())))
		}
		if h.GetFailure() != nil {
			title += "; " + failureText(h.GetFailure())
		}
		all = append(all, moment{laneTo(b), h.GetAt().AsTime(), "handoff", title})
	}
	for _, r := range b.GetRebuilds() {
		title := fmt.Sprintf("%s runs again for the local state that %s needs: %s", r.GetStep(), r.GetForStep(), r.GetReason().Words())
		if r.GetEndedAt() != nil {
			title += ", took " + spanText(r.GetEndedAt().AsTime().Sub(r.GetBeganAt().AsTime()))
		}
		all = append(all, moment{laneTo(b), r.GetBeganAt().AsTime(), "rebuild", title})
	}
	return all
}

// timeOr is another time for one that is not set.
func timeOr(t *timestamppb.Timestamp, other time.Time) time.Time {
	if t == nil {
		return other
	}
	return t.AsTime()
}

// lane is a process of a worker.
type lane struct{ worker, incarnation string }

func laneOf(a *api.Attempt) lane         { return lane{a.GetWorkerId(), a.GetIncarnation()} }
func laneTo(b *api.BindingRecord) lane   { return lane{b.GetWorkerId(), b.GetIncarnation()} }
func laneFrom(b *api.BindingRecord) lane { return lane{b.GetFromWorker(), b.GetFromIncarnation()} }

// lanes are the processes of workers in the order in which the run came to them.
func (s *story) lanes() []lane {
	visits := slices.Clone(s.processes)
	for _, b := range s.bindings {
		visits = append(visits, moment{lane: laneTo(b), at: b.GetAt().AsTime()})
	}
	for _, a := range s.attempts {
		visits = append(visits, moment{lane: laneOf(a), at: a.GetSentAt().AsTime()})
	}
	slices.SortStableFunc(visits, func(a, b moment) int { return a.at.Compare(b.at) })
	var out []lane
	seen := map[lane]bool{}
	for _, v := range visits {
		if !seen[v.lane] {
			seen[v.lane] = true
			out = append(out, v.lane)
		}
	}
	return out
}

// waitsIn are the waits that are drawn in a lane, by attempt: those of its attempts, and
// in the last one those that no attempt has ended.
func (s *story) waitsIn(l lane, last bool) map[attemptKey][]*api.StepWait {
	in := map[attemptKey]bool{}
	for _, a := range s.attempts {
		in[attemptKey{a.GetStep(), a.GetNumber()}] = laneOf(a) == l
	}
	out := map[attemptKey][]*api.StepWait{}
	for _, w := range s.waits {
		key := attemptKey{w.GetStep(), w.GetAttempt()}
		if in[key] || last && w.GetAttempt() == 0 {
			out[key] = append(out[key], w)
		}
	}
	return out
}

type attemptKey struct {
	step   string
	number int32
}

// attemptTook is how long the function ran; empty if it did not start, or runs.
func attemptTook(a *api.Attempt) string {
	if a.GetStartedAt() == nil || a.GetEndedAt() == nil {
		return ""
	}
	return spanText(a.GetEndedAt().AsTime().Sub(a.GetStartedAt().AsTime()))
}
