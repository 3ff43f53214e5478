package clock

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// storeClock is a store's clock that is off by a while and takes its time.
type storeClock struct {
	journal.Store
	mu         sync.Mutex
	off        time.Duration
	there, way time.Duration
	err        error
}

func (s *storeClock) set(off time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off, s.err = off, err
}

func (s *storeClock) Now(context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	time.Sleep(s.there)
	now := time.Now().Add(s.off)
	time.Sleep(s.way)
	return now, s.err
}

func clockBubble(t *testing.T, s *storeClock, local func() time.Time, f func(c *Clock)) {
	bubble.Test(t, func(t *testing.T) {
		c := New(Config{Store: s, Local: local, Logger: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		defer c.Follow(ctx)()
		defer stop()
		f(c)
	})
}

func differsBy(t *testing.T, c *Clock, off, most time.Duration) {
	t.Helper()
	if got := time.Until(c.Now()) - off; got.Abs() > most {
		t.Fatalf("the clock differs from the store's by %v, at most %v", got, most)
	}
}

func TestClockShowsTheStoresTime(t *testing.T) {
	s := &storeClock{off: 7 * time.Second, there: 3 * time.Millisecond, way: time.Millisecond}
	slow := func() time.Time { return time.Now().Add(-10 * time.Second) }
	clockBubble(t, s, slow, func(c *Clock) {
		differsBy(t, c, 7*time.Second, 2*time.Millisecond)
		time.Sleep(time.Minute)
		differsBy(t, c, 7*time.Second, 2*time.Millisecond)
	})
}

// Two servers whose clocks differ by 20 s agree.
func TestClocksOfServersAgree(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var clocks []*Clock
		ctx, stop := context.WithCancel(t.Context())
		for _, off := range []time.Duration{-10 * time.Second, 10 * time.Second} {
			c := New(Config{Store: journal.NewMemory(), Local: func() time.Time { return time.Now().Add(off) }})
			defer c.Follow(ctx)()
			clocks = append(clocks, c)
		}
		defer stop()
		if d := clocks[0].Now().Sub(clocks[1].Now()); d.Abs() > time.Millisecond {
			t.Errorf("two clocks of one store differ by %v", d)
		}
	})
}

func TestClockIsMadeUpForSlowlyAndNeverGoesBack(t *testing.T) {
	s := &storeClock{}
	clockBubble(t, s, nil, func(c *Clock) {
		before := c.Now()
		s.set(-3*time.Second, nil)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			now := c.Now()
			if d := now.Sub(before); d < 89*time.Millisecond || d > 101*time.Millisecond {
				t.Fatalf("the clock went on by %v in 100 ms", d)
			}
			before = now
		}
		differsBy(t, c, -3*time.Second, time.Millisecond)
	})
}

func TestClockStepsForwardOverALongTime(t *testing.T) {
	s := &storeClock{}
	clockBubble(t, s, nil, func(c *Clock) {
		c.Now()
		s.set(time.Minute, nil)
		time.Sleep(11 * time.Second)
		differsBy(t, c, time.Minute, time.Millisecond)
	})
}

func TestClockGoesOnWithoutItsStore(t *testing.T) {
	s := &storeClock{err: errors.New("down")}
	clockBubble(t, s, nil, func(c *Clock) {
		differsBy(t, c, 0, time.Millisecond)
		s.set(2*time.Second, nil)
		time.Sleep(1500 * time.Millisecond)
		differsBy(t, c, 2*time.Second, time.Millisecond)
		s.set(2*time.Second, errors.New("down again"))
		time.Sleep(time.Hour)
		differsBy(t, c, 2*time.Second, time.Millisecond)
	})
}

// Whatever the store says and whenever it is asked, no reading is before an
// earlier one, and time passes at no less than nine tenths of its pace.
func TestClockNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		local := time.Unix(1_900_000_000, 0)
		c := New(Config{Local: func() time.Time { return local }, Logger: slog.New(slog.DiscardHandler)})
		last, lastAt := c.Now(), local
		for range rapid.IntRange(1, 50).Draw(t, "turns") {
			local = local.Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "passes")))
			if rapid.Bool().Draw(t, "measured") {
				off := time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "off"))
				trip := time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "trip"))
				c.set(reading{at: local.Add(off), elapsed: local.Sub(c.base), trip: trip})
			}
			now := c.Now()
			if now.Before(last) || now.Sub(last) < local.Sub(lastAt)*9/10 {
				t.Fatalf("%v after %v the clock shows %v, it showed %v", local.Sub(lastAt), lastAt, now, last)
			}
			last, lastAt = now, local
		}
	})
}
