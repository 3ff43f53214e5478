package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// eventWords say the events of one entry.
type eventWords struct {
	// at is when it was written, in the zone of whoever reads.
	at time.Time
}

// moment is a time of the engine's: with its day, unless that is the entry's.
func (w eventWords) moment(us int64) string {
	at := time.UnixMicro(us).In(w.at.Location())
	if at.Format(time.DateOnly) == w.at.Format(time.DateOnly) {
		return at.Format("15:04:05.000")
	}
	return at.Format("2006-01-02 15:04:05")
}

// text says an event in words, with a colour. It is a list: one case for each kind.
//
//gocyclo:ignore
func (w eventWords) text(e *messages.Event) (text, color string) {
	switch k := e.GetKind().(type) {
	case *messages.Event_RunStarted:
		return fmt.Sprintf("run of %s started by %s, input %s", k.RunStarted.GetWorkflow(), k.RunStarted.GetTrigger(), briefly(k.RunStarted.GetInput(), 60)), ""
	case *messages.Event_CancelRequested:
		text := "cancel requested"
		if k.CancelRequested.GetWithoutEndStep() {
			text += ", without the end step"
		}
		return text + because(k.CancelRequested.GetReason()), yellow
	case *messages.Event_RunDormant:
		return "asleep until " + w.wake(k.RunDormant), dim
	case *messages.Event_RunReplayed:
		if steps := k.RunReplayed.GetSteps(); len(steps) > 0 {
			return "replayed: " + strings.Join(steps, ", "), ""
		}
		return "replayed", ""
	case *messages.Event_RunEnding:
		return "the outcome is decided, the end step follows: " + api.OutcomeText(k.RunEnding), phaseColor(statusName(k.RunEnding.GetStatus()))
	case *messages.Event_RunContinued:
		c := k.RunContinued
		return fmt.Sprintf("goes on as new by step %s, input %s", c.GetStep(), briefly(c.GetInput(), 60)), cyan
	case *messages.Event_RunEnded:
		return runEndedText(k.RunEnded)
	case *messages.Event_Bound:
		return boundText(k.Bound), cyan
	case *messages.Event_BindingLost:
		return fmt.Sprintf("binding lost (epoch %d)%s", k.BindingLost.GetEpoch(), because(k.BindingLost.GetReason().Words())), yellow
	case *messages.Event_BindingRestored:
		return fmt.Sprintf("its worker is back, the same process (epoch %d)", k.BindingRestored.GetEpoch()), cyan
	case *messages.Event_RunWoken:
		return "awake", dim
	case *messages.Event_ChildSpawned:
		return childText(k.ChildSpawned), ""
	case *messages.Event_CallRecorded:
		return callText(k.CallRecorded)
	case *messages.Event_Signaled:
		return fmt.Sprintf("signal %s, message %s: %s", k.Signaled.GetName(), k.Signaled.GetMessageId(), briefly(k.Signaled.GetPayload(), 60)), ""
	case *messages.Event_CallWaits:
		return w.callWaits(k.CallWaits)
	}
	if text, color, ok := stateText(e); ok {
		return text, color
	}
	if text, color, ok := w.step(e); ok {
		return text, color
	}
	return fmt.Sprintf("an event that this version does not know: %v", e), yellow
}

