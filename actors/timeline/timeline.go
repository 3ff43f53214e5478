// Package timeline decides what time it is for what is stored: engine time, which
// goes on as true time does, whatever wall clocks are set to.
//
// Data flow: the server's monotonic clock, the store's wall clock and what the
// servers kept in the store → Line.Read → engine time, and what to keep.
//
// Rules:
//
//	E1  Once it has been read, engine time never goes back, and it goes on at the
//	    pace of the monotonic clock, but for a thousandth.
//	E2  While a server lives, a wall clock that is set changes nothing. Each
//	    server keeps how far it has come, and takes over what another one kept
//	    that has come farther: one that was suspended catches up, with a record
//	    that is as old as the others could not reach the store. What it has taken
//	    up before counts from too early a time, by so much.
//	    What is stored may have come farther than any record, of a server that was
//	    killed before it kept how far it was: who reads it goes on from there, else
//	    nothing would come due for what is stored until this clock is as far.
//	E3  The time in which no server was there counts, by the store's wall clock,
//	    and only if it went forward. A server that begins finds out first whether
//	    others are there: nothing is stored before Known.
//	E4  What the wall clock is ahead of engine time is kept for each span
//	    between two steps, so that both can be told from each other, also of what
//	    is long past.
//	E5  Of two moments of one wall clock the later one never has the earlier
//	    engine time: what waits for the wall clock comes late rather than never.
//
// Imports nothing.
package timeline

import (
	"slices"
	"time"
)

const (
	// Every is the time between two readings.
	Every = time.Second
	// OthersWithin is how long a server that begins waits for a sign of others, if
	// the time that was kept is older than it is where others keep it.
	OthersWithin = 1500 * time.Millisecond
	// StepFrom is the least difference that is a step. A smaller one is made up
	// for.
	StepFrom = time.Second
	// pace: a difference is made up for in so many times its length.
	pace = 1000
	// keepAloneEvery is how often a server that has the store for itself keeps its
	// time: it is for its next start.
	keepAloneEvery = time.Minute
	// stepsMax bounds the steps that are known: the oldest are forgotten.
	stepsMax = 1000
)

// Step begins a span in which the wall clock is ahead of engine time by so much.
type Step struct {
	From  time.Time     `json:"from"`
	Ahead time.Duration `json:"ahead"`
}

// Record is what the servers of a store keep.
type Record struct {
	// Engine is the farthest that a server had come when the store's wall clock
	// showed Wall.
	Engine time.Time `json:"engine"`
	Wall   time.Time `json:"wall"`
	Steps  []Step    `json:"steps,omitempty"`
}

// Reading is what was seen of the store at one moment.
type Reading struct {
	// Elapsed is the monotonic time of the moment, give or take half of Trip.
	Elapsed, Trip time.Duration
	// Wall is the store's wall clock.
	Wall time.Time
	// Version of the record; 0 if none was kept yet.
	Version uint64
	Record  Record
	// Alone: no other server has the store.
	Alone bool
}

// Found is what a reading tells.
type Found struct {
	// Keep is to be kept in place of the record that was read; nil for nothing. A
	// step that is found is in it, and counts when it was read from there.
	Keep *Record
	// Steps are those that were not known before.
	Steps []Step
	// Behind is by how much this server's clock had stood still.
	Behind time.Duration
}

// Line is engine time as one server has it. The zero value is not ready: use
// New. It is not safe for concurrent use.
type Line struct {
	// It was at when elapsed was since; slew was to be made up for from then on.
	at    time.Time
	since time.Duration
	slew  time.Duration
	steps []Step
	// known: the beginning is over. Until then waits is the version of the record
	// that was read first, at waitsSince, and last at waitsSeen.
	known      bool
	waits      uint64
	waitsSince time.Duration
	waitsSeen  time.Duration
	// kept is when a server that is alone kept its time last.
	kept time.Duration
}

// New makes a Line that shows a time until the store was read.
func New(at time.Time, elapsed time.Duration) *Line {
	return &Line{at: at.Round(0), since: elapsed}
}

// Known says whether the beginning is over: that the line has been read, and does
// not wait for others. A nil one has not begun.
func (l *Line) Known() bool { return l != nil && l.known }

// Now is engine time at a monotonic time. Two readers may come in another order
// than they read the monotonic clock in: the later one counts.
func (l *Line) Now(elapsed time.Duration) time.Time {
	d := elapsed - l.since
	if d <= 0 {
		return l.at
	}
	made := min(l.slew.Abs(), d/pace)
	if l.slew < 0 {
		made = -made
	}
	l.at, l.since, l.slew = l.at.Add(d+made), elapsed, l.slew-made
	return l.at
}

