//lint:file-ignore SA5008,U1000 encoding/json has its own mind about such tags and fields, which is what is tested.

package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/messages"
)

type (
	tree struct {
		Value int8            `json:"value"`
		Next  *tree           `json:"next"`
		Kids  []tree          `json:"kids,omitempty"`
		Named map[string]tree `json:"named"`
	}
	forest         []forest
	loop           *loop
	pair[A, B any] struct {
		First  A `json:"first"`
		Second B `json:"second,omitzero"`
	}
	Base struct {
		ID   uint16 `json:"id"`
		Name string
	}
	base2 struct {
		Name string
		Own  bool
	}
	withBase struct {
		Base
		X int
	}
	withPointer struct {
		*Base
		X int
	}
	withHidden struct {
		*base2
		X int
	}
	withBoth struct {
		Base
		base2
	}
	withTag struct {
		*Base `json:"base,omitempty"`
		Base2 *Base `json:"Base"`
	}
	self struct {
		*self
		X int
	}
	enumeration int
	word        string
	textKey     struct{ s string }
	tagged      struct {
		A int8    `json:"a,string"`
		B *uint64 `json:"b,string"`
		C bool    `json:",string"`
		D string  `json:"d,string"`
		E float32 `json:"e,string,omitempty"`
		F word    `json:"f,string"`
		G []int   `json:"g,string"`
		H any     `json:"-"`
		I int     `json:"-,"`
		J int     `json:"bad\"name"`
		a int
	}
	cased struct {
		A  int8   `json:"size"`
		B  string `json:"SIZE"`
		Ab bool
	}
	strange interface{ Strange() }
)

func (k textKey) MarshalText() ([]byte, error) { return []byte("k" + k.s), nil }
func (k *textKey) UnmarshalText(b []byte) error {
	k.s = strings.TrimPrefix(string(b), "k")
	return nil
}

// leaves are the types that others are made of.
var leaves = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[string](), reflect.TypeFor[word](), reflect.TypeFor[enumeration](),
	reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
	reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
	reflect.TypeFor[float32](), reflect.TypeFor[float64](),
	reflect.TypeFor[time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[json.Number](), reflect.TypeFor[big.Int](), reflect.TypeFor[*big.Rat](),
	reflect.TypeFor[json.RawMessage](), reflect.TypeFor[[]byte](), reflect.TypeFor[[4]byte](), reflect.TypeFor[any](),
	reflect.TypeFor[tree](), reflect.TypeFor[forest](), reflect.TypeFor[loop](), reflect.TypeFor[self](),
	reflect.TypeFor[pair[int8, *tree]](), reflect.TypeFor[pair[string, map[string]time.Time]](),
	reflect.TypeFor[withBase](), reflect.TypeFor[withPointer](), reflect.TypeFor[withHidden](), reflect.TypeFor[withBoth](), reflect.TypeFor[withTag](),
	reflect.TypeFor[tagged](), reflect.TypeFor[cased](), reflect.TypeFor[struct{}](), reflect.TypeFor[strange](),
}

var keys = []reflect.Type{
	reflect.TypeFor[string](), reflect.TypeFor[word](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](), reflect.TypeFor[enumeration](), reflect.TypeFor[textKey](),
}

func drawType(t *rapid.T, depth int) reflect.Type {
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom(leaves).Draw(t, "type")
	}
	switch rapid.SampledFrom([]string{"pointer", "slice", "array", "map", "struct", "struct"}).Draw(t, "made of") {
	case "pointer":
		return reflect.PointerTo(drawType(t, depth-1))
	case "slice":
		return reflect.SliceOf(drawType(t, depth-1))
	case "array":
		return reflect.ArrayOf(rapid.IntRange(0, 2).Draw(t, "length"), drawType(t, depth-1))
	case "map":
		return reflect.MapOf(rapid.SampledFrom(keys).Draw(t, "key"), drawType(t, depth-1))
	}
	var fields []reflect.StructField
	for i := range rapid.IntRange(0, 3).Draw(t, "fields") {
		tag := rapid.SampledFrom([]string{"", "a", "A", ",omitempty", "b,omitzero", "c,string", "-", "-,", ",string,omitempty"}).Draw(t, "tag")
		fields = append(fields, reflect.StructField{
			Name: fmt.Sprintf("F%d", i), Type: drawType(t, depth-1), Tag: reflect.StructTag(fmt.Sprintf("json:%q", tag)),
		})
	}
	return reflect.StructOf(fields)
}

