package node

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
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

func TestMemoryIsLimitedAsTheControlGroupSays(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	// Setenv restores it in the end; the library asks whether it is there at all.
	for _, name := range []string{"GOMEMLIMIT", "AUTOMEMLIMIT"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(err error) memlimit.Provider { return func() (uint64, error) { return 0, err } }
	for name, tc := range map[string]struct {
		allowed memlimit.Provider
		want    int64
		says    string
	}{
		"limited":     {memlimit.Limit(1000 << 20), 900 << 20, "memory is limited"},
		"not limited": {fails(memlimit.ErrNoLimit), math.MaxInt64, ""},
		"elsewhere":   {fails(memlimit.ErrCgroupsNotSupported), math.MaxInt64, ""},
		"not known":   {fails(errors.New("broken")), math.MaxInt64, "error=\"failed to set GOMEMLIMIT: broken\""},
	} {
		t.Run(name, func(t *testing.T) {
			debug.SetMemoryLimit(math.MaxInt64)
			var said strings.Builder
			limitMemory(tc.allowed, slog.New(slog.NewTextHandler(&said, nil)))
			if got := debug.SetMemoryLimit(-1); got != tc.want || !strings.Contains(said.String(), tc.says) || tc.says == "" && said.Len() > 0 {
				t.Errorf("limit %d, want %d; said %q", got, tc.want, &said)
			}
		})
	}
}

// The percentage follows what lives, down and up again.
func TestCollectorFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	TuneProcess(slog.New(slog.DiscardHandler))
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
