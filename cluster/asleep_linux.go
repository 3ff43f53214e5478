package cluster

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// asleepLeast is the shortest sleep of the machine that counts.
const asleepLeast = 100 * time.Millisecond

var (
	asleepSoFar atomic.Int64
	// aheadThen is how far the wall clock was ahead of the monotonic one when the
	// clocks of the machine were last read.
	aheadThen atomic.Int64
	started   = time.Now()
)

// asleep is how long the machine has slept since it was started: Go's monotonic
// clock stands still meanwhile. It never grows less.
//
// A sleep moves the wall clock on against the monotonic one, as setting the clock
// does. Only then are the machine's clocks read, by calls of the system, which cost
// more than all else that is done to know whether there is a lease.
func asleep(now time.Time) time.Duration {
	known := asleepSoFar.Load()
	ahead := now.UnixNano() - int64(now.Sub(started))
	if then := aheadThen.Load(); then != 0 && max(ahead-then, then-ahead) < int64(asleepLeast)/2 {
		return time.Duration(known)
	}
	var with, after unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &with) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &after) != nil {
		return time.Duration(known)
	}
	// At least: time that went by between the clocks is not counted.
	if slept := with.Nano() - after.Nano(); slept > known+int64(asleepLeast) && asleepSoFar.CompareAndSwap(known, slept) {
		known = slept
	}
	aheadThen.Store(ahead)
	return time.Duration(known)
}
