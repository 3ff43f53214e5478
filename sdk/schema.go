package sdk

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// schemaOf is a JSON Schema as encoding/json writes it.
type schemaOf map[string]any

// inferSchema returns the JSON Schema of what decodes into a type, for the
// check of a run's input before it is stored. The schema accepts what
// encoding/json makes of a value of the type, and nothing that encoding/json
// cannot read into it. Of a type that encodes itself it knows nothing: it
// accepts anything there; "" if that is all there is to say.
//
// Keywords of messages/schema say what the drafts cannot: "x-go" that a value
// has to decode as a Go type (no 1.0 for an int8), "x-fold" that member names
// mean a property whatever their case.
func inferSchema(t reflect.Type) string {
	w := &typeWalk{uses: map[reflect.Type]int{}, names: map[reflect.Type]string{}, defs: schemaOf{}}
	w.count(t)
	schema := w.schema(t)
	if len(schema) == 0 {
		return ""
	}
	if len(w.defs) > 0 {
		schema["$defs"] = w.defs
	}
	text, err := json.Marshal(schema)
	if err != nil {
		return ""
	}
	if _, err := messages.CompileInputSchema(string(text)); err != nil {
		return "" // of a type beyond all limits
	}
	return string(text)
}

// typeWalk makes the schema of a type, and schemas of their own for the named
// types in it that are used more than once, or contain themselves.
type typeWalk struct {
	uses  map[reflect.Type]int
	names map[reflect.Type]string
	defs  schemaOf
}

// count visits each type that is reached, once.
func (w *typeWalk) count(t reflect.Type) {
	if composite(t) {
		if w.uses[t]++; w.uses[t] > 1 {
			return
		}
	}
	if selfEncoded(t) != nil {
		return
	}
	switch t.Kind() {
	case reflect.Map, reflect.Array, reflect.Slice, reflect.Pointer:
		w.count(t.Elem())
	case reflect.Struct:
		for _, f := range jsonFields(t) {
			w.count(f.typ)
		}
	}
}

// composite says whether a type has a name and others in it.
func composite(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Map, reflect.Array, reflect.Slice, reflect.Pointer, reflect.Struct:
		return t.Name() != ""
	}
	return false
}

// schema of a type; empty for anything.
func (w *typeWalk) schema(t reflect.Type) schemaOf {
	t, pointer := behind(t)
	if t == nil {
		return schemaOf{"type": "null"}
	}
	s := selfEncoded(t)
	switch {
	case s != nil:
	case composite(t) && w.uses[t] > 1:
		s = w.shared(t)
	default:
		s = w.body(t)
	}
	if pointer {
		return nullable(s)
	}
	return s
}

// behind follows pointers; nil for one that leads to itself.
func behind(t reflect.Type) (to reflect.Type, pointer bool) {
	seen := map[reflect.Type]bool{}
	for t.Kind() == reflect.Pointer {
		if seen[t] {
			return nil, true
		}
		seen[t] = true
		t, pointer = t.Elem(), true
	}
	return t, pointer
}

// shared is a reference to the schema of a type; that one allows null.
func (w *typeWalk) shared(t reflect.Type) schemaOf {
	name, known := w.names[t]
	if !known {
		name = strconv.Itoa(len(w.names)+1) + "-" + t.Name()
		w.names[t] = name
		body := w.body(t)
		w.defs[name] = nullable(body)
	}
	ref := schemaOf{"$ref": "#/$defs/" + escapePointer(name)}
	switch t.Kind() {
	case reflect.Struct:
		ref["type"] = "object"
	case reflect.Array:
		ref["type"] = "array"
	}
	return ref
}

// escapePointer writes a name for a reference: names of generic types have
// characters that mean something there.
func escapePointer(name string) string {
	out := ""
	for _, r := range name {
		switch {
		case r == '~':
			out += "~0"
		case r == '/':
			out += "~1"
		case r == '%':
			out += "%25"
		default:
			out += string(r)
		}
	}
	return out
}

// nullable is a schema that accepts null as well.
func nullable(s schemaOf) schemaOf {
	switch t := s["type"].(type) {
	case string:
		if _, isRef := s["$ref"]; isRef {
			delete(s, "type") // what it refers to allows null
		} else if t != "null" {
			s["type"] = []string{"null", t}
		}
	case []string:
		if t[0] != "null" {
			s["type"] = append([]string{"null"}, t...)
		}
	}
	return s
}

func allowsNull(s schemaOf) bool {
	switch t := s["type"].(type) {
	case string:
		return t == "null"
	case []string:
		return t[0] == "null"
	}
	return true
}

// body is the schema of a type that does not encode itself and is no pointer.
func (w *typeWalk) body(t reflect.Type) schemaOf {
	switch t.Kind() {
	case reflect.Bool:
		return schemaOf{"type": "boolean"}
	case reflect.String:
		return schemaOf{"type": "string"}
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return schemaOf{}
		}
		return schemaOf{"type": "null"} // nothing else decodes into it
	case reflect.Map:
		return w.mapping(t)
	case reflect.Slice:
		if isBytes(t) {
			return schemaOf{"type": []string{"null", "string"}, "x-go": "[]byte"}
		}
		return w.list(t, []string{"null", "array"})
	case reflect.Array:
		return w.list(t, "array") // of any length: encoding/json fills up or cuts off
	case reflect.Struct:
		return w.object(t)
	}
	return numeric(t.Kind())
}

