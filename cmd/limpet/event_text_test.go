package main

import (
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Every kind of event has its words.
func TestEventTextKnowsEveryKind(t *testing.T) {
	kinds := (&messages.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		e := &messages.Event{}
		e.ProtoReflect().Set(kinds.Get(i), e.ProtoReflect().NewField(kinds.Get(i)))
		if text, _ := (eventWords{epoch}).text(e); text == "" || strings.Contains(text, "does not know") {
			t.Errorf("%s: %q", kinds.Get(i).Name(), text)
		}
	}
}

// A time of another day is shown with its day, in the zone of the reader.
func TestTimesInEventsHaveTheirDay(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	failed := func(after time.Duration) *messages.Event {
		return &messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: "s", Attempt: 1, RetryAtUs: epoch.Add(after).UnixMicro()}}}
	}
	asleep := &messages.Event{Kind: &messages.Event_RunDormant{RunDormant: &messages.RunDormant{WakeAtUs: epoch.Add(48 * time.Hour).UnixMicro()}}}
	for want, event := range map[string]*messages.Event{
		", again at 12:00:10.000":          failed(10 * time.Second),
		", again at 2026-03-05 12:00:00":   failed(24 * time.Hour),
		", again at 2026-03-05 00:00:00":   failed(12 * time.Hour),
		"asleep until 2026-03-06 12:00:00": asleep,
	} {
		if text, _ := (eventWords{epoch.In(zone)}).text(event); !strings.HasSuffix(text, want) {
			t.Errorf("%q, want %q", text, want)
		}
	}
}

// A wait for an event says for which one, and its record which one came, in First too.
func TestEventsOfTheClusterInWords(t *testing.T) {
	waits := &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "s", Name: "soon", Key: "#0", Kind: messages.CallKind_CALL_KIND_FIRST, DeadlineUs: epoch.UnixMicro(),
		Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_EVENT, EventKey: "order:", EventPrefix: true, Condition: "payload.n > 1"}, {Kind: messages.CallKind_CALL_KIND_EVENT, EventKey: "stop"}}}}}
	failed := &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "s", Name: "soon", Key: "#0", Kind: messages.CallKind_CALL_KIND_FIRST,
		FailedCondition: &messages.FailedCondition{Branch: 1, Event: &messages.CameEvent{Key: "order:7", EventId: "e1"}, Message: "no such key: n"}}}}
	sent := &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "s", Name: "start", Key: "#0", Kind: messages.CallKind_CALL_KIND_START,
		Outcome: &messages.CallRecorded_Output{Output: []byte(`"r7"`)}}}}
	came := &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "s", Name: "soon", Key: "#0", Kind: messages.CallKind_CALL_KIND_FIRST,
		Outcome: &messages.CallRecorded_Output{Output: []byte(`{"n":2}`)}, Event: &messages.CameEvent{Key: "order:7", EventId: "e1"}}}}
	for want, event := range map[string]*messages.Event{
		"step s: call soon #0 waits for event order:* if payload.n > 1 or event stop, until 10:00:00.000":             waits,
		`step s: call soon #0: event order:7, id e1: {"n":2}`:                                                         came,
		"step s: call soon #0 waits on: its condition could not be evaluated on event order:7, id e1: no such key: n": failed,
		"step s: call start #0 sent its message to run r7":                                                            sent,
	} {
		if text, _ := (eventWords{epoch}).text(event); text != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
}
