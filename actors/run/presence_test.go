package run

import (
	"testing"
	"time"
)

func TestRunLeavesAfterAWhile(t *testing.T) {
	var p presence
	if p.rests(scriptEpoch, time.Second) {
		t.Fatal("it leaves at once")
	}
	var next earliest
	if p.timers(&next, time.Second); !next.at.Equal(scriptEpoch.Add(time.Second)) {
		t.Fatalf("it leaves at %v", next.at)
	}
	p.works(scriptEpoch, time.Second, false)
	if p.rests(scriptEpoch.Add(time.Second), time.Second) {
		t.Fatal("it leaves although it worked meanwhile")
	}
	if !p.rests(scriptEpoch.Add(2*time.Second), time.Second) {
		t.Fatal("it stays")
	}
	if !p.stop() || p.stop() {
		t.Fatal("it stops once")
	}
}

// A row that says that the run is dormant is corrected if the run stays awake.
func TestRowIsCorrected(t *testing.T) {
	var p presence
	if p.works(scriptEpoch, time.Second, false) || !p.awakeSince.IsZero() {
		t.Fatal("the row is right")
	}
	if p.works(scriptEpoch, time.Second, true) {
		t.Fatal("corrected at once")
	}
	var next earliest
	if p.timers(&next, time.Second); !next.at.Equal(scriptEpoch.Add(time.Second)) {
		t.Fatalf("it is corrected at %v", next.at)
	}
	if !p.works(scriptEpoch.Add(time.Second), time.Second, true) {
		t.Fatal("not corrected")
	}
}
