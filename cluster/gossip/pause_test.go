package gossip

import (
	"testing"
	"time"
)

func TestSchedulingDelay(t *testing.T) {
	var d SchedulingDelay
	p := Preset{ProbeInterval: 300 * time.Millisecond}
	start := time.Now()
	for _, step := range []struct {
		at, pause, want time.Duration
	}{
		{0, 0, 0},
		{time.Second, delayFree, 0},
		{2 * time.Second, delayFree + 100*time.Millisecond, delayFactor * 100 * time.Millisecond},
		// Shorter ones later do not count, longer ones do.
		{3 * time.Second, delayFree + 50*time.Millisecond, delayFactor * 100 * time.Millisecond},
		{4 * time.Second, 2 * time.Second, delayMost * p.ProbeInterval},
		{5 * time.Second, time.Hour, delayMost * p.ProbeInterval},
		{delayWindow + 6*time.Second, 0, delayMost * p.ProbeInterval},
		{2*delayWindow + 7*time.Second, 0, 0},
		{2*delayWindow + 8*time.Second, time.Hour, 0},
	} {
		d.note(start.Add(step.at), step.pause)
		if got := d.slack(p); got != step.want {
			t.Errorf("after %v, a pause of %v: slack %v, want %v", step.at, step.pause, got, step.want)
		}
	}
}