func (w eventWords) step(e *messages.Event) (text, color string, ok bool) {
	switch k := e.GetKind().(type) {
	case *messages.Event_StepDispatched:
		d := k.StepDispatched
		return fmt.Sprintf("step %s sent to %s (attempt %d)", d.GetStep(), d.GetWorker().GetWorkerId(), d.GetAttempt()), "", true
	case *messages.Event_StepStarted:
		return fmt.Sprintf("step %s runs (attempt %d)", k.StepStarted.GetStep(), k.StepStarted.GetAttempt()), "", true
	case *messages.Event_StepProgressed:
		p := k.StepProgressed
		return fmt.Sprintf("step %s tells: %s (attempt %d)", p.GetStep(), briefly(p.GetProgress(), 60), p.GetAttempt()), dim, true
	case *messages.Event_StreamOpened:
		s := k.StreamOpened
		return fmt.Sprintf("step %s writes section %d of stream %s (attempt %d)", s.GetStep(), s.GetSection(), s.GetStream(), s.GetAttempt()), dim, true
	case *messages.Event_StepSucceeded:
		return fmt.Sprintf("step %s succeeded: %s", k.StepSucceeded.GetStep(), briefly(k.StepSucceeded.GetOutput(), 60)), green, true
	case *messages.Event_AttemptFailed:
		return w.attemptFailed(k.AttemptFailed), yellow, true
	case *messages.Event_AttemptLost:
		return fmt.Sprintf("step %s lost with its worker (attempt %d)%s", k.AttemptLost.GetStep(), k.AttemptLost.GetAttempt(), because(k.AttemptLost.Why())), yellow, true
	case *messages.Event_AttemptRevoked:
		return fmt.Sprintf("step %s withdrawn (attempt %d)%s", k.AttemptRevoked.GetStep(), k.AttemptRevoked.GetAttempt(), because(k.AttemptRevoked.GetReason().Words())), yellow, true
	case *messages.Event_AttemptSuspended:
		a := k.AttemptSuspended
		return fmt.Sprintf("step %s suspended while it waits (attempt %d)%s", a.GetStep(), a.GetAttempt(), because(a.GetReason().Words())), "", true
	case *messages.Event_StepFailed:
		return fmt.Sprintf("step %s failed: %s", k.StepFailed.GetStep(), failureText(k.StepFailed.GetFailure())), red, true
	case *messages.Event_StepSkipped:
		return fmt.Sprintf("step %s skipped%s", k.StepSkipped.GetStep(), because(k.StepSkipped.Why())), yellow, true
	case *messages.Event_StepCanceled:
		return fmt.Sprintf("step %s canceled%s", k.StepCanceled.GetStep(), because(k.StepCanceled.Why())), yellow, true
	case *messages.Event_ResultRefused:
		r := k.ResultRefused
		return fmt.Sprintf("a late result of step %s was refused (attempt %d, epoch %d, worker %s)%s",
			r.GetStep(), r.GetAttempt(), r.GetEpoch(), r.GetWorkerId(), because(r.Why())), yellow, true
	}
	return "", "", false
}

// stateText says what became of local state.
func stateText(e *messages.Event) (text, color string, ok bool) {
	switch k := e.GetKind().(type) {
	case *messages.Event_StateHandedOff:
		h := k.StateHandedOff
		if f := h.GetFailure(); f != nil {
			return fmt.Sprintf("local state not handed off (epoch %d), it is built anew: %s", h.GetEpoch(), failureText(f)), yellow, true
		}
		return fmt.Sprintf("local state handed off (epoch %d): %d values", h.GetEpoch(), len(h.GetStates())), "", true
	case *messages.Event_RebuildBegan:
		b := k.RebuildBegan
		return fmt.Sprintf("step %s runs again for the local state that step %s needs%s", b.GetStep(), b.GetForStep(), because(b.GetReason().Words())), "", true
	case *messages.Event_NotOffered:
		n := k.NotOffered
		return fmt.Sprintf("nobody offers what %s waits for, since %s UTC: %s",
			strings.Join(n.GetSteps(), ", "), time.UnixMicro(n.GetSinceUs()).UTC().Format("2006-01-02 15:04:05"), n.GetText()), yellow, true
	case *messages.Event_StepRebuilt:
		return fmt.Sprintf("step %s has built its local state again (attempt %d)", k.StepRebuilt.GetStep(), k.StepRebuilt.GetAttempt()), "", true
	}
	return "", "", false
}

func boundText(b *messages.Bound) string {
	text := fmt.Sprintf("bound to %s (epoch %d)", b.GetWorker().GetWorkerId(), b.GetEpoch())
	if from := b.GetFromWorker(); from != "" && from != b.GetWorker().GetWorkerId() {
		text += ", from " + from
	}
	return text + because(b.GetReason().Words())
}

func (w eventWords) attemptFailed(f *messages.AttemptFailed) string {
	text := fmt.Sprintf("step %s: attempt %d failed: %s", f.GetStep(), f.GetAttempt(), failureText(f.GetFailure()))
	if at := f.GetRetryAtUs(); at > 0 {
		text += ", again at " + w.moment(at)
	}
	return text
}

func childText(s *messages.ChildSpawned) string {
	kind := "child"
	if s.GetSticky() {
		kind = "sticky child"
	}
	text := fmt.Sprintf("step %s spawned %s %s of %s", s.GetStep(), kind, s.GetChildRun(), s.GetWorkflow())
	if s.GetInsteadOf() != "" {
		text += ", instead of " + s.GetInsteadOf()
	}
	return text
}

