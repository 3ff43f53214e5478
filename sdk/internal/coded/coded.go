// Package coded puts a codec between payloads and the wire: around what a worker calls
// and is called for, and around the calls of a client. Nothing else in the SDK knows
// whether there is one.
//
// Imports sdk/codec, actors/attempt, messages.
package coded

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/codec"
)

// opened is a message with all its payloads decoded; the message itself if none is
// encoded.
func opened[M proto.Message](c codec.Codec, m M) (M, error) {
	found := false
	err := eachPayload(m.ProtoReflect(), func(payload []byte) ([]byte, error) {
		found = found || messages.IsEncoded(payload)
		return payload, nil
	})
	if err != nil || !found {
		return m, err
	}
	m = proto.CloneOf(m)
	return m, eachPayload(m.ProtoReflect(), func(payload []byte) ([]byte, error) { return codec.Open(c, payload) })
}

// sealed is a message with all its payloads encoded.
func sealed[M proto.Message](c codec.Codec, m M) (M, error) {
	m = proto.CloneOf(m)
	return m, eachPayload(m.ProtoReflect(), func(payload []byte) ([]byte, error) { return codec.Seal(c, payload) })
}

// eachPayload replaces the payloads of a message, which are all its fields of bytes, by
// what change makes of them.
func eachPayload(m protoreflect.Message, change func([]byte) ([]byte, error)) (err error) {
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		err = eachPayloadOf(m, field, v, change)
		return err == nil
	})
	return err
}

func eachPayloadOf(m protoreflect.Message, field protoreflect.FieldDescriptor, v protoreflect.Value, change func([]byte) ([]byte, error)) (err error) {
	switch {
	case field.IsMap():
		v.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
			var changed protoreflect.Value
			if changed, err = replaced(field.MapValue(), value, change); err == nil && field.MapValue().Kind() == protoreflect.BytesKind {
				v.Map().Set(key, changed)
			}
			return err == nil
		})
	case field.IsList():
		for i := 0; i < v.List().Len() && err == nil; i++ {
			var changed protoreflect.Value
			if changed, err = replaced(field, v.List().Get(i), change); err == nil && field.Kind() == protoreflect.BytesKind {
				v.List().Set(i, changed)
			}
		}
	default:
		var changed protoreflect.Value
		if changed, err = replaced(field, v, change); err == nil && field.Kind() == protoreflect.BytesKind {
			m.Set(field, changed)
		}
	}
	return err
}

// replaced is one value: of bytes the changed one, of a message the same.
func replaced(field protoreflect.FieldDescriptor, v protoreflect.Value, change func([]byte) ([]byte, error)) (protoreflect.Value, error) {
	switch field.Kind() {
	case protoreflect.BytesKind:
		payload, err := change(v.Bytes())
		return protoreflect.ValueOfBytes(payload), err
	case protoreflect.MessageKind:
		return v, eachPayload(v.Message(), change)
	}
	return v, nil
}
