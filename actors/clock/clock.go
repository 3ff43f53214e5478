// Package clock tells the time of what is stored: engine time, the same on all
// servers of a store, which no wall clock that is set changes.
//
// Data flow: Store.Time and the local monotonic clock → timeline.Line → Now, Until;
// what the line keeps → Store.KeepTime.
//
// Rules: those of package timeline. A step is logged and counted by each server.
//
// Imports only cluster/backoff, cluster/notify, journal, messages and timeline.
package clock

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/timeline"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cluster/notify"
	"github.com/limpetrun/limpet/messages"
)

// StepSaid is what the log says of each step.
const StepSaid = "the wall clock of the journal's machine was set, or the machine was suspended; what waits does not count that"

// Config configures a Clock. Zero fields take their defaults.
type Config struct {
	// Store whose time is followed. nil: the local clock as it is at the
	// start, advanced by the monotonic one.
	Store journal.Store
	// Local is the node's clock; differences of two readings are true spans.
	// Defaults to time.Now, with its monotonic reading.
	Local func() time.Time
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// Clock tells engine time: of what is stored, or compared with what is stored.
// It is the same on all servers of a store, but for some milliseconds.
//
// A nil Clock is the local one. It is safe for concurrent use.
type Clock struct {
	cfg  Config
	base time.Time // of local, for its monotonic reading

	mu    sync.Mutex
	line  *timeline.Line
	steps int

	moved notify.Hooks[struct{}]
}

const (
	// tries is how many readings make a measurement at most: the quickest counts.
	tries = 8
	// quick is an answer that needs no better one: it is wrong by half of it at most.
	// On a busy machine one reading may take a second, and the next one a millisecond.
	quick = 5 * time.Millisecond
	// within is how long the store may take to say its time: half of it
	// is how wrong the answer may be.
	within = time.Second
	// measureWithin is how long a measurement may take.
	measureWithin = 3 * within / 2
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
	return &Clock{cfg: c, base: base, line: timeline.New(base, 0)}
}

func (c *Clock) elapsed() time.Duration { return c.cfg.Local().Sub(c.base) }

// Now is the present engine time, without a monotonic reading.
func (c *Clock) Now() time.Time {
	if c == nil {
		return time.Now()
	}
	elapsed := c.elapsed()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line.Now(elapsed)
}

// Until is the time from now to t.
func (c *Clock) Until(t time.Time) time.Duration {
	if c == nil {
		return time.Until(t)
	}
	return t.Sub(c.Now())
}

// OnMoved adds a function that is called after the clock went on by more than time
// did: who sleeps until some engine time sleeps too long then.
func (c *Clock) OnMoved(f func()) (cancel func()) {
	if c == nil {
		return func() {}
	}
	return c.moved.Add(func(struct{}) { f() })
}

// Moved says that Config.Local was moved on.
func (c *Clock) Moved() { c.moved.Call(struct{}{}) }

// Steps is how many steps of the store's wall clock this server has seen.
func (c *Clock) Steps() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.steps
}

// ToWall returns what tells the wall clock's time from engine time; nil while the
// two are the same.
func (c *Clock) ToWall() func(engine time.Time) time.Time {
	if steps := c.lineSteps(); len(steps) > 0 {
		return func(t time.Time) time.Time { return timeline.Wall(steps, t) }
	}
	return nil
}

// ToEngine is the inverse of ToWall.
func (c *Clock) ToEngine() func(wall time.Time) time.Time {
	if steps := c.lineSteps(); len(steps) > 0 {
		return func(t time.Time) time.Time { return timeline.Engine(steps, t) }
	}
	return nil
}

func (c *Clock) lineSteps() []timeline.Step {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line.Steps()
}

// beginWithin is how long the store may take to say its time for the first time.
const beginWithin = 10 * time.Second

// Begin sets the clock by the store's, which takes 1.5 s if all servers were away
// and others may have the store. A server does not begin before that: what it stores
// would have another time. Errors: JOURNAL_UNAVAILABLE.
func (c *Clock) Begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beginWithin)
	defer cancel()
	for c.measure(ctx); !c.known(); c.measure(ctx) {
		if backoff.Sleep(ctx, timeline.OthersWithin/3) != nil {
			return messages.Errorf(messages.CodeJournalUnavailable, "the journal has not said its time within %s; is it out of reach, or slow?", beginWithin)
		}
	}
	return nil
}