// callWaits says what a call of a step waits for.
func (w eventWords) callWaits(c *messages.CallWaits) (text, color string) {
	if f := c.GetFailedCondition(); f != nil {
		return fmt.Sprintf("step %s: call %s %s waits on: its condition could not be evaluated on event %s, id %s: %s",
			c.GetStep(), c.GetName(), c.GetKey(), f.GetEvent().GetKey(), f.GetEvent().GetEventId(), f.GetMessage()), yellow
	}
	const shown = 3
	var what []string
	for _, b := range c.GetBranches()[:min(shown, len(c.GetBranches()))] {
		what = append(what, w.branch(b))
	}
	switch more := len(c.GetBranches()) - shown; {
	case len(what) == 0:
		what = []string{"signal " + c.GetName()}
	case more > 0:
		what = append(what, fmt.Sprintf("%d more", more))
	}
	text = fmt.Sprintf("step %s: call %s %s waits for %s", c.GetStep(), c.GetName(), c.GetKey(), strings.Join(what, " or "))
	if c.GetKind() == messages.CallKind_CALL_KIND_SLEEP {
		return text, dim
	}
	return text + ", until " + w.moment(c.GetDeadlineUs()), dim
}

func (w eventWords) branch(b *messages.WaitBranch) string {
	switch b.GetKind() {
	case messages.CallKind_CALL_KIND_RECEIVE:
		return "signal " + b.GetSignal()
	case messages.CallKind_CALL_KIND_SLEEP:
		return w.moment(max(b.GetUntilUs(), b.GetUntilWallUs()))
	case messages.CallKind_CALL_KIND_CHILD:
		return "child " + b.GetChildRun()
	case messages.CallKind_CALL_KIND_EVENT:
		if b.GetCondition() != "" {
			return "event " + b.EventPattern() + " if " + brief(b.GetCondition(), 60)
		}
		return "event " + b.EventPattern()
	}
	return b.GetKind().Words()
}

// callText says how a call of a step came out.
func callText(c *messages.CallRecorded) (text, color string) {
	text = fmt.Sprintf("step %s: call %s %s", c.GetStep(), c.GetName(), c.GetKey())
	if n := c.GetTries(); n > 1 {
		text += fmt.Sprintf(", at the %d. try", n)
	}
	if f := c.GetFailure(); f != nil {
		return text + " came to nothing: " + failureText(f), yellow
	}
	switch kind := c.GetKind(); {
	case c.GetMessageId() != "":
		return text + " received message " + c.GetMessageId(), ""
	case c.GetChild() != nil:
		return fmt.Sprintf("%s: child %s %s", text, c.GetChild().GetChildRun(), statusName(c.GetChild().GetStatus())), ""
	case c.GetEvent() != nil:
		return fmt.Sprintf("%s: event %s, id %s: %s", text, c.GetEvent().GetKey(), c.GetEvent().GetEventId(), briefly(c.GetOutput(), 60)), ""
	case kind == messages.CallKind_CALL_KIND_ALL:
		return fmt.Sprintf("%s waits for %d things", text, c.GetCalls()), ""
	case kind == messages.CallKind_CALL_KIND_SIGNAL:
		return text + " sent its message", ""
	case kind == messages.CallKind_CALL_KIND_START:
		return text + " sent its message to run " + strings.Trim(string(c.GetOutput()), `"`), ""
	case kind == messages.CallKind_CALL_KIND_SLEEP, kind == messages.CallKind_CALL_KIND_FIRST:
		return text + ": its time came", ""
	}
	return text + ": " + briefly(c.GetOutput(), 60), ""
}

func runEndedText(e *messages.RunEnded) (text, color string) {
	text = "run " + statusName(e.GetStatus())
	if e.GetFailure() != nil {
		text += ": " + failureText(e.GetFailure())
	}
	for _, name := range slices.Sorted(maps.Keys(e.GetUnreadSignals())) {
		text += fmt.Sprintf("; unread messages of signal %s: %d", name, e.GetUnreadSignals()[name])
	}
	return text, phaseColor(statusName(e.GetStatus()))
}

// wake says what wakes a dormant run.
func (w eventWords) wake(d *messages.RunDormant) string {
	var ways []string
	if at := d.GetWakeAtUs(); at > 0 {
		ways = append(ways, w.moment(at))
	}
	if worker := d.GetWakeOnUp(); worker != "" {
		ways = append(ways, "worker "+worker+" is up")
	}
	if worker := d.GetWakeOnGone(); worker != "" {
		ways = append(ways, "worker "+worker+" answers or is gone")
	}
	if d.GetLine() != 0 {
		ways = append(ways, "it is its turn to be placed")
	}
	return strings.Join(ways, " or ")
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
