package main

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Payloads are printed as they are, to the last digit; what only looks like one
// is left alone.
func TestPayloadsAreShownAsTheyAre(t *testing.T) {
	input := `{"far":1e309,"n":9007199254740993,"text":"a<b>&c","z":-1.50}`
	data, err := messageJSON(&api.Run{Input: []byte(input), Metadata: map[string]string{"input": "MTIz"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"input":` + input, `{"input":"MTIz"}`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %s", data, want)
		}
	}
}

// Every enum that any message of the API holds is printed for programs as a word, and
// no two values of it as the same.
func TestEnumsAreWordsForPrograms(t *testing.T) {
	enums := map[protoreflect.FullName]protoreflect.EnumDescriptor{}
	for _, of := range kinds((&api.Run{}).ProtoReflect(), (&messages.Event{}).ProtoReflect(), (&messages.WorkflowDefinition{}).ProtoReflect()) {
		m := dynamicpb.NewMessage(of)
		fill(m, enums, map[protoreflect.FullName]bool{})
		data, err := messageJSON(m)
		if err != nil {
			t.Fatalf("%s: %v", m.Descriptor().FullName(), err)
		}
		for _, e := range enums {
			for n := range e.Values().Len() {
				if name := string(e.Values().Get(n).Name()); strings.Contains(string(data), `"`+name+`"`) {
					t.Errorf("%s is printed with %s", m.Descriptor().Name(), name)
				}
			}
		}
	}
	if len(enums) < 5 {
		t.Errorf("only %d enums were seen", len(enums))
	}
	word := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	for name, e := range enums {
		seen := map[string]bool{}
		for n := range e.Values().Len() {
			v := e.Values().Get(n)
			got := enumWord(v)
			if seen[got] || !word.MatchString(got) && !strings.HasSuffix(string(v.Name()), "_UNSPECIFIED") {
				t.Errorf("%s of %s is printed as %q", v.Name(), name, got)
			}
			seen[got] = true
		}
	}
}

// kinds are the messages of the files that have one of those given.
func kinds(of ...protoreflect.Message) (list []protoreflect.MessageDescriptor) {
	for _, m := range of {
		all := m.Descriptor().ParentFile().Messages()
		for i := range all.Len() {
			list = append(list, all.Get(i))
		}
	}
	return list
}

// fill sets all fields of a message, and of those in it, enums to their last value. Of
// a oneof the last field stays.
func fill(m protoreflect.Message, enums map[protoreflect.FullName]protoreflect.EnumDescriptor, above map[protoreflect.FullName]bool) {
	name := m.Descriptor().FullName()
	if above[name] {
		return
	}
	above[name] = true
	defer delete(above, name)
	value := func(f protoreflect.FieldDescriptor, fresh func() protoreflect.Value) protoreflect.Value {
		switch f.Kind() {
		case protoreflect.EnumKind:
			enums[f.Enum().FullName()] = f.Enum()
			return protoreflect.ValueOfEnum(f.Enum().Values().Get(f.Enum().Values().Len() - 1).Number())
		case protoreflect.MessageKind:
			v := fresh()
			fill(v.Message(), enums, above)
			return v
		}
		return fresh()
	}
	for i := range m.Descriptor().Fields().Len() {
		switch f := m.Descriptor().Fields().Get(i); {
		case f.IsMap():
			if v := m.Mutable(f).Map(); f.MapKey().Kind() == protoreflect.StringKind {
				v.Set(protoreflect.ValueOfString("key").MapKey(), value(f.MapValue(), v.NewValue))
			}
		case f.IsList():
			v := m.Mutable(f).List()
			v.Append(value(f, v.NewElement))
		default:
			m.Set(f, value(f, func() protoreflect.Value { return m.NewField(f) }))
		}
	}
}

// TestEncodedPayloads are not printed as what they are sent as.
func TestEncodedPayloads(t *testing.T) {
	encoded := messages.Encoded{Data: make([]byte, 1234), Same: "same"}.JSON()
	if got, want := briefly(encoded, 60), "1234 bytes, encoded (--codec decodes them)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := briefly([]byte(`{"a":"0123456789"}`), 10), `{"a":"012…`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
