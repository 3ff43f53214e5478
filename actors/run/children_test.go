package run

import (
	"slices"
	"testing"
	"time"
)

func TestChildrenAreAwaited(t *testing.T) {
	var c children
	c.await("x", 1)
	c.await("x", 2)
	c.await("a", 3)
	if !c.isStarting("x") || c.isStarting("y") || !c.anyStarting() {
		t.Fatal("x and a start")
	}
	if tokens := c.started("x"); !slices.Equal(tokens, []any{1, 2}) || c.isStarting("x") {
		t.Fatalf("tokens %v", tokens)
	}
	c.await("b", 4)
	if tokens := c.giveUp(); !slices.Equal(tokens, []any{3, 4}) || c.anyStarting() {
		t.Fatalf("tokens %v, in the order of the children", tokens)
	}
}

// A child that is being started takes no note: there may be no run yet.
func TestChildrenTakeNoteOfACancel(t *testing.T) {
	var c children
	c.await("x", 1)
	c.note("x")
	if c.noted["x"] {
		t.Fatal("x has taken note before it was started")
	}
	again := func() time.Time {
		var next earliest
		c.timers(&next, time.Second)
		return next.at
	}
	if at := again(); !at.IsZero() {
		t.Fatalf("x was not told, and is told again at %v", at)
	}
	c.started("x")
	c.tell("x", scriptEpoch)
	if at := again(); !at.Equal(scriptEpoch.Add(time.Second)) {
		t.Fatalf("told again at %v", at)
	}
	if c.note("x"); !c.noted["x"] || !again().IsZero() {
		t.Fatal("x has taken note")
	}
}
