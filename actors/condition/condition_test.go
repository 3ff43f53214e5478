package condition_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/actors/condition"
	"github.com/limpetrun/limpet/messages"
)

func TestFits(t *testing.T) {
	for _, c := range []struct {
		text, payload string
		want          bool
		fails         string
	}{
		{"true", `null`, true, ""},
		{"payload.amount > 10", `{"amount":11}`, true, ""},
		{"payload.amount > 10", `{"amount":10}`, false, ""},
		{"payload.amount == 11", `{"amount":11}`, true, ""},
		{`payload.user == "ann" && key == "order:new"`, `{"user":"ann"}`, true, ""},
		{`key.startsWith("order:") && id == "e1"`, `1`, true, ""},
		{`has(payload.x) && payload.x`, `{}`, false, ""},
		{`payload.items.exists(i, i.sku == "b")`, `{"items":[{"sku":"a"},{"sku":"b"}]}`, true, ""},
		{`payload[0] == "a"`, `["a"]`, true, ""},
		{"payload.amount > 10", `{}`, false, "no such key: amount"},
		{"payload.amount > 10", `{"amount":"secret"}`, false, "no such overload"},
		{"payload", `{"a":1}`, false, "it is of type map for this event"},
		{"int(payload) > 1", `"secret"`, false, "a value cannot be converted"},
		{"payload.all(a, payload.all(b, payload.all(c, a + b + c > 0)))", "[" + strings.TrimSuffix(strings.Repeat("1,", 300), ",") + "]", false, "it costs more than CostMax"},
	} {
		compiled, err := condition.Compile(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, err := compiled.Fits(condition.Event{Key: "order:new", ID: "e1", Payload: []byte(c.payload)})
		if got != c.want || (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s of %.40s: %v, %v; want %v, %s", c.text, c.payload, got, err, c.want, c.fails)
		}
	}
}

func TestInvalid(t *testing.T) {
	for text, says := range map[string]string{
		"":                       "no CEL expression",
		"payload.":               "Syntax error",
		"payload.x >":            "Syntax error",
		"unknown == 1":           "undeclared reference to 'unknown'",
		"1 + 1":                  "it is of type int, must be true or false",
		`key + "x"`:              "it is of type string",
		"key > 1":                "no matching overload",
		strings.Repeat("!", 1e5): "ConditionBytesMax",
	} {
		if _, err := condition.Compile(text); err == nil || !strings.Contains(err.Error(), says) ||
			messages.CodeOf(err) != messages.CodeInvalidArgument && messages.CodeOf(err) != messages.CodeLimitExceeded {
			t.Errorf("%.20s: %v, want %s", text, err, says)
		}
	}
}

// A cache gives what the package does, and does not grow.
func TestCache(t *testing.T) {
	var c condition.Cache
	for i := range 1200 {
		text := fmt.Sprintf("payload == %d", i%1100)
		if ok, err := c.Fits(text, condition.Event{Payload: []byte(fmt.Sprint(i % 1100))}); !ok || err != nil {
			t.Fatalf("%s: %v, %v", text, ok, err)
		}
	}
	if ok, err := c.Fits("", condition.Event{}); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if _, err := c.Compile("("); messages.CodeOf(err) != messages.CodeInvalidArgument {
		t.Error(err)
	}
}
