package clock

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// A clock that is behind what is stored goes on from there, and tells who sleeps; one
// that is not says nothing.
func TestClockGoesOnFromWhatIsStored(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, stop := newStoreClock(0).follow(t, nil)
		defer stop()
		told := 0
		defer c.OnMoved(func() { told++ })()
		c.Seen(c.Now().Add(-time.Hour))
		if differsBy(t, c, 0, time.Millisecond); told != 0 {
			t.Error("told of an old entry")
		}
		c.Seen(c.Now().Add(time.Minute))
		if differsBy(t, c, time.Minute, time.Millisecond); told != 1 {
			t.Errorf("told %d times", told)
		}
		time.Sleep(time.Minute)
		differsBy(t, c, time.Minute, 100*time.Millisecond)
		(*Clock)(nil).Seen(time.Now())
	})
}

// storeClock is a store whose wall clock is off by a while, and which takes its
// time.
type storeClock struct {
	*journal.Memory
	mu         sync.Mutex
	off        time.Duration
	there, way time.Duration
	// slow is how many of the next answers take their way only after stalls.
	slow   int
	stalls time.Duration
	err    error
}

func newStoreClock(off time.Duration) *storeClock {
	return &storeClock{Memory: journal.NewMemory(), off: off}
}

func (s *storeClock) set(off time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off, s.err = off, err
}

func (s *storeClock) Time(ctx context.Context) (time.Time, journal.KeptTime, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	time.Sleep(s.there)
	if s.slow > 0 {
		s.slow--
		time.Sleep(s.stalls)
	}
	now := time.Now().Add(s.off)
	_, kept, _ := s.Memory.Time(ctx)
	time.Sleep(s.way)
	return now, kept, s.err
}

func (s *storeClock) follow(t *testing.T, local func() time.Time) (c *Clock, stop func()) {
	c = New(Config{Store: s, Local: local, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	wait := c.Follow(ctx)
	return c, func() { cancel(); wait() }
}

func differsBy(t *testing.T, c *Clock, off, most time.Duration) {
	t.Helper()
	if got := time.Until(c.Now()) - off; got.Abs() > most {
		t.Fatalf("the clock differs by %v from what it should show, at most by %v", got, most)
	}
}

func TestClockBeginsWithTheStoresTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStoreClock(7 * time.Second)
		s.there, s.way = 3*time.Millisecond, time.Millisecond
		c, stop := s.follow(t, func() time.Time { return time.Now().Add(-10 * time.Second) })
		defer stop()
		differsBy(t, c, 7*time.Second, 2*time.Millisecond)
		time.Sleep(time.Minute)
		differsBy(t, c, 7*time.Second, 5*time.Millisecond)
	})
}

// On a busy machine some answers take long: they say little of when the store said
// its time, so the clock asks on until one comes quickly.
func TestASlowAnswerIsNotTaken(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStoreClock(7 * time.Second)
		s.way, s.slow, s.stalls = time.Millisecond, 4, 300*time.Millisecond
		c, stop := s.follow(t, nil)
		defer stop()
		differsBy(t, c, 7*time.Second, time.Millisecond)
		// Nor is it kept: the next server begins by what this one keeps.
		s.mu.Lock()
		s.slow = 4
		s.mu.Unlock()
		time.Sleep(3 * time.Second)
		stop()
		time.Sleep(time.Minute)
		c, stop = s.follow(t, nil)
		defer stop()
		time.Sleep(3 * time.Second)
		differsBy(t, c, 7*time.Second, 2*time.Millisecond)
	})
}

// Two servers whose clocks differ by 20 s agree, also when that of the store is
// set, and after both were away.
func TestClocksOfServersAgree(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStoreClock(0)
		start := func() (clocks []*Clock, stop func()) {
			var stops []func()
			for _, off := range []time.Duration{-10 * time.Second, 10 * time.Second} {
				c, stop := s.follow(t, func() time.Time { return time.Now().Add(off) })
				clocks, stops = append(clocks, c), append(stops, stop)
			}
			return clocks, func() { stops[0](); stops[1]() }
		}
		for _, off := range []time.Duration{0, time.Hour, time.Hour} {
			clocks, stop := start()
			time.Sleep(5 * time.Second)
			s.set(off, nil)
			time.Sleep(5 * time.Second)
			for _, c := range clocks {
				differsBy(t, c, 0, 5*time.Millisecond)
			}
			stop()
			time.Sleep(time.Minute)
		}
	})
}

func TestAWallClockThatIsSetChangesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStoreClock(0)
		c, stop := s.follow(t, nil)
		defer stop()
		for _, off := range []time.Duration{time.Hour, -time.Hour, 30 * 24 * time.Hour} {
			s.set(off, nil)
			for range 100 {
				before := c.Now()
				time.Sleep(100 * time.Millisecond)
				if d := c.Now().Sub(before); d != 100*time.Millisecond {
					t.Fatalf("the clock went on by %v in 100 ms", d)
				}
			}
			differsBy(t, c, 0, time.Millisecond)
			if got := time.Until(c.ToWall()(c.Now())); (got - off).Abs() > time.Millisecond {
				t.Errorf("the wall clock is said to be off by %v, it is by %v", got, off)
			}
			if got := time.Until(c.ToEngine()(time.Now().Add(off))); got > time.Millisecond || off > 0 && got < -time.Millisecond {
				t.Errorf("what the wall clock shows now is said to come in %v", got)
			}
		}
		if c.Steps() != 3 {
			t.Errorf("%d steps were counted", c.Steps())
		}
	})
}

func TestClockGoesOnWithoutItsStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStoreClock(0)
		s.err = errors.New("down")
		c, stop := s.follow(t, nil)
		defer stop()
		differsBy(t, c, 0, time.Millisecond)
		s.set(2*time.Second, nil)
		time.Sleep(1500 * time.Millisecond)
		differsBy(t, c, 2*time.Second, time.Millisecond)
		s.set(time.Hour, errors.New("down again"))
		time.Sleep(time.Hour)
		differsBy(t, c, 2*time.Second, time.Millisecond)
	})
}

// A server that stood still takes over another one's time: who sleeps until some
// time is told.
func TestWhoSleepsIsToldWhenTheClockCatchesUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, stands := newStoreClock(0), atomic.Pointer[time.Time]{}
		_, stop := s.follow(t, nil)
		defer stop()
		c, stopSleeper := s.follow(t, func() time.Time {
			if at := stands.Load(); at != nil {
				return *at
			}
			return time.Now()
		})
		defer stopSleeper()
		told := make(chan time.Time, 10)
		defer c.OnMoved(func() { told <- c.Now() })()
		time.Sleep(5 * time.Second)
		select {
		case at := <-told:
			t.Errorf("told at %v of nothing", at)
		default:
		}
		now := time.Now()
		stands.Store(&now)
		if at := <-told; time.Until(at).Abs() > 2*time.Second {
			t.Errorf("told with the clock off by %v", time.Until(at))
		}
	})
}
