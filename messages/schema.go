package messages

import (
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
)

// InputSchema checks the input of runs. It may be used concurrently.
type InputSchema struct {
	// nil accepts any JSON.
	resolved *jsonschema.Resolved
}

// CompileInputSchema makes a definition's JSON Schema ready for use; the empty
// text accepts any JSON. References to other documents are refused. The error
// is plain: it becomes part of INVALID_DEFINITION.
func CompileInputSchema(text string) (*InputSchema, error) {
	if text == "" {
		return &InputSchema{}, nil
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		return nil, fmt.Errorf("input schema is not a JSON Schema: %w", err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("input schema is not a JSON Schema: %w", err)
	}
	return &InputSchema{resolved: resolved}, nil
}

// Check reports input that is over PayloadBytesMax (PAYLOAD_TOO_LARGE), is not
// JSON or does not fit the schema (INVALID_INPUT). Empty input counts as null.
func (s *InputSchema) Check(input []byte) error {
	if len(input) > PayloadBytesMax {
		return Errorf(CodePayloadTooLarge, "input of %d bytes: at most %d (PayloadBytesMax)", len(input), PayloadBytesMax)
	}
	var value any
	if len(input) > 0 {
		if err := json.Unmarshal(input, &value); err != nil {
			return Errorf(CodeInvalidInput, "the input is not JSON: %s", jsonFault(input, err))
		}
	}
	if s == nil || s.resolved == nil {
		return nil
	}
	if err := s.resolved.Validate(value); err != nil {
		return Errorf(CodeInvalidInput, "the input does not fit the workflow's input type: %s", schemaFault(err))
	}
	return nil
}
