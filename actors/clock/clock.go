// Package clock tells the time of what is stored: a Clock follows that of the
// store, so that all servers of a store have the same.
//
// Data flow: Store.Now and the local monotonic clock → Clock → Now, Until.
//
// Rules: a Clock never goes back; a wall clock that is set on this machine does not
// change it.
//
// Imports only journal.
package clock

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/backoff"
)

// Config configures a Clock. Zero fields take their defaults.
type Config struct {
	// Store whose clock is followed. nil: the local clock as it is at the
	// start, advanced by the monotonic one.
	Store journal.Store
	// Local is the node's clock. Defaults to time.Now.
	Local func() time.Time
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// Clock tells the time of what is stored, or compared with what is stored. It is
// the same on all servers of a store, but for some milliseconds.
//
//   - It follows the store's clock, and the local monotonic one in between.
//   - It never goes back.
//   - A wall clock that is set on this machine does not change it.
//   - A wall clock that is set on the store's machine does. A difference of a
//     second or more ahead is taken over at once. Any other is made up for at a
//     tenth of its pace.
//
// A nil Clock is the local one. It is safe for concurrent use.
type Clock struct {
	cfg  Config
	base time.Time // of local, for its monotonic reading

	mu sync.Mutex
	// The clock was at at when since had passed from base; slew is what was
	// to be made up for from then on.
	at       time.Time
	since    time.Duration
	slew     time.Duration
	measured bool
	told     bool // Now was called
}

const (
	// every is the time between two measurements of the store's clock.
	every = 10 * time.Second
	// againAfter is the wait after the store did not say its time.
	againAfter = time.Second
	// tries is how many readings make a measurement: the quickest counts.
	tries = 3
	// within is how long the store may take to say its time: half of it
	// is how wrong the answer may be.
	within = time.Second
	// stepFrom is the least difference over which the clock steps forward.
	stepFrom = time.Second
	// pace: a difference is made up for in so many times its length.
	pace = 10
)

// New makes a clock that shows the local time until it has seen the
// store's, by Follow.
func New(c Config) *Clock {
	if c.Local == nil {
		c.Local = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	base := c.Local()
	return &Clock{cfg: c, base: base, at: base.Round(0)}
}

// Now is the present time, without a monotonic reading.
func (c *Clock) Now() time.Time {
	if c == nil {
		return time.Now()
	}
	elapsed := c.cfg.Local().Sub(c.base)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = true
	return c.advance(elapsed)
}

// Until is the time from now to t.
func (c *Clock) Until(t time.Time) time.Duration {
	if c == nil {
		return time.Until(t)
	}
	return t.Sub(c.Now())
}

// advance moves the clock to a local reading. Two readers may come in another
// order than they read in: the later one counts. Called with mu held.
func (c *Clock) advance(elapsed time.Duration) time.Time {
	d := elapsed - c.since
	if d <= 0 {
		return c.at
	}
	made := min(c.slew.Abs(), d/pace)
	if c.slew < 0 {
		made = -made
	}
	c.at, c.since, c.slew = c.at.Add(d+made), elapsed, c.slew-made
	return c.at
}

// Follow sets the clock by the store's, before it returns if the store answers
// within a second or two, and then now and then until ctx ends: wait returns
// when it has.
func (c *Clock) Follow(ctx context.Context) (wait func()) {
	if c == nil || c.cfg.Store == nil {
		return func() {}
	}
	ok := c.measure(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			pause := every
			if !ok {
				pause = againAfter
			}
			if backoff.Sleep(ctx, pause) != nil {
				return
			}
			ok = c.measure(ctx)
		}
	}()
	return func() { <-done }
}

// measure asks the store a few times; false if it did not answer in time.
func (c *Clock) measure(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, tries*within/2)
	defer cancel()
	best, ok := reading{}, false
	for range tries {
		r, err := c.read(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.cfg.Logger.Warn("the journal does not say its time; the local clock goes on", "error", err)
			}
			break
		}
		if r.trip <= within && (!ok || r.trip < best.trip) {
			best, ok = r, true
		}
	}
	if ok {
		c.set(best)
	}
	return ok
}

// reading says that the store's clock showed a time when so much had
// passed here, give or take half of the trip.
type reading struct {
	at      time.Time
	elapsed time.Duration
	trip    time.Duration
}

func (c *Clock) read(ctx context.Context) (reading, error) {
	asked := c.cfg.Local().Sub(c.base)
	at, err := c.cfg.Store.Now(ctx)
	trip := c.cfg.Local().Sub(c.base) - asked
	return reading{at: at.Round(0), elapsed: asked + trip/2, trip: trip}, err
}

// set takes a reading over: at once if nobody has seen the clock yet.
func (c *Clock) set(r reading) {
	c.mu.Lock()
	elapsed := max(c.cfg.Local().Sub(c.base), c.since)
	now := c.advance(elapsed)
	off := r.at.Add(elapsed - r.elapsed).Sub(now)
	first := !c.measured && !c.told
	c.measured = true
	switch {
	case first || off >= stepFrom:
		c.at, c.slew = now.Add(off), 0
	case off.Abs() > r.trip/2:
		c.slew = off
	default:
		// The reading is no better than the clock.
		c.slew = 0
	}
	c.mu.Unlock()
	if off.Abs() >= stepFrom {
		c.cfg.Logger.Warn("the clock differs from the journal's", "by", off.Round(time.Millisecond), "at once", first || off > 0)
	}
}
