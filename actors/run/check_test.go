package run

import (
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

func boundEvent(epoch uint64, worker string) *messages.Event {
	return &messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: epoch, Worker: workerRef(worker)}}}
}

func dispatchedEvent(step string, attempt int32, epoch uint64, worker string) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{
		Step: step, Attempt: attempt, Epoch: epoch, Worker: workerRef(worker)}}}
}

func failedEvent(step string, attempt int32) *messages.Event {
	return &messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{
		Step: step, Attempt: attempt, Failure: &messages.Failure{Code: "USER_ERROR"}, RetryAtUs: 1}}}
}

func succeededEvent(step string, output string) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: step, Attempt: 1, Output: []byte(output)}}}
}

func rebuildEvent(step string, epoch uint64) *messages.Event {
	return &messages.Event{Kind: &messages.Event_RebuildBegan{RebuildBegan: &messages.RebuildBegan{Step: step, Epoch: epoch}}}
}

func handedOffEvent(epoch uint64) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: &messages.StateHandedOff{Epoch: epoch}}}
}

func endedEvent(status messages.RunStatus) *messages.Event {
	return &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: status}}}
}

// Each invariant is noticed when it is broken.
func TestBrokenInvariantsAreNoticed(t *testing.T) {
	const succeeded, failed = messages.RunStatus_RUN_STATUS_SUCCEEDED, messages.RunStatus_RUN_STATUS_FAILED
	replayed := &messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{}}}
	for _, test := range []struct {
		want   string
		sticky messages.Sticky
		events []*messages.Event
	}{
		{"I1: the run had ended", messages.Sticky_STICKY_HARD, []*messages.Event{boundEvent(1, "w1"), dispatchedEvent("a", 1, 1, "w1"), succeededEvent("a", ""),
			dispatchedEvent("b", 1, 1, "w1"), succeededEvent("b", ""), endedEvent(succeeded), endedEvent(failed)}},
		{"I1: replayed while it runs", messages.Sticky_STICKY_NONE, []*messages.Event{replayed}},
		{"I1: it had succeeded", messages.Sticky_STICKY_NONE, []*messages.Event{dispatchedEvent("a", 1, 0, "w1"), succeededEvent("a", "1"), succeededEvent("a", "2")}},
		{"I2: attempt 3 after attempt 0", messages.Sticky_STICKY_NONE, []*messages.Event{dispatchedEvent("a", 3, 0, "w1")}},
		{"I2: attempt 2 is sent while the step is live", messages.Sticky_STICKY_NONE, []*messages.Event{dispatchedEvent("a", 1, 0, "w1"), dispatchedEvent("a", 2, 0, "w1")}},
		{"I2: attempt 1 went from w1~i1 to w2~i1", messages.Sticky_STICKY_NONE, []*messages.Event{dispatchedEvent("a", 1, 0, "w1"), dispatchedEvent("a", 1, 0, "w2")}},
		{"I3: live attempt", messages.Sticky_STICKY_SOFT, []*messages.Event{dispatchedEvent("a", 1, 1, "w1")}},
		{"I3: live attempt", messages.Sticky_STICKY_SOFT, []*messages.Event{boundEvent(1, "w1"), dispatchedEvent("a", 1, 1, "w1"), boundEvent(2, "w2")}},
		{"I4: HARD run bound to worker \"w1\", then to \"w2\"", messages.Sticky_STICKY_HARD, []*messages.Event{boundEvent(1, "w1"), boundEvent(2, "w2")}},
		{"I5: epoch 3 after epoch 0", messages.Sticky_STICKY_SOFT, []*messages.Event{boundEvent(3, "w1")}},
		{"I5: epoch 1 bound to w1~i1, then to w2~i1", messages.Sticky_STICKY_SOFT, []*messages.Event{boundEvent(1, "w1"), boundEvent(1, "w2")}},
		{"I6: step \"b\" is live, parent \"a\" is ready", messages.Sticky_STICKY_NONE, []*messages.Event{dispatchedEvent("b", 1, 0, "w1")}},
		{"I7: run ended, step \"a\" is ready", messages.Sticky_STICKY_NONE, []*messages.Event{endedEvent(succeeded)}},
		{"I7: run ended, step \"a\" is live", messages.Sticky_STICKY_NONE, []*messages.Event{dispatchedEvent("a", 1, 0, "w1"), endedEvent(succeeded)}},
		{"I8: step \"a\" charged 2 failures", messages.Sticky_STICKY_NONE, []*messages.Event{dispatchedEvent("a", 1, 0, "w1"), failedEvent("a", 1), dispatchedEvent("a", 2, 0, "w1"), failedEvent("a", 2)}},
		{"I9: it is rebuilt, and was ready", messages.Sticky_STICKY_SOFT, []*messages.Event{boundEvent(1, "w1"), rebuildEvent("a", 1)}},
		{"I1: it had succeeded with \"1\", now it is succeeded with \"2\"", messages.Sticky_STICKY_SOFT, []*messages.Event{boundEvent(1, "w1"), dispatchedEvent("a", 1, 1, "w1"),
			succeededEvent("a", "1"), rebuildEvent("a", 1), dispatchedEvent("a", 2, 1, "w1"), succeededEvent("a", "2")}},
		{"I10: attempt 1 needs the state of step \"a\", which was built under epoch 1, not 2", messages.Sticky_STICKY_SOFT, []*messages.Event{boundEvent(1, "w1"),
			dispatchedEvent("a", 1, 1, "w1"), succeededEvent("a", ""), boundEvent(2, "w2"), dispatchedEvent("b", 1, 2, "w2")}},
		{"I11: attempt 2 is sent under epoch 1, whose state was handed off", messages.Sticky_STICKY_SOFT, []*messages.Event{boundEvent(1, "w1"),
			dispatchedEvent("a", 1, 1, "w1"), failedEvent("a", 1), handedOffEvent(1), dispatchedEvent("a", 2, 1, "w1")}},
		{"I11: state of epoch 1 is handed off, step \"a\" is live", messages.Sticky_STICKY_SOFT, []*messages.Event{boundEvent(1, "w1"),
			dispatchedEvent("a", 1, 1, "w1"), handedOffEvent(1)}},
	} {
		def := definition(test.sticky, &messages.StepDefinition{Name: "a", BuildsState: true}, &messages.StepDefinition{Name: "b", Parents: []string{"a"}, NeedsState: true})
		s := NewState("r", def)
		err := s.ApplyChecked(&messages.Entry{AtUs: 1, Events: append([]*messages.Event{startedEvent}, test.events...)})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
	}
}
