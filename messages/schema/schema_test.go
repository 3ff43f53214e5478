package schema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func checked(t *testing.T, schema, document string) *Fault {
	t.Helper()
	s, err := Compile(schema)
	if err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	d, err := Parse([]byte(document))
	if err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	if err := s.Check(d); err != nil {
		return err.(*Fault)
	}
	return nil
}

// What a check of it would not end for, or would go elsewhere for, is refused
// when it is compiled; recursion that goes into the value is not.
func TestEndlessSchemasAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"$ref":"#"}`:             "refers to itself",
		`{"allOf":[{"$ref":"#"}]}`: "refers to itself",
		`{"anyOf":[{"type":"null"},{"not":{"$ref":"#"}}]}`:                                                       "refers to itself",
		`{"if":{"$ref":"#/then"},"then":{"$ref":"#"}}`:                                                           "refers to itself",
		`{"dependentSchemas":{"a":{"$ref":"#"}}}`:                                                                "refers to itself",
		`{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"oneOf":[{"$ref":"#/$defs/a"}]}},"items":{"$ref":"#/$defs/b"}}`: "refers to itself",
		`{"$ref":"http://example.com/schema"}`:                                                                   "leads elsewhere",
		`{"$ref":"other.json#/a"}`:                                                                               "leads elsewhere",
		`{"$ref":"file:///etc/passwd"}`:                                                                          "leads elsewhere",
		`{"$ref":"#/$defs/none"}`:                                                                                "leads nowhere",
		`{"$dynamicRef":"#a"}`:                                                                                   "not supported",
		`{"properties":{"a":{"$id":"b"}}}`:                                                                       "not supported",
		`{"$schema":"http://json-schema.org/draft-04/schema#"}`:                                                  "$schema",
		`{"type":"strange"}`:                                                                                     "not the name of a type",
		`{"pattern":"("}`:                                                                                        "/pattern",
		`{"multipleOf":0}`:                                                                                       "/multipleOf",
		`{} {}`:                                                                                                  "more after its end",
		`7`:                                                                                                      "neither an object nor",
		strings.Repeat(`{"items":`, 3*DepthMax) + "true" + strings.Repeat("}", 3*DepthMax): "nested deeper",
		`{"prefixItems":[` + strings.Repeat("true,", NodesMax) + `true]}`:                  "NodesMax",
	} {
		if _, err := Compile(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %s", text, err, want)
		}
	}
	list := `{"$defs":{"n":{"type":["null","object"],"properties":{"v":{"type":"integer"},"next":{"$ref":"#/$defs/n"}},"required":["v"]}},"$ref":"#/$defs/n"}`
	if f := checked(t, list, `{"v":1,"next":{"v":2,"next":null}}`); f != nil {
		t.Error(f)
	}
	if f := checked(t, list, `{"v":1,"next":{"v":2,"next":{"v":"3"}}}`); f == nil || f.Error() != "$.next.next.v: want integer, got string" {
		t.Error(f)
	}
}

// A schema that is small, and ends, may still take ages: the check is broken
// off. Its time is that of the budget.
func TestCheckIsBrokenOff(t *testing.T) {
	// Each level is looked at twice: 2^60 schemas are applied.
	var defs []string
	for i := range 60 {
		defs = append(defs, fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+1))
	}
	wide := `{"$defs":{` + strings.Join(defs, ",") + `,"d60":true},"$ref":"#/$defs/d0"}`
	deep := `{"$defs":{"n":{"allOf":[{"properties":{"c":{"$ref":"#/$defs/n"}}},{"properties":{"c":{"$ref":"#/$defs/n"}}}]}},"$ref":"#/$defs/n"}`
	nested := strings.Repeat(`{"c":`, 900) + "1" + strings.Repeat("}", 900)
	for _, c := range [][2]string{{wide, "1"}, {deep, nested}} {
		began := time.Now()
		f := checked(t, c[0], c[1])
		if f == nil || !f.OverBudget || !strings.Contains(f.Text, "CheckCostMax") {
			t.Errorf("%.60s: %v", c[0], f)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	}
	large := `[` + strings.Repeat("1,", 400_000) + "1]"
	if f := checked(t, `{"items":{"type":"integer","x-go":"int8","maximum":7}}`, large); f != nil {
		t.Error("a large plain input: ", f)
	}
	if _, err := Parse([]byte(strings.Repeat("[", DocumentDepthMax+1) + strings.Repeat("]", DocumentDepthMax+1))); err == nil {
		t.Error("a document that is too deep passed")
	}
}

// Numbers are compared as they are written, however large.
func TestNumbersAreExact(t *testing.T) {
	huge := "1" + strings.Repeat("0", 700)
	for _, c := range []struct {
		schema, document string
		fits             bool
	}{
		{`{"type":"integer"}`, huge + "1", true},
		{`{"type":"integer"}`, huge + "1.5", false},
		{`{"type":"integer"}`, "1e309", true},
		{`{"type":"integer"}`, "1e-400", false},
		{`{"type":"integer"}`, "1.50e1", true},
		{`{"type":"number"}`, "1e999999999999999999999999", true},
		{`{"const":` + huge + `1}`, huge + "1", true},
		{`{"const":` + huge + `1}`, huge + "2", false},
		{`{"enum":[1.0,"1"]}`, "1", true},
		{`{"maximum":9007199254740992}`, "9007199254740993", false},
		{`{"minimum":-1e400}`, "-1e401", false},
		{`{"exclusiveMinimum":0}`, "1e-999999999", true},
		{`{"multipleOf":0.1}`, "0.3", true},
		{`{"multipleOf":3}`, huge, false},
		{`{"multipleOf":3}`, "3e999999999", true},
		{`{"uniqueItems":true}`, "[" + huge + "1," + huge + "2]", true},
		{`{"uniqueItems":true}`, `[1,1.0]`, false},
		{`{"uniqueItems":true}`, `[{"a":1,"b":"A"},{"b":"\u0041","a":10e-1}]`, false},
		{`{"x-go":"int8"}`, "1.0", false},
		{`{"x-go":"int8"}`, "127", true},
		{`{"x-go":"int8"}`, "128", false},
		{`{"x-go":"float64"}`, "1e309", false},
		{`{"x-go":"float32"}`, "1e39", false},
		{`{"x-go":"time.Time"}`, `"2026-11-29T00:00:00Z"`, true},
		{`{"x-go":"time.Time"}`, `"yesterday"`, false},
		{`{"propertyNames":{"x-go":"key:int8"}}`, `{"127":0}`, true},
		{`{"propertyNames":{"x-go":"key:int8"}}`, `{"128":0}`, false},
		{`{"x-go":"int8,string"}`, `"12"`, true},
		{`{"x-go":"int8,string"}`, `12`, false},
	} {
		if f := checked(t, c.schema, c.document); (f == nil) != c.fits {
			t.Errorf("%s %.60s: %v", c.schema, c.document, f)
		}
	}
}

func TestDecimalsAgreeWithRationals(t *testing.T) {
	written := rapid.Custom(func(t *rapid.T) string {
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][+-]?[0-9])?`).Draw(t, "number")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := written.Draw(t, "a"), written.Draw(t, "b")
		ra, _ := new(big.Rat).SetString(a)
		rb, _ := new(big.Rat).SetString(b)
		da, db := parseDecimal(a), parseDecimal(b)
		if got, want := da.compare(db), ra.Cmp(rb); got > 0 != (want > 0) || got < 0 != (want < 0) {
			t.Fatalf("%s and %s: %d, want %d", a, b, got, want)
		}
		if (da.String() == db.String()) != (ra.Cmp(rb) == 0) {
			t.Fatalf("%s and %s: %s, %s", a, b, da, db)
		}
		if da.whole() != ra.IsInt() {
			t.Fatalf("%s: whole %v", a, da.whole())
		}
		if rb.Sign() > 0 {
			if want := new(big.Rat).Quo(ra, rb).IsInt(); da.multipleOf(db) != want {
				t.Fatalf("%s of %s: %v", a, b, !want)
			}
		}
		if back, ok := new(big.Rat).SetString(da.plain()); !ok || back.Cmp(ra) != 0 {
			t.Fatalf("%s is written %s", a, da.plain())
		}
	})
}

// Whatever a schema and a document are, nothing panics.
func FuzzCheck(f *testing.F) {
	f.Add(`{"type":["null","object"],"properties":{"a":{"$ref":"#"}},"unevaluatedProperties":false}`, `{"a":null,"b":[1,2.50e3,"\u0000"]}`)
	f.Add(`{"items":[true],"additionalItems":{"const":1},"uniqueItems":true}`, `[[],{},"",1,1.0]`)
	f.Fuzz(func(t *testing.T, schema, document string) {
		s, err := Compile(schema)
		if err != nil {
			return
		}
		d, err := Parse([]byte(document))
		if (err == nil) != json.Valid([]byte(document)) && Depth([]byte(document)) <= DocumentDepthMax {
			t.Fatal(err)
		}
		if err == nil {
			_ = s.Check(d)
		}
	})
}
