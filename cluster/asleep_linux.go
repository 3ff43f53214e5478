package cluster

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// asleepLeast is the shortest sleep of the machine that counts.
const asleepLeast = 100 * time.Millisecond

var asleepSoFar atomic.Int64

// asleep is how long the machine has slept since it was started: Go's monotonic
// clock stands still meanwhile. It never grows less.
func asleep() time.Duration {
	known := asleepSoFar.Load()
	var before, with, after unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &before) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &with) != nil ||
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &after) != nil {
		return time.Duration(known)
	}
	// At least: time that went by between the clocks is not counted.
	if slept := with.Nano() - after.Nano(); slept > known+int64(asleepLeast) && asleepSoFar.CompareAndSwap(known, slept) {
		return time.Duration(slept)
	}
	return time.Duration(known)
}