// fill draws a value into what can be set of v.
func fill(t *rapid.T, v reflect.Value, depth int) {
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "seconds"), 5).UTC()))
		return
	case reflect.TypeFor[big.Int]():
		n, _ := new(big.Int).SetString(rapid.StringMatching(`-?[1-9][0-9]{0,40}`).Draw(t, "big"), 10)
		v.Set(reflect.ValueOf(*n))
		return
	case reflect.TypeFor[big.Rat]():
		v.Set(reflect.ValueOf(*big.NewRat(3, 7)))
		return
	case reflect.TypeFor[json.Number]():
		v.SetString(rapid.SampledFrom([]string{"", "1", "-1.5e400"}).Draw(t, "number"))
		return
	case reflect.TypeFor[json.RawMessage]():
		v.SetBytes([]byte(rapid.SampledFrom([]string{"null", "1e309", `{"a":[]}`}).Draw(t, "raw")))
		return
	case reflect.TypeFor[textKey]():
		v.Set(reflect.ValueOf(textKey{"x"}))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.String:
		v.SetString(rapid.SampledFrom([]string{"", "a", "12", "null", `"`, "ß<"}).Draw(t, "string"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n := rapid.Int64().Draw(t, "int")
		for v.OverflowInt(n) {
			n /= 2
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n := rapid.Uint64().Draw(t, "uint")
		for v.OverflowUint(n) {
			n /= 2
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(float32(rapid.Float32().Draw(t, "float"))))
	case reflect.Interface:
		if v.NumMethod() == 0 {
			v.Set(reflect.ValueOf(rapid.SampledFrom([]any{1.5, "x", []any{true}, map[string]any{"a": nil}}).Draw(t, "any")))
		}
	case reflect.Pointer:
		if depth > 0 && v.CanSet() && rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth-1)
		}
	case reflect.Slice:
		if depth > 0 && rapid.Bool().Draw(t, "there") {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			fill(t, v.Index(0), depth-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), depth-1)
		}
	case reflect.Map:
		if depth > 0 && rapid.Bool().Draw(t, "there") {
			v.Set(reflect.MakeMap(v.Type()))
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key, depth-1)
			fill(t, value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(t, v.Field(i), depth-1)
			}
		}
	}
}

// odd is what a document may have in the place of what is right.
var odd = []any{
	nil, true, "", "x", "12", "-1", `"12"`, "2026-11-29T01:02:03Z", "AQI=", "null", "true", []any{}, []any{json.Number("1")}, map[string]any{}, map[string]any{"A": "x"},
	json.Number("1.0"), json.Number("1e2"), json.Number("-1"), json.Number("0"), json.Number("127"), json.Number("128"), json.Number("256"), json.Number("1.5"),
	json.Number("1e39"), json.Number("1e309"), json.Number("9223372036854775808"), json.Number("18446744073709551616"), json.Number("-0"),
}

// mutate changes one place of a document.
func mutate(t *rapid.T, v any) any {
	if rapid.IntRange(0, 2).Draw(t, "here") == 0 {
		return rapid.SampledFrom(odd).Draw(t, "instead")
	}
	switch v := v.(type) {
	case []any:
		if len(v) > 0 {
			v[0] = mutate(t, v[0])
			return v
		}
	case map[string]any:
		if len(v) > 0 {
			name := rapid.SampledFrom(slices.Sorted(maps.Keys(v))).Draw(t, "member")
			value := v[name]
			switch rapid.SampledFrom([]string{"value", "value", "drop", "upper", "lower", "odd"}).Draw(t, "change") {
			case "drop":
				delete(v, name)
			case "upper":
				v[strings.ToUpper(name)] = mutate(t, value)
			case "lower":
				v[strings.ToLower(name)] = mutate(t, value)
			case "odd":
				v[rapid.SampledFrom([]string{"", "128", "-1", "X", "007"}).Draw(t, "name")] = value
			default:
				v[name] = mutate(t, value)
			}
			return v
		}
	}
	return rapid.SampledFrom(odd).Draw(t, "instead")
}

func readable(typ reflect.Type, data []byte) error { return decode(data, reflect.New(typ).Interface()) }

