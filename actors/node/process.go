package node

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// gcPercent lets the heap of a server grow to four times what lives before
	// it is collected: a fifth of a busy server's time went into collecting a
	// small heap.
	gcPercent = 300
	// gcPercentLeast is for a heap so large that collecting it is worth it.
	gcPercentLeast = 100
	// gcRoom is the garbage, in bytes, above which a large heap is collected
	// sooner. What a burst of runs makes the heap grow to leaves the process
	// larger for good: the runtime keeps its notes of it.
	gcRoom = 256 << 20
)

// TuneProcess sets the collector of a process that is nothing but a server:
//   - by GOGC, unless that is in its environment, for what lives in the heap;
//   - by GOMEMLIMIT, unless that is in its environment, to 90 % of what the
//     process's control group allows: a burst of runs is collected sooner then,
//     instead of ending the process.
func TuneProcess(log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
		afterCollection(&collector{gcPercent, []metrics.Sample{{Name: "/gc/heap/live:bytes"}}})
	}
	limitMemory(memlimit.FromCgroup, log)
}

func limitMemory(allowed memlimit.Provider, log *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithProvider(allowed))
	switch {
	case errors.Is(err, memlimit.ErrCgroupsNotSupported), errors.Is(err, memlimit.ErrNoCgroup):
	case err != nil:
		log.Warn("the memory that this process may use is not known; GOMEMLIMIT may say it", "error", err)
	case limit < math.MaxInt64:
		log.Info("memory is limited", "bytes", limit)
	}
}

// gcPercentFor is for a heap of which so many bytes live.
func gcPercentFor(live uint64) int {
	return int(max(gcPercentLeast, min(gcPercent, gcRoom*100/max(live, 1))))
}

// collector is garbage from the start: its finalizer runs after each collection.
type collector struct {
	percent int
	// live holds a pointer: objects as small as a number share their memory, and
	// their finalizers may never run.
	live []metrics.Sample
}

func afterCollection(c *collector) { runtime.SetFinalizer(c, (*collector).adjust) }

// adjust sets the percentage for what lives now, if that makes a difference.
func (c *collector) adjust() {
	metrics.Read(c.live)
	if p := gcPercentFor(c.live[0].Value.Uint64()); p < c.percent*9/10 || p > c.percent*11/10 {
		c.percent = p
		debug.SetGCPercent(p)
	}
	afterCollection(c)
}
