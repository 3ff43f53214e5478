package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/messages"
)

// countWire counts the entries of lists and maps in an encoded message. It
// allocates nothing. What is not protobuf is left to the decoder.
func countWire(data []byte, of protoreflect.MessageDescriptor) error {
	counts := map[protowire.Number]int{}
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(number, kind, data[n:])
		if size < 0 {
			return nil
		}
		value := data[n : n+size]
		data = data[n+size:]
		field := of.Fields().ByNumber(number)
		if field == nil {
			continue
		}
		if field.Cardinality() == protoreflect.Repeated {
			counts[number] += entries(field, kind, value)
			if most, ok := messages.CountMaxOf(string(field.FullName())); ok && counts[number] > most.Max {
				return most.Over(string(field.Name()))
			}
		}
		if field.Message() != nil && !field.IsMap() && kind == protowire.BytesType {
			inner, _ := protowire.ConsumeBytes(value)
			if err := countWire(inner, field.Message()); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries is how many a value adds to a list: several if it is packed.
func entries(field protoreflect.FieldDescriptor, kind protowire.Type, value []byte) int {
	if kind != protowire.BytesType || field.Message() != nil || field.Kind() == protoreflect.StringKind || field.Kind() == protoreflect.BytesKind {
		return 1
	}
	packed, _ := protowire.ConsumeBytes(value)
	n := 0
	for _, b := range packed {
		if b < 0x80 { // the last byte of a number
			n++
		}
	}
	return n
}

// shape is JSON that has the shape of a message, as far as names and counts go.
type shape struct {
	data []byte
	// payloads are where a bytes field holds JSON, in the order of the text.
	payloads []payload
}

// payload is JSON in the place of a bytes field: of the request, or of the entry with
// the number in a list of it.
type payload struct {
	list              protoreflect.FieldDescriptor
	entry, start, end int
	field             protoreflect.FieldDescriptor
}

// shapeOf checks JSON before it is decoded: names of fields, and the entries of
// lists and maps. It allocates only for payloads. If all JSON is meant as it is, strings
// and null are payloads, too.
func shapeOf(data []byte, of protoreflect.MessageDescriptor, asItIs bool) (*shape, error) {
	if !json.Valid(data) {
		return nil, notJSON(data)
	}
	r := &shapeReader{shape: &shape{data: data}, asItIs: asItIs}
	r.payload = r.given
	if err := r.message(of, ""); err != nil {
		return nil, err
	}
	return r.shape, nil
}

// notJSON says where a text is none.
func notJSON(data []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(data, &v)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return messages.Errorf(messages.CodeInvalidArgument, "the request is not JSON: %w", err)
	}
	// The library counts the bytes that it has read, the wrong one too.
	line, column := positionOf(data, min(int(syntax.Offset), len(data))-1)
	return messages.Errorf(messages.CodeInvalidArgument, "the request is not JSON (line %d, column %d): %w", line, column, err)
}

// positionOf is the line and the column, in characters, of a byte; both count
// from 1.
func positionOf(data []byte, at int) (line, column int) {
	before := data[:max(at, 0)]
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

// shapeReader goes through a text that is known to be JSON.
type shapeReader struct {
	*shape
	at     int
	asItIs bool
	// list and entry are where the reader is, if in a list of messages.
	list  protoreflect.FieldDescriptor
	entry int
	// payload goes past the value of a bytes field.
	payload func(field protoreflect.FieldDescriptor, path string) error
}

func (r *shapeReader) peek() byte {
	for ; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// skip goes past one value.
func (r *shapeReader) skip() {
	switch r.peek() {
	case '"':
		for r.at++; r.data[r.at] != '"'; r.at++ {
			if r.data[r.at] == '\\' {
				r.at++
			}
		}
		r.at++
	case '{', '[':
		depth := 0
		for {
			switch r.peek() {
			case '{', '[':
				depth++
				r.at++
			case '}', ']':
				depth--
				r.at++
			case '"':
				r.skip()
			default:
				r.at++
			}
			if depth == 0 {
				return
			}
		}
	default:
		for r.at < len(r.data) && strings.IndexByte(",]} \t\r\n", r.data[r.at]) < 0 {
			r.at++
		}
	}
}

// each calls f at each entry of the array or object that begins here; in an
// object with the name, and f has to go past the value.
func (r *shapeReader) each(f func(name string) error) error {
	object := r.peek() == '{'
	for r.at++; ; {
		switch r.peek() {
		case ']', '}':
			r.at++
			return nil
		case ',':
			r.at++
			continue
		}
		name := ""
		if object {
			name = r.name()
			r.peek()
			r.at++ // the colon
		}
		r.peek()
		if err := f(name); err != nil {
			return err
		}
	}
}

func (r *shapeReader) name() string {
	r.peek()
	start := r.at
	r.skip()
	raw := r.data[start:r.at]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var name string
	_ = json.Unmarshal(raw, &name) // it is JSON
	return name
}

// message checks an object; what is none is left to the decoder.
func (r *shapeReader) message(of protoreflect.MessageDescriptor, path string) error {
	if r.peek() != '{' || strings.HasPrefix(string(of.FullName()), "google.protobuf.") {
		r.skip()
		return nil
	}
	return r.each(func(name string) error {
		field := of.Fields().ByJSONName(name)
		if field == nil {
			field = of.Fields().ByTextName(name)
		}
		if field == nil {
			return unknownField(of, path, name)
		}
		return r.field(field, path)
	})
}

func (r *shapeReader) field(field protoreflect.FieldDescriptor, path string) error {
	c := r.peek()
	switch {
	case field.Cardinality() == protoreflect.Repeated && (c == '[' || c == '{'):
		most, limited := messages.CountMaxOf(string(field.FullName()))
		n := 0
		return r.each(func(string) error {
			if n++; limited && n > most.Max {
				return most.Over(path + string(field.Name()))
			}
			place := fmt.Sprintf("%s%s[%d]", path, field.Name(), n-1)
			if field.Message() == nil || field.IsMap() {
				return r.value(field, place)
			}
			r.list, r.entry = field, n-1
			return r.message(field.Message(), place+".")
		})
	case field.Message() != nil && !field.IsMap():
		return r.message(field.Message(), path+string(field.Name())+".")
	case field.Kind() == protoreflect.BytesKind:
		return r.payload(field, path)
	default:
		return r.value(field, path+string(field.Name()))
	}
}

// value goes past a value that is no message. A name that its enum does not have
// is refused.
func (r *shapeReader) value(field protoreflect.FieldDescriptor, place string) error {
	if field.Kind() != protoreflect.EnumKind || r.peek() != '"' {
		r.skip()
		return nil
	}
	values := field.Enum().Values()
	name := r.name()
	if values.ByName(protoreflect.Name(name)) != nil {
		return nil
	}
	names := make([]string, values.Len())
	for i := range names {
		names[i] = string(values.Get(i).Name())
	}
	return messages.Errorf(messages.CodeInvalidArgument, "%s is %.128q, not one of %s", place, name, strings.Join(names, ", "))
}

// given notes JSON in the place of a bytes field.
func (r *shapeReader) given(field protoreflect.FieldDescriptor, path string) error {
	c, start := r.peek(), r.at
	r.skip()
	if !r.asItIs && (c == '"' || c == 'n') {
		return nil
	}
	for _, p := range r.payloads[max(0, len(r.payloads)-2):] {
		if p.entry == r.entry && p.field == field {
			return messages.Errorf(messages.CodeInvalidArgument, "%s%s is given twice", path, field.Name())
		}
	}
	r.payloads = append(r.payloads, payload{r.list, r.entry, start, r.at, field})
	return nil
}

// absent stands for a field that is not there.
const absent = "null"

// withoutPayloads is the JSON with null for each payload.
func (s *shape) withoutPayloads() []byte {
	if len(s.payloads) == 0 {
		return s.data
	}
	var out []byte
	from := 0
	for _, p := range s.payloads {
		out = append(append(out, s.data[from:p.start]...), absent...)
		from = p.end
	}
	return append(out, s.data[from:]...)
}

// linePattern is how the library says where it found a fault.
var linePattern = regexp.MustCompile(`\(line (\d+):(\d+)\)`)

// placed is the text of the library's error about withoutPayloads, with the place
// in the request.
func (s *shape) placed(text string) string {
	// The library draws the space after "proto:".
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\u00a0", " "), "proto: ")
	found := linePattern.FindStringSubmatchIndex(text)
	if found == nil {
		return text
	}
	line, _ := strconv.Atoi(text[found[2]:found[3]]) // digits
	column, _ := strconv.Atoi(text[found[4]:found[5]])
	line, column = positionOf(s.data, s.original(offsetOf(s.withoutPayloads(), line, column)))
	return fmt.Sprintf("%s(line %d, column %d)%s", text[:found[0]], line, column, text[found[1]:])
}

// offsetOf is the inverse of positionOf.
func offsetOf(data []byte, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		at += bytes.IndexByte(data[at:], '\n') + 1
	}
	for ; column > 1 && at < len(data); column-- {
		_, size := utf8.DecodeRune(data[at:])
		at += size
	}
	return at
}

// original is where a byte of withoutPayloads is in the request.
func (s *shape) original(at int) int {
	for _, p := range s.payloads {
		if at <= p.start {
			break
		}
		at += p.end - p.start - len(absent)
	}
	return at
}

// putPayloads gives the payloads, without white space, to the decoded message.
func (s *shape) putPayloads(m proto.Message) {
	for _, p := range s.payloads {
		// The text is in a buffer that is used again.
		value := compact(bytes.Clone(s.data[p.start:p.end]))
		to := m.ProtoReflect()
		if p.list != nil {
			to = to.Get(p.list).List().Get(p.entry).Message()
		}
		to.Set(p.field, protoreflect.ValueOfBytes(value))
	}
}

// unknownField is the error for a name that no field has, with the nearest one
// that there is.
func unknownField(of protoreflect.MessageDescriptor, path, name string) error {
	if len(name) > messages.NameBytesMax {
		name = name[:messages.NameBytesMax] + "…"
	}
	var known, names []string
	for i := range of.Fields().Len() {
		field := of.Fields().Get(i)
		known = append(known, string(field.Name()))
		names = append(names, string(field.Name()), field.JSONName())
	}
	what := fmt.Sprintf("%s has no field %q", placeOf(of, path), strings.ToValidUTF8(name, "\uFFFD"))
	if best := messages.Nearest(name, names); best != "" {
		return messages.Errorf(messages.CodeInvalidArgument, "%s: did you mean %q?", what, best)
	}
	if len(known) == 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "%s: it has none", what)
	}
	return messages.Errorf(messages.CodeInvalidArgument, "%s: it has %s", what, strings.Join(known, ", "))
}

func placeOf(of protoreflect.MessageDescriptor, path string) string {
	if path == "" {
		return string(of.Name())
	}
	return strings.TrimSuffix(path, ".")
}