// What encoding/json makes of a value, and can read again, fits the schema that
// was inferred from its type; what fits the schema can be read.
func TestSchemaAndDecoderAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := drawType(t, 3)
		schema, err := messages.CompileInputSchema(inferSchema(typ))
		if err != nil {
			t.Fatalf("%v: %v", typ, err)
		}
		v := reflect.New(typ)
		fill(t, v.Elem(), 4)
		data, err := json.Marshal(v.Elem().Interface())
		if err != nil {
			t.Skip(err) // such as a NaN
		}
		fits, reads := schema.Check(data), readable(typ, data)
		if (fits == nil) != (reads == nil) {
			t.Fatalf("%v: encoded %s\nschema %s\nfits: %v\nreads: %v", typ, data, inferSchema(typ), fits, reads)
		}
		for range 5 {
			decoder := json.NewDecoder(bytes.NewReader(data))
			decoder.UseNumber()
			var doc any
			if err := decoder.Decode(&doc); err != nil {
				t.Fatal(err)
			}
			changed, err := json.Marshal(mutate(t, doc))
			if err != nil {
				t.Fatal(err)
			}
			if schema.Check(changed) == nil {
				if err := readable(typ, changed); err != nil {
					t.Fatalf("%v: %s\nfits %s\nand cannot be read: %v", typ, changed, inferSchema(typ), err)
				}
			}
		}
	})
}

func TestSchemaOfWhatIsNotPlain(t *testing.T) {
	type everythingTwice struct {
		A, B pair[tree, *tree]
		C    *withPointer
	}
	for _, c := range []struct {
		typ   reflect.Type
		input string
		fits  bool
	}{
		{reflect.TypeFor[withPointer](), `{"X":1}`, true},
		{reflect.TypeFor[withPointer](), `{"X":1,"id":"a"}`, false},
		{reflect.TypeFor[withHidden](), `{"X":1}`, true},
		{reflect.TypeFor[withHidden](), `{"X":1,"Own":true}`, false},
		{reflect.TypeFor[withBoth](), `{"Name":[],"Own":true,"id":1}`, true},
		{reflect.TypeFor[int8](), `1`, true},
		{reflect.TypeFor[int8](), `1.0`, false},
		{reflect.TypeFor[int8](), `1e1`, false},
		{reflect.TypeFor[int8](), `128`, false},
		{reflect.TypeFor[time.Time](), `"2026-11-29T00:00:00Z"`, true},
		{reflect.TypeFor[time.Time](), `"2026-13-29T00:00:00Z"`, false},
		{reflect.TypeFor[[]byte](), `"AQI="`, true},
		{reflect.TypeFor[[]byte](), `"A"`, false},
		{reflect.TypeFor[float32](), `1e39`, false},
		{reflect.TypeFor[any](), `1e309`, true},
		{reflect.TypeFor[big.Int](), `1` + strings.Repeat("0", 700), true},
		{reflect.TypeFor[map[int8]bool](), `{"128":true}`, false},
		{reflect.TypeFor[tagged](), `{"a":"1","b":null,"C":"true","d":"\"x\"","f":"\"\"","g":[1],"-":0,"J":3}`, true},
		{reflect.TypeFor[tagged](), `{"a":"x","b":null,"C":"true","d":"\"x\"","f":"\"\"","g":[1],"-":0,"J":3}`, false},
		{reflect.TypeFor[tree](), `{"value":1,"kids":[{"value":2,"next":{"value":3}}]}`, true},
		{reflect.TypeFor[tree](), `{"value":1,"kids":[{"value":2,"next":{"value":300}}]}`, false},
		{reflect.TypeFor[tree](), `{"value":1,"Value":300}`, false},
		{reflect.TypeFor[tree](), `null`, false},
		{reflect.TypeFor[*tree](), `null`, true},
		{reflect.TypeFor[forest](), `[[],[[null]]]`, true},
		{reflect.TypeFor[forest](), `[[],[[7]]]`, false},
		{reflect.TypeFor[loop](), `null`, true},
		{reflect.TypeFor[loop](), `1`, false},
		{reflect.TypeFor[everythingTwice](), `{"A":{"first":{"value":1}},"B":{"first":{"value":1},"second":{"value":2}},"C":{"X":1}}`, true},
		{reflect.TypeFor[everythingTwice](), `{"A":{"first":null},"B":{"first":{"value":1}},"C":null}`, false},
	} {
		schema, err := messages.CompileInputSchema(inferSchema(c.typ))
		if err != nil {
			t.Fatalf("%v: %v", c.typ, err)
		}
		if err := schema.Check([]byte(c.input)); (err == nil) != c.fits {
			t.Errorf("%v: %s: %v\nschema %s", c.typ, c.input, err, inferSchema(c.typ))
		}
		if !c.fits {
			continue
		}
		if err := readable(c.typ, []byte(c.input)); err != nil {
			t.Errorf("%v: %s cannot be read: %v", c.typ, c.input, err)
		}
	}
}
