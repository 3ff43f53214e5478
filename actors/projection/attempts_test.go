package projection

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

func sent(step string, attempt int32, at string) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: step, Attempt: attempt, Epoch: 1, Worker: worker(at)}}}
}

func succeeded(step string, attempt int32, started int64) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: step, Attempt: attempt, StartedUs: started * 1_000_000}}}
}

func lost(step string, attempt int32, reason messages.Reason) *messages.Event {
	return &messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{Step: step, Attempt: attempt, Reason: reason}}}
}

func bindingLost(reason messages.Reason) *messages.Event {
	return &messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Reason: reason}}}
}

func boundTo(id string) *messages.Event {
	return &messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{Worker: worker(id)}}}
}

func started(step string, attempt int32, at int64) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: step, Attempt: attempt, StartedUs: at * 1_000_000}}}
}

var begins = &messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{}}}

var chain = &messages.WorkflowDefinition{Steps: []*messages.StepDefinition{{Name: "a"}, {Name: "b", Parents: []string{"a"}}}}

// told is what Attempts tells of a history, by the second of each entry.
func told(t *testing.T, status messages.RunStatus, entries map[int][]*messages.Event) string {
	t.Helper()
	record := &journal.Record{Row: journal.Row{Status: status}}
	for at := range 100 {
		if entries[at] == nil {
			continue
		}
		data, err := messages.Marshal(&messages.Entry{AtUs: int64(at) * 1_000_000, Events: entries[at]})
		if err != nil {
			t.Fatal(err)
		}
		record.Entries = append(record.Entries, data)
	}
	at := func(ts *timestamppb.Timestamp) string {
		if ts == nil {
			return "-"
		}
		return fmt.Sprint(ts.AsTime().Sub(time.Unix(0, 0)).Seconds())
	}
	var lines []string
	r := Attempts(record, chain)
	for _, a := range r.GetAttempts() {
		line := fmt.Sprintf("%s#%d on %s: ready %s sent %s started %s ended %s, %s", a.GetStep(), a.GetNumber(), a.GetWorkerId(), at(a.GetReadyAt()), at(a.GetSentAt()), at(a.GetStartedAt()), at(a.GetEndedAt()), a.GetOutcome())
		for _, more := range []string{a.GetFailure().GetCode(), a.GetWhy(), a.GetResultRefused()} {
			if more != "" {
				line += ", " + more
			}
		}
		lines = append(lines, line)
	}
	for _, w := range r.GetWaits() {
		lines = append(lines, fmt.Sprintf("%s#%d waits %s to %s, %s: %s", w.GetStep(), w.GetAttempt(), at(w.GetFrom()), at(w.GetUntil()), w.GetReason(), w.GetWaitingFor()))
	}
	return strings.Join(lines, "\n")
}

