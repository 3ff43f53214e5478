package node

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestPercentageOfTheCollector(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 300}, {50 << 20, 300}, {128 << 20, 200}, {256 << 20, 100}, {10 << 30, 100}} {
		if got := gcPercentFor(c.live); got != c.want {
			t.Errorf("%d bytes live: %d %%, want %d", c.live, got, c.want)
		}
	}
}

// The percentage follows what lives, down and up again.
func TestCollectorFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	TuneProcess()
	large := make([]byte, 300<<20)
	percent := func(want int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
			runtime.GC()
			got := debug.SetGCPercent(gcPercent)
			debug.SetGCPercent(got)
			if got == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d %%, want %d", got, want)
			}
		}
	}
	percent(gcPercentLeast)
	runtime.KeepAlive(large)
	large = nil
	percent(gcPercent)
}
