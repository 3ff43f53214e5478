package sdk

import (
	"strconv"

	"github.com/limpetrun/limpet/messages"
)

// Label is a rule about the labels of a worker, made by Require or Prefer and a
// comparison:
//
//	sdk.Require("gpu").Equal("a100")
//	sdk.Require("memory-gb").AtLeast(64)
//	sdk.Prefer("zone", 10).Equal("eu-1")
type Label struct{ rule *messages.LabelRule }

// LabelKey is the first half of a Label: which label, and how much it matters.
type LabelKey struct {
	key      string
	required bool
	weight   int32
}

// Require makes a rule that must hold: a worker for which it does not is never
// chosen. Any comparison with a label that the worker does not have is false,
// but for NotEqual.
func Require(key string) LabelKey { return LabelKey{key: key, required: true} }

// Prefer makes a rule that adds a weight, 1 to 1000, to a worker for which it
// holds. Of the workers with a free slot the one with the greatest sum is
// chosen; only then does load count.
func Prefer(key string, weight int) LabelKey {
	return LabelKey{key: key, weight: int32(min(max(weight, 0), messages.LabelWeightMax+1))}
}

// Equal holds if the label has the value; "1.0" equals "1".
func (k LabelKey) Equal(value string) Label { return k.rule(messages.LabelRule_EQUAL, value) }

// NotEqual holds if the label has another value, or is not there.
func (k LabelKey) NotEqual(value string) Label { return k.rule(messages.LabelRule_NOT_EQUAL, value) }

// Below holds if the label is a number less than n.
func (k LabelKey) Below(n float64) Label { return k.number(messages.LabelRule_LESS, n) }

// AtMost holds if the label is a number not greater than n.
func (k LabelKey) AtMost(n float64) Label { return k.number(messages.LabelRule_LESS_OR_EQUAL, n) }

// Above holds if the label is a number greater than n.
func (k LabelKey) Above(n float64) Label { return k.number(messages.LabelRule_GREATER, n) }

// AtLeast holds if the label is a number not less than n.
func (k LabelKey) AtLeast(n float64) Label { return k.number(messages.LabelRule_GREATER_OR_EQUAL, n) }

func (k LabelKey) number(op messages.LabelRule_Op, n float64) Label {
	return k.rule(op, strconv.FormatFloat(n, 'g', -1, 64))
}

func (k LabelKey) rule(op messages.LabelRule_Op, value string) Label {
	return Label{&messages.LabelRule{Key: k.key, Op: op, Value: value, Required: k.required, Weight: k.weight}}
}

// labelRules turns labels into their form in a definition; the zero Label into
// a rule that validation refuses.
func labelRules(labels []Label) []*messages.LabelRule {
	var out []*messages.LabelRule
	for _, l := range labels {
		if l.rule == nil {
			l.rule = &messages.LabelRule{Required: true}
		}
		out = append(out, l.rule)
	}
	return out
}