// Read takes a reading.
func (l *Line) Read(r Reading) (f Found) {
	mine := l.at.Add(r.Elapsed - l.since)
	if l.since < r.Elapsed {
		mine = l.Now(r.Elapsed)
	}
	engine, sure := l.engine(r, mine)
	if !sure {
		return f
	}
	if behind := r.Record.Engine.Sub(mine); l.known && behind >= StepFrom {
		f.Behind = behind
	}
	begins := !l.known
	l.at, l.known = l.at.Add(engine.Sub(mine)), true
	f.Steps = l.learn(r.Record.Steps, begins)
	steps := l.step(r, engine)
	if !r.Alone || begins || len(steps) > len(l.steps) || r.Elapsed-l.kept >= keepAloneEvery {
		l.kept = r.Elapsed
		f.Keep = &Record{Engine: engine, Wall: r.Wall, Steps: steps[max(0, len(steps)-stepsMax):]}
	}
	return f
}

// Seen takes note of an engine time that something stored has: a server has come that
// far. It returns by how much this one was behind, if it takes that over, else 0: less
// than StepFrom is what two servers may differ by.
func (l *Line) Seen(at time.Time, elapsed time.Duration) (behind time.Duration) {
	if behind = at.Sub(l.Now(elapsed)); !l.known || behind < StepFrom {
		return 0
	}
	l.at = at
	return behind
}

// engine is engine time at a reading, of which this line has its own idea; not sure
// while it waits for a sign of others.
func (l *Line) engine(r Reading, mine time.Time) (at time.Time, sure bool) {
	waits := l.waits != 0
	switch {
	case l.known:
		return later(mine, r.Record.Engine), true
	case waits && l.waits != r.Version:
		// What another one kept is younger than the last look at what was there.
		age := min(max(0, r.Wall.Sub(r.Record.Wall)), r.Elapsed-l.waitsSeen)
		return later(mine, r.Record.Engine.Add(age)), true
	case r.Version == 0:
		return r.Wall, true
	case r.Alone || !waits && r.Wall.Sub(r.Record.Wall).Abs() < OthersWithin || waits && r.Elapsed-l.waitsSince >= OthersWithin:
		at = r.Record.Engine.Add(max(0, r.Wall.Sub(r.Record.Wall)))
		if waits {
			at = later(mine, at)
		}
		return at, true
	case !waits:
		// If others live, they have gone on from here; else the time without them
		// is added when that is sure.
		l.waits, l.waitsSince = r.Version, r.Elapsed
		l.at, l.since, l.slew, l.steps = r.Record.Engine, r.Elapsed, 0, r.Record.Steps
	}
	l.waitsSeen = r.Elapsed
	return at, false
}

// learn takes over the steps that are kept, and returns those that are new.
func (l *Line) learn(kept []Step, begins bool) (fresh []Step) {
	for _, s := range kept {
		if !begins && s.From.After(l.lastStep().From) {
			fresh = append(fresh, s)
		}
	}
	l.steps = kept
	return fresh
}

// step returns the steps with what a reading adds to them. A smaller difference
// is made up for.
func (l *Line) step(r Reading, engine time.Time) []Step {
	off := r.Wall.Sub(engine) - l.lastStep().Ahead
	l.slew = 0
	switch {
	case off.Abs() >= StepFrom+r.Trip/2:
		return append(slices.Clone(l.steps), Step{From: engine, Ahead: r.Wall.Sub(engine)})
	case off.Abs() > r.Trip/2:
		l.slew = off
	}
	return l.steps
}

func (l *Line) lastStep() Step {
	if n := len(l.steps); n > 0 {
		return l.steps[n-1]
	}
	return Step{}
}

// Last is what a server that ends keeps; nil if it has not begun.
func (l *Line) Last(r Reading) *Record {
	f := l.Read(r)
	if f.Keep == nil && l.known {
		f.Keep = &Record{Engine: l.Now(r.Elapsed), Wall: r.Wall, Steps: l.steps}
	}
	return f.Keep
}

// Steps are the steps of the wall clock that are known. The slice is not changed
// any more.
func (l *Line) Steps() []Step { return l.steps }

// Wall is what the wall clock showed, or will show, at an engine time, if these
// are its steps. The zero time stays zero.
func Wall(steps []Step, engine time.Time) time.Time {
	for i := len(steps) - 1; i >= 0 && !engine.IsZero(); i-- {
		if !engine.Before(steps[i].From) {
			return engine.Add(steps[i].Ahead)
		}
	}
	return engine
}

// Engine is the first engine time at which the wall clock showed a time, or a
// later one. The zero time stays zero.
func Engine(steps []Step, wall time.Time) time.Time {
	ahead := time.Duration(0)
	for _, s := range steps {
		if wall.IsZero() || wall.Add(-ahead).Before(s.From) {
			break
		}
		if ahead = s.Ahead; wall.Add(-ahead).Before(s.From) {
			return s.From
		}
	}
	if wall.IsZero() {
		return wall
	}
	return wall.Add(-ahead)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