// numeric is the schema of numbers, null for what JSON cannot hold.
func numeric(k reflect.Kind) schemaOf {
	switch k {
	case reflect.Float32, reflect.Float64:
		return schemaOf{"type": "number", "x-go": k.String()}
	case reflect.Int, reflect.Int64:
		return schemaOf{"type": "integer", "x-go": k.String()}
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		return schemaOf{"type": "integer", "minimum": 0, "x-go": k.String()}
	}
	bounds, ok := map[reflect.Kind][2]int64{
		reflect.Int8: {math.MinInt8, math.MaxInt8}, reflect.Int16: {math.MinInt16, math.MaxInt16}, reflect.Int32: {math.MinInt32, math.MaxInt32},
		reflect.Uint8: {0, math.MaxUint8}, reflect.Uint16: {0, math.MaxUint16}, reflect.Uint32: {0, math.MaxUint32},
	}[k]
	if !ok {
		return schemaOf{"type": "null"}
	}
	return schemaOf{"type": "integer", "minimum": bounds[0], "maximum": bounds[1], "x-go": k.String()}
}

// isBytes says whether encoding/json writes a slice in base64.
func isBytes(t reflect.Type) bool {
	e := t.Elem()
	p := reflect.PointerTo(e)
	return e.Kind() == reflect.Uint8 && !p.Implements(reflect.TypeFor[json.Marshaler]()) && !p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

func (w *typeWalk) list(t reflect.Type, types any) schemaOf {
	s := schemaOf{"type": types}
	if items := w.schema(t.Elem()); len(items) > 0 {
		s["items"] = items
	}
	return s
}

func (w *typeWalk) mapping(t reflect.Type) schemaOf {
	key := t.Key()
	s := schemaOf{"type": []string{"null", "object"}}
	if !reflect.PointerTo(key).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) && key.Kind() != reflect.String {
		if numeric(key.Kind())["type"] != "integer" {
			return schemaOf{"type": "null"} // nothing else decodes into it
		}
		s["propertyNames"] = schemaOf{"x-go": "key:" + key.Kind().String()}
	}
	if values := w.schema(t.Elem()); len(values) > 0 {
		s["additionalProperties"] = values
	}
	return s
}

// object is the schema of a struct. Unknown fields are allowed: clients may be
// newer, and one event may start several workflows.
func (w *typeWalk) object(t reflect.Type) schemaOf {
	properties := schemaOf{}
	var required []string
	for _, f := range jsonFields(t) {
		s := w.field(f)
		properties[f.name] = s
		if !f.optional && !allowsNull(s) {
			required = append(required, f.name)
		}
	}
	s := schemaOf{"type": "object"}
	if len(properties) > 0 {
		s["properties"], s["x-fold"] = properties, true
	}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func (w *typeWalk) field(f jsonField) schemaOf {
	if f.unsettable {
		return schemaOf{"not": schemaOf{}}
	}
	if !f.quoted {
		return w.schema(f.typ)
	}
	t, pointer := behind(f.typ)
	name := t.Kind().String() + ",string"
	switch own := selfEncoded(t); {
	case t == reflect.TypeFor[json.Number]():
		name = "json.Number,string"
	case own != nil:
		return schemaOf{} // what the option makes of it is its own affair
	}
	s := schemaOf{"type": "string", "x-go": name}
	if pointer {
		return nullable(s)
	}
	return s
}

// selfEncoded returns what a type accepts that encodes itself; nil for a type
// that does not.
func selfEncoded(t reflect.Type) schemaOf {
	switch t {
	case reflect.TypeFor[time.Time]():
		return schemaOf{"type": "string", "format": "date-time", "x-go": "time.Time"}
	case reflect.TypeFor[json.Number]():
		return schemaOf{"type": []string{"number", "string"}, "x-go": "json.Number"}
	case reflect.TypeFor[big.Int]():
		return schemaOf{"type": "integer", "x-go": "big.Int"}
	case reflect.TypeFor[big.Float]():
		return schemaOf{"type": "string", "x-go": "big.Float"}
	case reflect.TypeFor[big.Rat]():
		return schemaOf{"type": "string", "x-go": "big.Rat"}
	}
	if t.Kind() == reflect.Interface {
		return nil
	}
	p := reflect.PointerTo(t)
	for _, iface := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler]()} {
		if p.Implements(iface) {
			return schemaOf{}
		}
	}
	for _, iface := range []reflect.Type{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if p.Implements(iface) {
			return schemaOf{"type": "string"}
		}
	}
	return nil
}

// unencodable returns why values of a type cannot travel as JSON.
func unencodable(t reflect.Type) []error {
	var faults []error
	seen := make(map[reflect.Type]bool)
	var visit func(t reflect.Type, path string)
	visit = func(t reflect.Type, path string) {
		if seen[t] || selfEncoded(t) != nil {
			return
		}
		seen[t] = true
		switch t.Kind() {
		case reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
			faults = append(faults, fmt.Errorf("%s is a %v, which JSON cannot hold", path, t))
		case reflect.Map:
			if k := t.Key(); !mapKey(k) {
				faults = append(faults, fmt.Errorf("%s is a map with keys of type %v, which JSON cannot hold", path, k))
			}
			visit(t.Elem(), path+"[…]")
		case reflect.Pointer:
			visit(t.Elem(), path)
		case reflect.Slice, reflect.Array:
			visit(t.Elem(), path+"[…]")
		case reflect.Struct:
			for i := range t.NumField() {
				f := t.Field(i)
				if f.Tag.Get("json") != "-" && (f.IsExported() || f.Anonymous) {
					visit(f.Type, path+"."+f.Name)
				}
			}
		}
	}
	visit(t, "it")
	return faults
}

// mapKey says whether encoding/json can encode and decode keys of the type.
func mapKey(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
