package run

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// How long an attempt waited is known from its start on, and of that how long at
// its worker; a step that waits anew begins anew.
func TestWaited(t *testing.T) {
	s := NewState("r", &messages.WorkflowDefinition{Name: "w", Steps: []*messages.StepDefinition{{Name: "a", Retries: 1}}})
	us := func(seconds int64) int64 { return seconds * 1_000_000 }
	entry := func(seconds int64, events ...*messages.Event) {
		s.ApplyEntry(&messages.Entry{AtUs: us(seconds), Events: events})
	}
	want := func(waited, queued time.Duration, recorded bool) {
		t.Helper()
		if st := s.Step("a"); st.Waited != waited || st.Queued != queued || st.StartRecorded != recorded {
			t.Errorf("waited %v, %v of it queued, start recorded: %v; want %v, %v, %v", st.Waited, st.Queued, st.StartRecorded, waited, queued, recorded)
		}
	}
	sent := func(attempt int32) *messages.Event {
		return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: "a", Attempt: attempt, Worker: &messages.WorkerRef{WorkerId: "w1"}}}}
	}
	failed := func(attempt int32, started, retry int64) *messages.Event {
		return &messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: "a", Attempt: attempt, StartedUs: us(started), RetryAtUs: us(retry)}}}
	}
	entry(10, &messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{}}})
	entry(12, sent(1))
	want(0, 0, false)
	entry(16, failed(1, 15, 20))
	want(5*time.Second, 3*time.Second, false)
	entry(21, sent(2)) // ready when its back-off was over
	want(0, 0, false)
	entry(23, &messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: "a", Attempt: 2, StartedUs: us(22)}}})
	want(2*time.Second, time.Second, true)
	entry(30, &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "a", Attempt: 2, StartedUs: us(22)}}})
	want(2*time.Second, time.Second, true)
	// One that was given up before it started has not waited for a start.
	entry(40, &messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{}}})
	entry(41, sent(3))
	entry(50, failed(3, 0, 0))
	want(0, 0, false)
}

// Away is how long the run had no worker: of this binding, or of this one's loss.
func TestAway(t *testing.T) {
	s := NewState("r", &messages.WorkflowDefinition{Name: "w", Sticky: messages.Sticky_STICKY_HARD, Steps: []*messages.StepDefinition{{Name: "a"}}})
	entry := func(seconds int64, want time.Duration, event *messages.Event) {
		t.Helper()
		s.ApplyEntry(&messages.Entry{AtUs: seconds * 1_000_000, Events: []*messages.Event{event}})
		if s.Binding.Away != want {
			t.Errorf("after %d s: away for %v, want %v", seconds, s.Binding.Away, want)
		}
	}
	bound := func(epoch uint64) *messages.Event {
		return &messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: epoch, Worker: &messages.WorkerRef{WorkerId: "w1"}}}}
	}
	lost := &messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: 1}}}
	entry(1, 0, &messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{}}})
	entry(2, 0, bound(1))
	entry(3, 0, lost)
	entry(7, 4*time.Second, &messages.Event{Kind: &messages.Event_BindingRestored{BindingRestored: &messages.BindingRestored{Epoch: 1}}})
	entry(9, 4*time.Second, lost)
	entry(15, 6*time.Second, bound(2))
	entry(20, 0, bound(3)) // moved without a loss
}
