package cluster

import (
	"testing"
	"time"
)

func TestDrowsiness(t *testing.T) {
	var d drowsiness
	p := LocalConfig()
	start := time.Now()
	for _, step := range []struct {
		at, pause, want time.Duration
	}{
		{0, 0, 0},
		{time.Second, drowsyFree, 0},
		{2 * time.Second, drowsyFree + 100*time.Millisecond, drowsyFactor * 100 * time.Millisecond},
		// Shorter ones later do not count, longer ones do.
		{3 * time.Second, drowsyFree + 50*time.Millisecond, drowsyFactor * 100 * time.Millisecond},
		{4 * time.Second, 2 * time.Second, drowsyMost * p.ProbeInterval},
		{5 * time.Second, time.Hour, drowsyMost * p.ProbeInterval},
		{drowsyWindow + 6*time.Second, 0, drowsyMost * p.ProbeInterval},
		{2*drowsyWindow + 7*time.Second, 0, 0},
		{2*drowsyWindow + 8*time.Second, time.Hour, 0},
	} {
		d.note(start.Add(step.at), step.pause)
		if got := d.slack(p); got != step.want {
			t.Errorf("after %v, a pause of %v: slack %v, want %v", step.at, step.pause, got, step.want)
		}
	}
}
