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
