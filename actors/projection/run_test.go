package projection

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// A run shows the messages that nobody has received, and of each step the calls on
// record and those that wait, in order, whether the step is in memory or suspended.
func TestCallsAndMailbox(t *testing.T) {
	s := run.NewState("r", &messages.WorkflowDefinition{Name: "agent", Steps: []*messages.StepDefinition{{Name: "chat"}, {Name: "other"}}})
	second := 0
	tell := func(events ...*messages.Event) {
		second++
		s.ApplyEntry(&messages.Entry{AtUs: int64(second) * 1_000_000, Events: events})
	}
	signal := func(name, id string) *messages.Event {
		return &messages.Event{Kind: &messages.Event_Signaled{Signaled: &messages.Signaled{Name: name, MessageId: id}}}
	}
	waits := func(kind messages.CallKind, name, key string, branches ...*messages.WaitBranch) *messages.Event {
		return &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{
			Step: "chat", Attempt: 1, Kind: kind, Name: name, Key: key, DeadlineUs: 90_000_000, Branches: branches}}}
	}
	recorded := func(name, key string) *messages.Event {
		return &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "chat", Attempt: 1, Name: name, Key: key}}}
	}
	check := func(want string) {
		t.Helper()
		v := Run(&journal.Record{}, s, nil)
		got := []string{fmt.Sprint("unread ", v.UnreadSignals)}
		for _, st := range v.Steps {
			got = append(got, fmt.Sprintf("%s %s calls=%d", st.Name, st.Phase, st.Calls))
			for _, w := range st.Waits {
				got = append(got, fmt.Sprintf("  %s %s %s from %d to %d: %s", w.Kind.Words(), w.Name, w.Key, w.Since.AsTime().Unix(), w.Until.AsTime().Unix(), w.WaitingFor))
			}
		}
		if a := strings.Join(got, "\n"); a != strings.TrimSpace(want) {
			t.Errorf("shown is\n%s\nwant\n%s", a, strings.TrimSpace(want))
		}
	}
	tell(&messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{Workflow: "agent"}}},
		&messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: "chat", Attempt: 1, Worker: worker("w1")}}},
		&messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: "chat", Attempt: 1, StartedUs: 1_000_000}}})
	tell(recorded("think", "#0"), signal("other", "m1"), signal("other", "m2"), signal("note", "m3"))
	tell(waits(messages.CallKind_CALL_KIND_RECEIVE, "yes", "#0"))
	tell(waits(messages.CallKind_CALL_KIND_FIRST, "soon", "#0",
		&messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_EVENT, EventKey: "paid"},
		&messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_SLEEP, UntilUs: (20 * time.Second).Microseconds()}))
	check(`
unread map[note:1 other:2]
chat running calls=1
  Receive yes #0 from 3 to 90: signal "yes"
  First soon #0 from 4 to 20: event "paid" or the time 1970-01-01T00:00:20Z
other ready calls=0`)
	tell(&messages.Event{Kind: &messages.Event_AttemptSuspended{AttemptSuspended: &messages.AttemptSuspended{Step: "chat", Attempt: 1, Reason: messages.Reason_REASON_IDLE}}})
	check(`
unread map[note:1 other:2]
chat suspended calls=1
  Receive yes #0 from 3 to 90: signal "yes"
  First soon #0 from 4 to 20: event "paid" or the time 1970-01-01T00:00:20Z
other ready calls=0`)
	tell(recorded("soon", "#0"))
	check(`
unread map[note:1 other:2]
chat ready calls=2
other ready calls=0`)
}

// A call that sleeps until the wall clock shows a time is over when it does, however that
// was set: all that is shown is engine time, which becomes that of the wall clock last.
func TestTheEndOfASleepByTheWallClock(t *testing.T) {
	s := run.NewState("r", &messages.WorkflowDefinition{Name: "agent", Steps: []*messages.StepDefinition{{Name: "chat"}}})
	at := time.Unix(5000, 0)
	s.ApplyEntry(&messages.Entry{AtUs: 1, Events: []*messages.Event{
		{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{Workflow: "agent"}}},
		{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: "chat", Attempt: 1, Worker: worker("w1")}}},
		{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "chat", Attempt: 1, Kind: messages.CallKind_CALL_KIND_SLEEP, Name: "sleep", Key: "#0",
			DeadlineUs: time.Unix(9000, 0).UnixMicro(),
			Branches:   []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_SLEEP, UntilWallUs: at.UnixMicro()}}}}}}})
	ahead := func(wall time.Time) time.Time { return wall.Add(-time.Hour) }
	for name, toEngine := range map[string]func(time.Time) time.Time{"as it is": nil, "an hour ahead": ahead} {
		want := at
		if toEngine != nil {
			want = toEngine(at)
		}
		if got := Run(&journal.Record{}, s, toEngine).GetSteps()[0].GetWaits()[0].GetUntil().AsTime(); !got.Equal(want) {
			t.Errorf("with the wall clock %s the sleep is over at %v of engine time, want %v", name, got, want)
		}
	}
}
