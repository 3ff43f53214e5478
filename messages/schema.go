package messages

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/limpetrun/limpet/messages/schema"
)

// InputSchema checks the input of runs. It may be used concurrently.
type InputSchema struct {
	// nil accepts any JSON.
	compiled *schema.Schema
}

// CompileInputSchema makes a definition's JSON Schema ready for use; the empty
// text accepts any JSON. What leads elsewhere, or cannot be checked in bounded
// time, is refused. The error is plain: it becomes part of INVALID_DEFINITION.
func CompileInputSchema(text string) (*InputSchema, error) {
	if text == "" {
		return &InputSchema{}, nil
	}
	compiled, err := schema.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("input schema is not a JSON Schema: %w", err)
	}
	return &InputSchema{compiled: compiled}, nil
}

// Check reports input that is over PayloadBytesMax (PAYLOAD_TOO_LARGE), is not
// JSON or does not fit the schema (INVALID_INPUT), or takes too long to check
// (LIMIT_EXCEEDED). Empty input counts as null.
func (s *InputSchema) Check(input []byte) error {
	if err := CheckPayload("the input", input); err != nil {
		return err
	}
	if len(input) == 0 {
		input = []byte("null")
	}
	if !utf8.Valid(input) {
		return Errorf(CodeInvalidInput, "the input is not JSON: it is not UTF-8")
	}
	if s == nil || s.compiled == nil {
		if err := schema.Valid(input); err != nil {
			return Errorf(CodeInvalidInput, "the input is not JSON: %s", jsonFault(input, err))
		}
		return nil
	}
	document, err := schema.Parse(input)
	if err != nil {
		return Errorf(CodeInvalidInput, "the input is not JSON: %s", jsonFault(input, err))
	}
	defer document.Done()
	err = s.compiled.Check(document)
	var fault *schema.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fault) && fault.OverBudget:
		return Errorf(CodeLimitExceeded, "the input cannot be checked against the workflow's input type: %w", err)
	}
	return Errorf(CodeInvalidInput, "the input does not fit the workflow's input type: %w", err)
}
