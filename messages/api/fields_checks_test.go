package api_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/limpetrun/limpet/messages"
)

// The checks that are compiled for a type of message refuse what the tables say,
// and nothing else: each field of each message has each value that some rule
// refuses, and the tables are read anew for each by the plainest walk there is.
func TestChecksSayWhatTheTablesSay(t *testing.T) {
	tried, refused := 0, 0
	try := func(m proto.Message, what string) {
		t.Helper()
		tried++
		want, got := faultOf(m.ProtoReflect(), ""), messages.CheckFields(m)
		if want != nil {
			refused++
		}
		if (want == nil) != (got == nil) || want != nil && !strings.Contains(got.Error(), want.Error()) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	for _, m := range allMessages(t) {
		try(m.New().Interface(), fmt.Sprintf("an empty %s", m.Descriptor().Name()))
		try(m.Zero().Interface(), fmt.Sprintf("a nil %s", m.Descriptor().Name()))
		walk(m, 2, func(change func(protoreflect.Message), what string) {
			message := m.New()
			fillIn(message, 2)
			change(message)
			try(message.Interface(), what)
		})
	}
	if refused < 500 || refused == tried {
		t.Errorf("%d of %d messages were refused", refused, tried)
	}
}

// allMessages are those that nodes, clients and journals know.
func allMessages(t *testing.T) (all []protoreflect.MessageType) {
	t.Helper()
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		if strings.HasPrefix(string(m.Descriptor().FullName()), "limpet.") && !m.Descriptor().IsMapEntry() {
			all = append(all, m)
		}
		return true
	})
	if len(all) < 100 {
		t.Fatalf("only %d kinds of messages are known", len(all))
	}
	return all
}

// faultOf is the first fault of a message by the tables alone.
func faultOf(m protoreflect.Message, place string) error {
	for i := range m.Descriptor().Fields().Len() {
		field := m.Descriptor().Fields().Get(i)
		rule, within := messages.RuleOf(field)
		if rule.Given() {
			if err := rule.Check(reflect.ValueOf(goValue(m, field)), ""); err != nil {
				return fmt.Errorf("%s%s", place, messages.ToFailure(err).Message)
			}
		}
		switch {
		case !within:
		case field.IsList():
			for j := range m.Get(field).List().Len() {
				if err := faultOf(m.Get(field).List().Get(j).Message(), fmt.Sprintf("%s[%d]: ", field.Name(), j)); err != nil {
					return err
				}
			}
		case m.Has(field):
			if err := faultOf(m.Get(field).Message(), place); err != nil {
				return err
			}
		}
	}
	return nil
}

// goValue is what the Go struct has in a field.
func goValue(m protoreflect.Message, field protoreflect.FieldDescriptor) any {
	value := m.Get(field)
	switch {
	case field.IsMap():
		all := map[string]string{}
		value.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			all[k.String()] = v.String()
			return true
		})
		return all
	case field.IsList() && field.Kind() == protoreflect.StringKind:
		return listOf(value.List(), protoreflect.Value.String)
	case field.IsList() && field.Kind() == protoreflect.BytesKind:
		return listOf(value.List(), protoreflect.Value.Bytes)
	case field.IsList():
		return listOf(value.List(), protoreflect.Value.Int)
	case field.Message() != nil:
		return value.Message().Interface()
	}
	return value.Interface()
}

func listOf[T any](list protoreflect.List, as func(protoreflect.Value) T) (all []T) {
	for i := range list.Len() {
		all = append(all, as(list.Get(i)))
	}
	return all
}

