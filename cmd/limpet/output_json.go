package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What --json prints is the JSON of protobuf, its keys in order, with two differences:
//
//	a value of an enum   a word in lower case, as phases and states are words of the
//	                     API: "succeeded", "set-aside", "soft", "worker-lost"; ""
//	                     for none
//	a payload            the JSON that it is, not base64; left out if it is empty

// messageJSON is a message as --json prints it, on one line.
func messageJSON(m proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	forPrograms(m.ProtoReflect().Descriptor(), value)
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // payloads are shown as they are
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// forPrograms makes the differences in a message, in place.
func forPrograms(of protoreflect.MessageDescriptor, message any) {
	fields, ok := message.(map[string]any)
	if !ok {
		return // a type with JSON of its own, as a time has
	}
	for name, value := range fields {
		f := of.Fields().ByJSONName(name)
		switch list, isList := value.([]any); {
		case f == nil:
		case f.IsMap():
			values, _ := value.(map[string]any)
			for key, v := range values {
				values[key] = fieldForPrograms(f.MapValue(), v)
			}
		case isList:
			for i, v := range list {
				list[i] = fieldForPrograms(f, v)
			}
		default:
			if fields[name] = fieldForPrograms(f, value); fields[name] == nil {
				delete(fields, name)
			}
		}
	}
}

// fieldForPrograms is one value of a field; nil leaves it out.
func fieldForPrograms(f protoreflect.FieldDescriptor, value any) any {
	text, isText := value.(string)
	switch kind := f.Kind(); {
	case kind == protoreflect.MessageKind:
		forPrograms(f.Message(), value)
	case kind == protoreflect.EnumKind && isText:
		return enumWord(f.Enum().Values().ByName(protoreflect.Name(text)))
	case kind == protoreflect.BytesKind && isText && isPayload(f):
		switch raw, err := base64.StdEncoding.DecodeString(text); {
		case err == nil && len(raw) == 0:
			return nil
		case err == nil && json.Valid(raw):
			return json.RawMessage(raw)
		}
	}
	return value
}

// isPayload says that a field has JSON of users.
func isPayload(f protoreflect.FieldDescriptor) bool {
	switch f.Name() {
	case "input", "output", "payload", "answer", "progress":
		return true
	}
	return false
}

// enumWord is the name of an enum's value without that of its type, in lower case,
// with "-" between words; empty for an unspecified one.
func enumWord(v protoreflect.EnumValueDescriptor) string {
	if v == nil {
		return ""
	}
	word := strings.ToLower(strings.TrimPrefix(string(v.Name()), enumPrefix(v.Parent().Name())))
	if word == "unspecified" {
		return ""
	}
	return strings.ReplaceAll(word, "_", "-")
}

// enumPrefix is what the names of a type's values begin with: RUN_STATUS_ of RunStatus.
func enumPrefix(name protoreflect.Name) string {
	var prefix strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			prefix.WriteByte('_')
		}
		prefix.WriteRune(unicode.ToUpper(r))
	}
	return prefix.String() + "_"
}
