package run

import (
	"testing"
	"time"
)

func TestClockDoesNotGoBack(t *testing.T) {
	c := clock{now: scriptEpoch}
	c.set(scriptEpoch.Add(-time.Hour)) // a server whose clock is behind the newest entry
	if !c.now.Equal(scriptEpoch) {
		t.Fatalf("it went back to %v", c.now)
	}
	c.set(scriptEpoch.Add(-time.Second))
	if !c.now.Equal(scriptEpoch) {
		t.Fatalf("it went on to %v before the server's clock had come as far", c.now)
	}
	c.set(scriptEpoch.Add(time.Second))
	if want := scriptEpoch.Add(time.Second); !c.now.Equal(want) {
		t.Fatalf("a second later it is %v, want %v", c.now, want)
	}
	at := scriptEpoch.Add(time.Minute)
	if c.due(at) || !c.due(c.now) {
		t.Error("what is due is the time that has come")
	}
}

func TestEarliest(t *testing.T) {
	var e earliest
	e.add(time.Time{})
	if !e.at.IsZero() {
		t.Fatal("none is some")
	}
	e.add(scriptEpoch.Add(time.Minute))
	e.add(scriptEpoch)
	e.add(scriptEpoch.Add(time.Hour))
	e.addIf(scriptEpoch.Add(-time.Hour), false)
	if !e.at.Equal(scriptEpoch) {
		t.Fatalf("the first is %v", e.at)
	}
}
