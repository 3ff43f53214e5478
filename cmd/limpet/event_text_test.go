package main

import (
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// Every kind of event has its words.
func TestEventTextKnowsEveryKind(t *testing.T) {
	kinds := (&messages.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		e := &messages.Event{}
		e.ProtoReflect().Set(kinds.Get(i), e.ProtoReflect().NewField(kinds.Get(i)))
		if text, _ := eventText(e); text == "" || strings.Contains(text, "does not know") {
			t.Errorf("%s: %q", kinds.Get(i).Name(), text)
		}
	}
}
