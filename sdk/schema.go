package sdk

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// inferSchema returns the JSON Schema of what decodes into a type, for the
// check of a run's input before it is stored. The schema never refuses what
// encoding/json makes of a value of the type. Where it cannot say what a type
// accepts (it encodes itself, contains itself, or its fields use the string
// option) it accepts anything; "" if that is all there is to say.
func inferSchema(t reflect.Type) string {
	opaque := make(map[reflect.Type]*jsonschema.Schema)
	(&typeWalk{opaque: opaque, open: make(map[reflect.Type]bool)}).visit(t)
	schema, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: opaque})
	if err != nil {
		return ""
	}
	loosen(schema)
	text, err := json.Marshal(schema)
	if err != nil || string(text) == AnyJSON {
		return ""
	}
	return string(text)
}

// anything accepts all JSON. It lists the types so that a pointer to an opaque
// type, for which null is added, does not accept null alone.
func anything() *jsonschema.Schema {
	return &jsonschema.Schema{Types: []string{"null", "boolean", "number", "string", "array", "object"}}
}

func text() *jsonschema.Schema { return &jsonschema.Schema{Type: "string"} }

// loosen allows what encoding/json allows beyond the inferred schema: fields
// that a struct does not have (clients may be newer, and one event may start
// several workflows), null for a map, and no field at all where null would do.
func loosen(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	isObject := s.Type == "object" || len(s.Types) == 2 && s.Types[0] == "null" && s.Types[1] == "object"
	switch more := s.AdditionalProperties; {
	case isObject && more != nil && more.Not != nil:
		s.AdditionalProperties = nil
	case isObject && more != nil:
		s.Type, s.Types = "", []string{"null", "object"}
		loosen(more)
	}
	for _, p := range s.Properties {
		loosen(p)
	}
	s.Required = slices.DeleteFunc(s.Required, func(name string) bool { return nullable(s.Properties[name]) })
	loosen(s.Items)
	if s.MinItems != nil {
		// encoding/json fills up or cuts off an array.
		s.MinItems, s.MaxItems = nil, nil
	}
}

// nullable says whether a schema as it is inferred accepts null.
func nullable(s *jsonschema.Schema) bool {
	return s == nil || s.Type == "" && len(s.Types) == 0 || slices.Contains(s.Types, "null")
}

// typeWalk finds the types that the inference cannot look into.
type typeWalk struct {
	opaque map[reflect.Type]*jsonschema.Schema
	// open are the types on the path to the current one.
	open map[reflect.Type]bool
}

func (w *typeWalk) visit(t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if w.opaque[t] != nil {
		return
	}
	if s := selfEncoded(t); s != nil {
		w.opaque[t] = s
		return
	}
	if w.open[t] {
		w.opaque[t] = anything()
		return
	}
	if t.Name() != "" {
		w.open[t] = true
		defer delete(w.open, t)
	}
	switch t.Kind() {
	case reflect.Map, reflect.Array:
		w.visit(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			w.opaque[t] = &jsonschema.Schema{Types: []string{"null", "string"}} // base64
			return
		}
		w.visit(t.Elem())
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			if _, options, _ := strings.Cut(f.Tag.Get("json"), ","); strings.Contains(options, "string") {
				w.opaque[t] = anything()
			}
			if f.IsExported() || f.Anonymous {
				w.visit(f.Type)
			}
		}
	}
}

// selfEncoded returns what a type accepts that encodes itself; nil for a type
// that does not.
func selfEncoded(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Time]():
		return text()
	case reflect.TypeFor[json.Number](), reflect.TypeFor[big.Int](), reflect.TypeFor[big.Float](), reflect.TypeFor[big.Rat]():
		return anything()
	}
	if t.Kind() == reflect.Interface {
		return nil
	}
	p := reflect.PointerTo(t)
	for _, iface := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler]()} {
		if p.Implements(iface) {
			return anything()
		}
	}
	for _, iface := range []reflect.Type{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if p.Implements(iface) {
			return text()
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
