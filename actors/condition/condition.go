// Package condition evaluates the conditions of calls that wait for an event: CEL
// expressions over its payload, its key and its id.
//
// Data flow: text → Compile (once: a Cache keeps the newest) → Condition.Fits.
//
// Rules:
//   - What Compile takes is a boolean, or of a type that is only known then.
//   - An evaluation costs a bounded amount: beyond CostMax it is an error. It has no
//     effects, and no access to anything but the event.
//   - A payload has the types of JSON: numbers are doubles. That a field is missing,
//     or of another type than it is compared with, is an error; has(payload.x) asks.
//   - Errors do not repeat values of the payload.
//
// Imports only messages.
package condition

import (
	"container/list"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"

	"github.com/limpetrun/limpet/messages"
)

// CostMax bounds the evaluation of a condition, in CEL's units: an operation is about
// one, and a text costs one more for each ten characters that are looked at.
const CostMax = 100_000

// Event is what a condition is about.
type Event struct {
	Key, ID string
	// Payload is JSON.
	Payload []byte
}

// Condition is one that was compiled. It is safe for concurrent use.
type Condition struct{ program cel.Program }

var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.Variable("payload", cel.DynType), cel.Variable("key", cel.StringType),
		cel.Variable("id", cel.StringType), cel.CrossTypeNumericComparisons(true))
})

// Compile reads a condition; INVALID_ARGUMENT says what is wrong with it and where.
func Compile(text string) (*Condition, error) {
	if len(text) > messages.ConditionBytesMax {
		return nil, messages.Errorf(messages.CodeLimitExceeded, "the condition has %d bytes, more than ConditionBytesMax = %d", len(text), messages.ConditionBytesMax)
	}
	env, err := environment()
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "conditions cannot be read: %w", err)
	}
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, invalid(text, err.Error())
	}
	if out := ast.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		return nil, invalid(text, "it is of type "+out.String()+", must be true or false")
	}
	program, err := env.Program(ast, cel.CostLimit(CostMax))
	if err != nil {
		return nil, invalid(text, err.Error())
	}
	return &Condition{program}, nil
}

func invalid(text, why string) error {
	return messages.Errorf(messages.CodeInvalidArgument, "the condition %q is no CEL expression over payload, key and id: %s", text, strings.Join(strings.Fields(why), " "))
}

// Fits says whether an event meets the condition. An error says why that cannot be
// said of this event: it does not meet it then.
func (c *Condition) Fits(e Event) (fits bool, err error) {
	var payload any
	if err := json.Unmarshal(e.Payload, &payload); err != nil {
		return false, messages.Errorf(messages.CodeInvalidInput, "the payload is no JSON")
	}
	out, _, err := c.program.Eval(map[string]any{"payload": payload, "key": e.Key, "id": e.ID})
	if err != nil {
		return false, messages.Errorf(messages.CodeInvalidInput, "%s", withoutValues(err.Error()))
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, messages.Errorf(messages.CodeInvalidInput, "it is of type %s for this event, must be true or false", out.Type().TypeName())
	}
	return bool(b), nil
}

// withoutValues leaves of an error of CEL what it says of types and names: behind a
// colon may be a value of the payload.
func withoutValues(text string) string {
	for _, known := range []string{"no such overload", "no such attribute", "no matching overload", "unsupported index type", "index out of bounds",
		"division by zero", "modulus by zero", "integer overflow", "double overflow", "unsigned integer overflow"} {
		if strings.HasPrefix(text, known) {
			return known
		}
	}
	switch {
	case strings.HasPrefix(text, "no such key"):
		return text // the condition names it
	case strings.HasSuffix(text, "cost limit exceeded"):
		return fmt.Sprintf("it costs more than CostMax = %d", CostMax)
	}
	return "a value cannot be converted or compared as it asks for"
}

// cacheMax is how many conditions a Cache keeps.
const cacheMax = 1000

// Cache keeps the conditions that were used last. The zero value is ready; it is safe
// for concurrent use.
type Cache struct {
	mu   sync.Mutex
	of   map[string]*list.Element
	used list.List
}

// cached is a condition that was compiled.
type cached struct {
	text      string
	condition *Condition
}

// Compile is that of the package.
func (c *Cache) Compile(text string) (*Condition, error) {
	c.mu.Lock()
	if el := c.of[text]; el != nil {
		c.used.MoveToFront(el)
		c.mu.Unlock()
		return el.Value.(cached).condition, nil
	}
	c.mu.Unlock()
	condition, err := Compile(text)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]*list.Element{}
	}
	if c.of[text] == nil {
		c.of[text] = c.used.PushFront(cached{text, condition})
	}
	for len(c.of) > cacheMax {
		delete(c.of, c.used.Remove(c.used.Back()).(cached).text)
	}
	return condition, nil
}

// Fits says whether an event meets a condition; every event meets the empty one.
func (c *Cache) Fits(text string, e Event) (bool, error) {
	if text == "" {
		return true, nil
	}
	condition, err := c.Compile(text)
	if err != nil {
		return false, err
	}
	return condition.Fits(e)
}
