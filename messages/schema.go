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
	const what = "the input"
	if s == nil || s.compiled == nil {
		return CheckJSON(what, input)
	}
	input, err := payloadText(what, input)
	if err != nil {
		return err
	}
	document, err := schema.Parse(input)
	if err != nil {
		return notJSON(what, input, err)
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

// CheckJSON reports a payload that is over PayloadBytesMax (PAYLOAD_TOO_LARGE) or
// is not JSON (INVALID_INPUT). What names it in the error: "the payload of event
// \"paid\"". The empty payload counts as null.
func CheckJSON(what string, payload []byte) error {
	payload, err := payloadText(what, payload)
	if err != nil {
		return err
	}
	if err := schema.Valid(payload); err != nil {
		return notJSON(what, payload, err)
	}
	return nil
}

// payloadText is the payload, or null for the empty one, if it can be read as text.
func payloadText(what string, payload []byte) ([]byte, error) {
	switch err := CheckPayload(what, payload); {
	case err != nil:
		return nil, err
	case len(payload) == 0:
		return []byte("null"), nil
	case !utf8.Valid(payload):
		return nil, Errorf(CodeInvalidInput, "%s is not JSON: it is not UTF-8", what)
	}
	return payload, nil
}

func notJSON(what string, payload []byte, err error) error {
	return Errorf(CodeInvalidInput, "%s is not JSON: %s", what, jsonFault(payload, err))
}