// Follow sets the clock by the store's, before it returns if the store answers
// within a second or two, and then now and then until ctx ends: wait returns
// when it has, and has kept how far it came.
func (c *Clock) Follow(ctx context.Context) (wait func()) {
	if c == nil || c.cfg.Store == nil {
		return func() {}
	}
	c.measure(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for backoff.Sleep(ctx, timeline.Every) == nil {
			c.measure(ctx)
		}
		c.keepLast(context.WithoutCancel(ctx))
	}()
	return func() { <-done }
}

func (c *Clock) known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line.Known()
}

// measure asks the store until it answers quickly, and takes the quickest answer.
func (c *Clock) measure(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, measureWithin)
	defer cancel()
	var best *timeline.Reading
	for i := 0; i < tries && (best == nil || best.Trip > quick); i++ {
		r, err := c.read(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.cfg.Logger.Warn("the journal does not say its time; the clock goes on by itself", "error", err)
			}
			break
		}
		if r.Trip <= within && (best == nil || r.Trip < best.Trip) {
			best = r
		}
	}
	if best != nil {
		c.take(ctx, *best)
	}
}

func (c *Clock) read(ctx context.Context) (*timeline.Reading, error) {
	asked := c.elapsed()
	wall, kept, err := c.cfg.Store.Time(ctx)
	if err != nil {
		return nil, err
	}
	trip := c.elapsed() - asked
	r := &timeline.Reading{Elapsed: asked + trip/2, Trip: trip, Wall: wall.Round(0), Version: kept.Version, Alone: kept.Alone}
	if kept.Version != 0 {
		err = json.Unmarshal(kept.Data, &r.Record)
	}
	return r, err
}

// take gives a reading to the line, and does what follows from it.
func (c *Clock) take(ctx context.Context, r timeline.Reading) {
	c.mu.Lock()
	before := c.line.Steps()
	found := c.line.Read(r)
	c.steps += len(found.Steps)
	count := c.steps
	c.mu.Unlock()
	c.caughtUp(found.Behind, "the clock of this server stood still, and takes over that of another one")
	if found.Keep != nil {
		c.keep(ctx, r.Version, found.Keep)
	}
	ahead := time.Duration(0)
	if n := len(before); n > 0 {
		ahead = before[n-1].Ahead
	}
	for _, s := range found.Steps {
		c.cfg.Logger.Warn(StepSaid,
			"by", (s.Ahead - ahead).Round(time.Millisecond), "steps", count)
		ahead = s.Ahead
	}
}

// Seen says that something stored is of an engine time. A clock that is behind it by a
// second or more goes on from there.
func (c *Clock) Seen(at time.Time) {
	if c == nil {
		return
	}
	elapsed := c.elapsed()
	c.mu.Lock()
	behind := c.line.Seen(at, elapsed)
	c.mu.Unlock()
	c.caughtUp(behind, "the clock of this server was behind what is stored, and goes on from there")
}

// caughtUp says and tells that the clock was behind by so much, if it was.
func (c *Clock) caughtUp(behind time.Duration, what string) {
	if behind <= 0 {
		return
	}
	c.cfg.Logger.Warn(what, "for", behind.Round(time.Millisecond))
	c.Moved()
}

// keep has the store remember. Another server may have come in between: then that
// has told how far it is.
func (c *Clock) keep(ctx context.Context, read uint64, r *timeline.Record) {
	data, err := json.Marshal(r)
	if err == nil {
		_, err = c.cfg.Store.KeepTime(ctx, journal.KeptTime{Version: read + 1, Data: data})
	}
	if err != nil && ctx.Err() == nil {
		c.cfg.Logger.Warn("the journal does not keep the time; it is tried again", "error", err)
	}
}

func (c *Clock) keepLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r, err := c.read(ctx)
	if err != nil {
		return
	}
	c.mu.Lock()
	last := c.line.Last(*r)
	c.mu.Unlock()
	if last != nil {
		c.keep(ctx, r.Version, last)
	}
}
