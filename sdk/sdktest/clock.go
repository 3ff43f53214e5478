package sdktest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// The clock of the engine is the machine's, and ahead of it by what the test has
// moved it on. All that waits for the journal's time goes by it, the server's. What
// says whether somebody lives does not: heartbeats, leases, probes, and what a
// process does by itself, as the pauses between two tries of a Do.

const (
	// restWithin is how long Advance waits for what goes on.
	restWithin = 10 * time.Second
	// queuedFor is how long what waits for a worker or a slot has to wait until
	// Advance believes that none comes.
	queuedFor = 500 * time.Millisecond
	// restInterval is how often is looked.
	restInterval = time.Millisecond
)

// Now is the time by which runs wait. A time to sleep until counts from this one
// after an Advance, not from time.Now.
func (e *Engine) Now() time.Time { return e.running().Now() }

// Advance moves the engine's clock on, from one time that something is due at to the
// next: the end of a wait, a retry's back-off, a schedule timeout, a patience. Each
// happens at its time and in order, and what follows from it, too, before the clock
// moves on. So it takes milliseconds, however long d is; the time itself goes on
// besides.
//
// The clock moves only while nothing else goes on: each step waits in a call, or has
// ended. Advance waits for that, moves on by d from then, and returns when it is so
// again. What a step or a test does outside of the engine it cannot see.
//
// Heartbeats and leases go by the machine's clock: no worker is taken for dead. So do
// the pauses between the tries of a Do, and time.Now in a step.
//
// Errors: UNAVAILABLE, saying what goes on, if something does for 10 s; the clock may
// have moved on by a part of d then.
func (e *Engine) Advance(ctx context.Context, d time.Duration) error {
	e.advancing.Lock()
	defer e.advancing.Unlock()
	var to time.Time
	for {
		next, err := e.untilRest(ctx)
		if err != nil {
			return err
		}
		if to.IsZero() {
			to = e.Now().Add(d)
		}
		now := e.Now()
		if next.IsZero() || next.After(to) {
			e.move(to.Sub(now))
			return nil
		}
		e.move(next.Sub(now))
	}
}

func (e *Engine) move(d time.Duration) {
	if d > 0 {
		e.clock.ahead.Add(int64(d))
		e.running().ClockMoved()
	}
}

// untilRest waits until nothing but time goes on, and returns when that does
// something. Runs are asked one after the other: they have to be found so twice with
// nothing stored in between.
func (e *Engine) untilRest(ctx context.Context) (next time.Time, err error) {
	began, found, stored := time.Now(), time.Time{}, int64(-1)
	for {
		appends := e.clock.appends.Load()
		rest, err := e.running().Rest()
		if err != nil {
			return next, err
		}
		switch {
		case rest.Busy != "" || appends != stored:
			found = time.Now()
		case !rest.Queued || time.Since(found) >= queuedFor:
			return rest.Next, nil
		}
		if stored = appends; rest.Busy != "" {
			stored = -1
		}
		if rest.Busy != "" && time.Since(began) >= restWithin {
			return next, messages.Errorf(messages.CodeUnavailable, "the clock is not moved while steps are executed, for %v now: %s; move it once they wait or have ended", restWithin, rest.Busy)
		}
		if backoff.Sleep(ctx, restInterval) != nil {
			return next, context.Cause(ctx)
		}
	}
}

// movedStore is the store as servers see it whose clock a test moves on.
type movedStore struct {
	journal.Store
	ahead   atomic.Int64
	appends atomic.Int64

	mu sync.Mutex
	// notedAhead is what the clock was ahead by when presence was noted last.
	notedAhead time.Duration
}

func (s *movedStore) local() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// Commits is as many as the store's.
func (s *movedStore) Commits() int {
	if c, ok := s.Store.(interface{ Commits() int }); ok {
		return c.Commits()
	}
	return 1
}

// Append counts.
func (s *movedStore) Append(ctx context.Context, batch []journal.Append) []error {
	defer s.appends.Add(1)
	return s.Store.Append(ctx, batch)
}

// Now is ahead.
func (s *movedStore) Now(ctx context.Context) (time.Time, error) {
	at, err := s.Store.Now(ctx)
	return at.Add(time.Duration(s.ahead.Load())), err
}

// Time is, too.
func (s *movedStore) Time(ctx context.Context) (time.Time, journal.KeptTime, error) {
	at, kept, err := s.Store.Time(ctx)
	return at.Add(time.Duration(s.ahead.Load())), kept, err
}

// NotePresence does not take the time that was skipped for one without a server.
func (s *movedStore) NotePresence(ctx context.Context, at time.Time, gap time.Duration) ([]journal.Presence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ahead := time.Duration(s.ahead.Load())
	list, err := s.Store.NotePresence(ctx, at, gap+ahead-s.notedAhead)
	if err == nil {
		s.notedAhead = ahead
	}
	return list, err
}
