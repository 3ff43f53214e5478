package placement

import (
	"math"
	"strconv"

	"github.com/limpetrun/limpet/messages"
)

// Weigh says whether labels satisfy all required rules, and adds up the
// weights of the preferred rules that hold.
func Weigh(rules []*messages.LabelRule, labels map[string]string) (weight int32, ok bool) {
	for _, r := range rules {
		switch holds := Holds(r, labels); {
		case r.GetRequired() && !holds:
			return 0, false
		case !r.GetRequired() && holds:
			weight += r.GetWeight()
		}
	}
	return weight, true
}

// Holds says whether a rule holds for the labels of a worker. Values are
// compared as numbers when both are, and as text otherwise, where only equal
// and not equal can hold. A label that the worker does not have is not equal
// to any value, and in no order to one.
func Holds(r *messages.LabelRule, labels map[string]string) bool {
	have, present := labels[r.GetKey()]
	if !present {
		return r.GetOp() == messages.LabelRule_NOT_EQUAL
	}
	a, aIsNumber := number(have)
	b, bIsNumber := number(r.GetValue())
	if !aIsNumber || !bIsNumber {
		switch r.GetOp() {
		case messages.LabelRule_EQUAL:
			return have == r.GetValue()
		case messages.LabelRule_NOT_EQUAL:
			return have != r.GetValue()
		}
		return false
	}
	switch r.GetOp() {
	case messages.LabelRule_EQUAL:
		return a == b
	case messages.LabelRule_NOT_EQUAL:
		return a != b
	case messages.LabelRule_LESS:
		return a < b
	case messages.LabelRule_LESS_OR_EQUAL:
		return a <= b
	case messages.LabelRule_GREATER:
		return a > b
	case messages.LabelRule_GREATER_OR_EQUAL:
		return a >= b
	}
	return false
}

// number reads a finite decimal number.
func number(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

var ruleOps = map[messages.LabelRule_Op]string{
	messages.LabelRule_EQUAL:            "=",
	messages.LabelRule_NOT_EQUAL:        "≠",
	messages.LabelRule_LESS:             "<",
	messages.LabelRule_LESS_OR_EQUAL:    "≤",
	messages.LabelRule_GREATER:          ">",
	messages.LabelRule_GREATER_OR_EQUAL: "≥",
}

// RuleText writes a rule as people read it: "gpu = a100".
func RuleText(r *messages.LabelRule) string {
	return r.GetKey() + " " + ruleOps[r.GetOp()] + " " + r.GetValue()
}
