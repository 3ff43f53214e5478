package messages

import (
	"errors"
	"strings"
	"testing"
)

const corpusSchema = `{
	"type": "object",
	"properties": {
		"dir":   {"type": "string"},
		"limit": {"type": "integer", "minimum": 1},
		"tags":  {"type": "array", "items": {"type": "string"}},
		"owner": {"$ref": "#/$defs/owner"},
		"sizes": {"type": "object", "additionalProperties": {"type": "integer"}}
	},
	"required": ["dir"],
	"additionalProperties": false,
	"$defs": {"owner": {"type": ["null", "object"], "properties": {"name": {"type": "string"}}}}
}`

func TestInputSchemaNamesThePlaceAndWhatItWants(t *testing.T) {
	schema, err := CompileInputSchema(corpusSchema)
	if err != nil {
		t.Fatal(err)
	}
	const misfit = "the input does not fit the workflow's input type: "
	for _, tc := range []struct{ input, want string }{
		{`{"dir":"/src","limit":3,"tags":["a"],"owner":{"name":"x"},"sizes":{"a":1}}`, ""},
		{`{"dir":"/src","owner":null}`, ""},
		{`{"dir":"/src"`, "the input is not JSON: line 1 column 13: unexpected end of JSON input"},
		{"{\n \"dir\": nope}", "the input is not JSON: line 2 column 10: invalid character 'o' in literal null (expecting 'u')"},
		{``, misfit + "$: want object, got null"},
		{`[]`, misfit + "$: want object, got array"},
		{`{}`, misfit + `$: missing ["dir"]`},
		{`{"dir":7}`, misfit + "$.dir: want string, got integer"},
		{`{"dir":"x","limit":1.5}`, misfit + "$.limit: want integer, got number"},
		{`{"dir":"x","limit":0}`, misfit + "$.limit: minimum: 0 is less than 1"},
		{`{"dir":"x","tags":["a",{}]}`, misfit + "$.tags[1]: want string, got object"},
		{`{"dir":"x","owner":3}`, misfit + "$.owner: want null or object, got integer"},
		{`{"dir":"x","owner":{"name":3}}`, misfit + "$.owner.name: want string, got integer"},
		{`{"dir":"x","sizes":{"a":"b"}}`, misfit + "$.sizes.a: want integer, got string"},
		{`{"dir":"x","extra":1}`, misfit + `$: unknown ["extra"]`},
	} {
		err := schema.Check([]byte(tc.input))
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.input, err)
		case tc.want != "" && (!errors.Is(err, &Error{Code: CodeInvalidInput}) || err.Error() != "INVALID_INPUT: "+tc.want):
			t.Errorf("%s:\n got %v\nwant %s", tc.input, err, tc.want)
		}
	}
}

func TestInputSchemaDoesNotQuoteTheWholeInput(t *testing.T) {
	schema, err := CompileInputSchema(`{"enum": ["a"]}`)
	if err != nil {
		t.Fatal(err)
	}
	err = schema.Check([]byte(`"` + strings.Repeat("x", 100_000) + `"`))
	if err == nil || len(err.Error()) > 500 {
		t.Errorf("got an error of %d bytes", len(err.Error()))
	}
}

func TestEmptyInputSchemaAcceptsAnyJSON(t *testing.T) {
	schema, err := CompileInputSchema("")
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range []string{"", "null", "7", `{"a":[1]}`} {
		if err := schema.Check([]byte(input)); err != nil {
			t.Errorf("%s: %v", input, err)
		}
	}
	if err := schema.Check(make([]byte, PayloadBytesMax+1)); CodeOf(err) != CodePayloadTooLarge {
		t.Errorf("over the limit: %v", err)
	}
}