// fillIn gives each field a value that every rule admits, and those of the messages
// in it to a depth.
func fillIn(m protoreflect.Message, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		field := m.Descriptor().Fields().Get(i)
		switch {
		case field.Message() != nil && !field.IsMap() && depth == 0:
		case field.ContainingOneof() != nil && m.WhichOneof(field.ContainingOneof()) != nil:
		case field.IsMap():
			value := m.NewField(field)
			if field.MapKey().Kind() == protoreflect.StringKind && field.MapValue().Kind() == protoreflect.StringKind {
				value.Map().Set(protoreflect.ValueOfString("key").MapKey(), protoreflect.ValueOfString("value"))
			}
			m.Set(field, value)
		case field.IsList():
			value := m.NewField(field)
			for range 2 {
				value.List().Append(good(field, value.List().NewElement(), depth))
			}
			m.Set(field, value)
		default:
			m.Set(field, good(field, m.NewField(field), depth))
		}
	}
}

func good(field protoreflect.FieldDescriptor, fresh protoreflect.Value, depth int) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		if field.FullName() == "limpet.api.v1.StartRunRequest.run_id" {
			return protoreflect.ValueOfString("01arz3ndektsv4rrffq69g5fav")
		}
		return protoreflect.ValueOfString("text")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(`{"a": 1}`))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.MessageKind:
		fillIn(fresh.Message(), depth-1)
	}
	return fresh
}

// walk calls try with each change of a field to each value that a rule might refuse,
// also of the fields of messages in it.
func walk(m protoreflect.MessageType, depth int, try func(change func(protoreflect.Message), what string)) {
	for i := range m.Descriptor().Fields().Len() {
		field := m.Descriptor().Fields().Get(i)
		sample := m.New()
		for n, value := range suspects(field) {
			try(func(m protoreflect.Message) { put(m, field, value) }, fmt.Sprintf("%s with suspect %d", field.FullName(), n))
		}
		if field.Message() == nil || field.IsMap() {
			continue
		}
		try(func(m protoreflect.Message) { m.Clear(field) }, fmt.Sprintf("no %s", field.FullName()))
		if depth == 0 {
			continue
		}
		fresh := sample.NewField(field)
		if field.IsList() {
			fresh = fresh.List().NewElement()
		}
		walk(fresh.Message().Type(), depth-1, func(change func(protoreflect.Message), what string) {
			try(func(m protoreflect.Message) {
				if !field.IsList() {
					change(m.Mutable(field).Message())
					return
				}
				list := m.Mutable(field).List()
				if list.Len() == 0 {
					list.AppendMutable()
				}
				change(list.Get(list.Len() - 1).Message())
			}, fmt.Sprintf("%s.%s", field.Name(), what))
		})
	}
}

// put has a field contain a value, as the last of a list, or as the only one of a map.
func put(m protoreflect.Message, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	switch {
	case field.IsList():
		m.Mutable(field).List().Append(value)
	case field.IsMap() && field.MapValue().Kind() == protoreflect.StringKind && value.String() == "":
		m.Mutable(field).Map().Set(protoreflect.ValueOfString("").MapKey(), value)
	case field.IsMap():
		m.Mutable(field).Map().Set(protoreflect.ValueOfString("long").MapKey(), value)
	default:
		m.Set(field, value)
	}
}

func suspects(field protoreflect.FieldDescriptor) (all []protoreflect.Value) {
	kind := field.Kind()
	if field.IsMap() {
		if kind = field.MapValue().Kind(); field.MapKey().Kind() != protoreflect.StringKind {
			return nil
		}
	}
	switch kind {
	case protoreflect.StringKind:
		for _, text := range []string{"", "a b", "a\x00", "\xff", strings.Repeat("x", messages.NameBytesMax+1), strings.Repeat("x", messages.MetadataBytesMax+1)} {
			all = append(all, protoreflect.ValueOfString(text))
		}
	case protoreflect.BytesKind:
		for _, bytes := range []string{"", "{", "1e999", `"` + strings.Repeat("x", messages.PayloadBytesMax) + `"`} {
			all = append(all, protoreflect.ValueOfBytes([]byte(bytes)))
		}
	case protoreflect.Int32Kind:
		for _, n := range []int32{-1, 0, 4, messages.Shards} {
			all = append(all, protoreflect.ValueOfInt32(n))
		}
	}
	return all
}
