package gossip

import (
	"context"
	"sync"
	"time"
)

const (
	// pauseTick is how often the node reads its clock.
	pauseTick = 50 * time.Millisecond
	// delayWindow is how long a pause of this process counts: up to twice that.
	delayWindow = 15 * time.Second
	// delayFree is a pause that says nothing; delayFactor times what is above
	// it is given to others.
	delayFree   = 100 * time.Millisecond
	delayFactor = 3
	// delayMost, in probe intervals, bounds it.
	delayMost = 10
	// stopLeast is a pause of a process that was not kept waiting but stopped: it
	// says nothing of the others.
	stopLeast = 3 * time.Second
)

// SchedulingDelay is the longest time of late that this process got no processor.
// Who is kept waiting has reason to think that others are too, above all those
// on the same machine, and gives them more time to refute a verdict. An idle
// machine gives none, so that it costs nothing there. The zero value is ready.
type SchedulingDelay struct {
	mu       sync.Mutex
	since    time.Time
	now, old time.Duration
}

func (d *SchedulingDelay) note(at time.Time, pause time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at.Sub(d.since) > delayWindow {
		d.since, d.old, d.now = at, d.now, 0
	}
	if pause < stopLeast {
		d.now = max(d.now, pause)
	}
}

// slack is the time that others are given beyond their due.
func (d *SchedulingDelay) slack(p Preset) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	over := max(0, d.now, d.old) - delayFree
	return min(max(0, delayFactor*over), delayMost*p.ProbeInterval)
}

// Watch notes the delays until ctx ends, and calls paused when this process did not
// run for longer than limit: it was stopped, its machine slept, or it got no
// processor. It takes the time of its start from the caller, for a pause may come
// before its goroutine runs.
func (d *SchedulingDelay) Watch(ctx context.Context, start time.Time, limit func() time.Duration, paused func(time.Duration)) {
	last := start
	t := time.NewTicker(pauseTick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		// The monotonic clock stands still while a machine sleeps, the wall
		// clock does not. A wall clock that is set forward looks the same; it
		// costs activations that come back.
		took := max(now.Sub(last), now.Round(0).Sub(last.Round(0)))
		last = now
		d.note(now, took-pauseTick)
		if took-pauseTick > limit() {
			paused(took)
		}
	}
}