// Each attempt has a record, and each time in which a step waited has one, with its
// reason.
func TestAttemptsAndWaits(t *testing.T) {
	running, ended := messages.RunStatus_RUN_STATUS_RUNNING, messages.RunStatus_RUN_STATUS_SUCCEEDED
	gone := messages.Reason_REASON_WORKER_LOST
	for _, c := range []struct {
		name    string
		status  messages.RunStatus
		entries map[int][]*messages.Event
		want    string
	}{
		{"a chain that waits for a worker, a slot and a retry", ended, map[int][]*messages.Event{
			1: {begins}, 3: {boundTo("w1"), sent("a", 1, "w1")},
			6:  {{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: "a", Attempt: 1, StartedUs: 5_000_000, RetryAtUs: 8_000_000, Failure: &messages.Failure{Code: "USER_ERROR", Message: "no"}}}}},
			8:  {sent("a", 2, "w1")},
			10: {succeeded("a", 2, 8), sent("b", 1, "w1")},
			12: {succeeded("b", 1, 10)},
		}, `
a#1 on w1: ready 1 sent 3 started 5 ended 6, failed, USER_ERROR, USER_ERROR: no
a#2 on w1: ready 8 sent 8 started 8 ended 10, succeeded
b#1 on w1: ready 10 sent 10 started 10 ended 12, succeeded
a#1 waits 1 to 3, placement: a worker
a#1 waits 3 to 5, queued: a slot of its worker
a#2 waits 6 to 8, backoff: the pause before its next attempt`},
		{"a SOFT run that moves, and a late result", ended, map[int][]*messages.Event{
			1: {begins, boundTo("w1"), sent("a", 1, "w1")}, 2: {started("a", 1, 1)},
			4: {lost("a", 1, gone), bindingLost(gone)}, 6: {boundTo("w2"), sent("a", 2, "w2")},
			7: {{Kind: &messages.Event_ResultRefused{ResultRefused: &messages.ResultRefused{Step: "a", Attempt: 1, Reason: messages.Reason_REASON_ATTEMPT_UNKNOWN}}}},
			8: {succeeded("a", 2, 6)},
		}, `
a#1 on w1: ready 1 sent 1 started 1 ended 4, lost, worker lost, ` + messages.Reason_REASON_ATTEMPT_UNKNOWN.Words() + `
a#2 on w2: ready 4 sent 6 started 6 ended 8, succeeded
a#2 waits 4 to 6, worker_lost: a worker: worker lost`},
		{"a HARD run whose worker is away, comes back, and is away again", running, map[int][]*messages.Event{
			1: {begins, boundTo("w1"), sent("a", 1, "w1")}, 2: {started("a", 1, 1)}, 3: {bindingLost(gone)},
			5: {{Kind: &messages.Event_BindingRestored{BindingRestored: &messages.BindingRestored{}}}}, 7: {bindingLost(gone)},
		}, `
a#1 on w1: ready 1 sent 1 started 1 ended -, live
a#1 waits 3 to 5, worker_lost: its worker: worker lost
a#1 waits 7 to -, worker_lost: its worker: worker lost`},
		{"a step that nobody offers", running, map[int][]*messages.Event{
			1: {begins}, 9: {{Kind: &messages.Event_NotOffered{NotOffered: &messages.NotOffered{Steps: []string{"a"}, Reason: messages.WaitReason_WAIT_REASON_NO_LABELS, Text: "a worker with gpu=yes"}}}},
		}, `
a#0 waits 1 to -, no_labels: a worker with gpu=yes`},
		{"a call, in which the attempt is suspended, and one that still waits", running, map[int][]*messages.Event{
			1: {begins, sent("a", 1, "w1"), started("a", 1, 1)},
			2: {{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "a", Attempt: 1, Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "yes", Key: "#0"}}}},
			4: {{Kind: &messages.Event_AttemptSuspended{AttemptSuspended: &messages.AttemptSuspended{Step: "a", Attempt: 1, Reason: messages.Reason_REASON_IDLE}}}},
			6: {{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "a", Attempt: 1, Name: "yes", Key: "#0"}}}},
			7: {sent("a", 2, "w1"), started("a", 2, 7)},
			8: {{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "a", Attempt: 2, Kind: messages.CallKind_CALL_KIND_SLEEP, Name: "soon", Key: "#1"}}}},
		}, `
a#1 on w1: ready 1 sent 1 started 1 ended 4, suspended, ` + messages.Reason_REASON_IDLE.Words() + `
a#2 on w1: ready 6 sent 7 started 7 ended -, live
a#1 waits 2 to 4, call: in Receive yes #0
a#1 waits 4 to 6, call: in Receive yes #0, suspended: ` + messages.Reason_REASON_IDLE.Words() + `
a#2 waits 6 to 7, placement: a worker
a#2 waits 8 to -, call: in Sleep soon #1`},
		{"a replay of a step, and of what descends from it", running, map[int][]*messages.Event{
			1: {begins, sent("a", 1, "w1")}, 2: {succeeded("a", 1, 1), sent("b", 1, "w1")}, 3: {succeeded("b", 1, 2)},
			5: {{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{Steps: []string{"b"}}}}}, 6: {sent("b", 2, "w1")},
		}, `
a#1 on w1: ready 1 sent 1 started 1 ended 2, succeeded
b#1 on w1: ready 2 sent 2 started 2 ended 3, succeeded
b#2 on w1: ready 5 sent 6 started - ended -, live
b#2 waits 5 to 6, placement: a worker`},
	} {
		if got := told(t, c.status, c.entries); got != strings.TrimSpace(c.want) {
			t.Errorf("%s: told\n%s\nwant\n%s", c.name, got, strings.TrimSpace(c.want))
		}
	}
}
