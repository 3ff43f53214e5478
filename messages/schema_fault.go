package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// faultBytesMax cuts what a fault quotes of the input.
const faultBytesMax = 240

// jsonFault says where JSON ends to be JSON: line and column, from 1.
func jsonFault(input []byte, err error) string {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err.Error()
	}
	at := min(max(int(syntax.Offset)-1, 0), len(input))
	before := input[:at]
	line := bytes.Count(before, []byte("\n")) + 1
	column := at - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d column %d: %s", line, column, syntax.Error())
}

// schemaFault says where in the input a schema does not hold, as a path from
// $, and what it wants there.
func schemaFault(err error) string {
	path := "$"
	for {
		inner := errors.Unwrap(err)
		level, ok := strings.CutPrefix(err.Error(), "validating ")
		if !ok || inner == nil {
			break
		}
		path += pathSegment(strings.TrimSuffix(level, ": "+inner.Error()))
		err = inner
	}
	return path + ": " + wanted(err.Error())
}

// pathSegment turns the place of a schema within its parent into the place of
// a value: properties/NAME is .NAME, items is [*]. Keywords that stay at the
// same value, such as $ref and allOf, add nothing.
func pathSegment(schemaPath string) string {
	parts := strings.Split(schemaPath, "/")
	last := parts[len(parts)-1]
	if len(parts) > 1 {
		name := strings.NewReplacer("~1", "/", "~0", "~").Replace(last)
		switch parts[len(parts)-2] {
		case "properties":
			return "." + name
		case "prefixItems":
			return "[" + name + "]"
		case "patternProperties":
			return ".*"
		}
	}
	switch last {
	case "items":
		return "[*]"
	case "additionalProperties":
		return ".*"
	}
	return ""
}

var typeFault = regexp.MustCompile(`(?s)^type: .* has type "([^"]*)", want (?:one of )?"([^"]*)"$`)

// wholeNumber is how the library writes one: 7/1 and 7.000000.
var wholeNumber = regexp.MustCompile(`\b(\d+)(?:/1|\.0+)\b`)

// wanted rephrases a fault of the schema library, without the whole value.
func wanted(fault string) string {
	if m := typeFault.FindStringSubmatch(fault); m != nil {
		return fmt.Sprintf("want %s, got %s", strings.ReplaceAll(m[2], ", ", " or "), m[1])
	}
	if names, ok := strings.CutPrefix(fault, "required: missing properties: "); ok {
		return "missing " + names
	}
	if names, ok := strings.CutPrefix(fault, "unexpected additional properties "); ok {
		return "unknown " + cut(names)
	}
	return cut(wholeNumber.ReplaceAllString(fault, "$1"))
}

func cut(s string) string {
	if len(s) <= faultBytesMax {
		return s
	}
	half := faultBytesMax / 2
	return strings.ToValidUTF8(s[:half], "") + " … " + strings.ToValidUTF8(s[len(s)-half:], "")
}
