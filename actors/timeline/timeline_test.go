package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Unix(1_900_000_000, 0)

// world is a store and some servers around it, on true time.
type world struct {
	now     time.Duration // true time
	off     time.Duration // of the wall clock
	version uint64
	record  Record
	alone   bool
}

func (w *world) wall() time.Time { return epoch.Add(w.now + w.off) }

// server is a process with a monotonic clock of its own pace.
type server struct {
	w     *world
	line  *Line
	born  time.Duration
	slept time.Duration
	ppm   int64
	steps int
}

func (w *world) start(ppm int64) *server {
	s := &server{w: w, born: w.now, ppm: ppm}
	s.line = New(w.wall(), 0)
	s.read()
	return s
}

func (s *server) elapsed() time.Duration {
	d := s.w.now - s.born - s.slept
	return d + d*time.Duration(s.ppm)/1_000_000
}

func (s *server) now() time.Time { return s.line.Now(s.elapsed()) }

func (s *server) reading() Reading {
	return Reading{Elapsed: s.elapsed(), Wall: s.w.wall(), Version: s.w.version, Record: s.w.record, Alone: s.w.alone}
}

func (s *server) keep(r *Record) {
	if r != nil {
		s.w.version, s.w.record = s.w.version+1, *r
	}
}

func (s *server) read() Found {
	f := s.line.Read(s.reading())
	s.steps += len(f.Steps)
	s.keep(f.Keep)
	return f
}

func (s *server) stop() { s.keep(s.line.Last(s.reading())) }

// runs lets some servers live for a while.
func (w *world) runs(d time.Duration, servers ...*server) {
	for end := w.now + d; w.now < end; {
		w.now += min(Every, end-w.now)
		for _, s := range servers {
			s.read()
		}
	}
}

func (w *world) wants(t *testing.T, s *server, passed time.Duration, since time.Time) {
	t.Helper()
	if got := s.now().Sub(since); (got - passed).Abs() > 2*time.Millisecond {
		t.Errorf("%v have passed, want %v", got, passed)
	}
}

func TestStepsOfTheWallClockAreTakenOut(t *testing.T) {
	for _, alone := range []bool{true, false} {
		w := &world{alone: alone}
		s := w.start(0)
		begin := s.now()
		for _, by := range []time.Duration{time.Hour, -3 * time.Hour, 24 * time.Hour} {
			w.off += by
			w.runs(10*time.Second, s)
		}
		w.wants(t, s, 30*time.Second, begin)
		if s.steps != 3 {
			t.Errorf("%d steps were told", s.steps)
		}
		if got := Wall(s.line.Steps(), s.now()); (got.Sub(w.wall())).Abs() > time.Millisecond {
			t.Errorf("the wall clock shows %v, %v was made of engine time", w.wall(), got)
		}
		// Of what was between two steps the wall clock of then is known.
		if got, want := Wall(s.line.Steps(), begin.Add(5*time.Second)), begin.Add(5*time.Second+time.Hour); (got.Sub(want)).Abs() > time.Second {
			t.Errorf("5 s after the begin the wall clock showed %v, %v was made of it", want, got)
		}
	}
}

// Time in which no server was there counts by the wall clock.
func TestTimeWithoutServersCounts(t *testing.T) {
	for _, alone := range []bool{true, false} {
		w := &world{alone: alone}
		s := w.start(0)
		begin := s.now()
		w.runs(10*time.Second, s)
		s.stop()
		w.now += 5 * time.Minute
		s = w.start(0)
		if alone {
			w.wants(t, s, 5*time.Minute+10*time.Second, begin)
		}
		w.runs(3*time.Second, s)
		w.wants(t, s, 5*time.Minute+13*time.Second, begin)

		// A clock that was set back meanwhile stands still at most.
		s.stop()
		w.off -= time.Hour
		was := s.now()
		s = w.start(0)
		w.runs(3*time.Second, s)
		if d := s.now().Sub(was); d < 2*time.Second || d > 4*time.Second {
			t.Errorf("%v passed after a start with a clock set back", d)
		}
	}
}

// A server that was killed kept its time up to a minute before, and the wall clock was
// set back meanwhile: the next one goes on from the newest entry that it reads. One that
// is behind another one by less than two may differ by changes nothing.
func TestTimeGoesOnFromWhatIsStored(t *testing.T) {
	w := &world{alone: true}
	s := w.start(0)
	begin := s.now()
	if s.line = New(epoch, 0); s.line.Seen(begin.Add(time.Hour), 0) != 0 || s.now().After(begin) {
		t.Error("a time was taken over before the beginning was over")
	}
	s = w.start(0)
	w.runs(50*time.Second, s)
	newest := s.now()
	w.off -= time.Hour
	s = w.start(0)
	if behind := newest.Sub(s.now()); behind < 40*time.Second {
		t.Fatalf("it begins %v behind the newest entry: nothing to test", behind)
	}
	if s.line.Seen(s.now().Add(StepFrom-time.Millisecond), s.elapsed()) != 0 {
		t.Error("it goes on by less than a step")
	}
	if behind := s.line.Seen(newest, s.elapsed()); behind < 40*time.Second || !s.now().Equal(newest) {
		t.Errorf("it was behind by %v, and shows %v", behind, s.now().Sub(newest))
	}
	if s.line.Seen(newest.Add(-time.Hour), s.elapsed()) != 0 || !s.now().Equal(newest) {
		t.Error("an old entry changes it")
	}
	w.runs(10*time.Second, s)
	w.wants(t, s, 60*time.Second, begin)
	// It is kept for the next one, and the wall clock is known.
	w.wants(t, w.start(0), 60*time.Second, begin)
	if got := Wall(s.line.Steps(), s.now()); got.Sub(w.wall()).Abs() > time.Millisecond {
		t.Errorf("the wall clock shows %v, %v was made of engine time", w.wall(), got)
	}
}

// A server that begins while the wall clock of others' store steps does not take
// the step for time without servers.
func TestAStepWhileAServerBegins(t *testing.T) {
	w := &world{}
	a := w.start(0)
	begin := a.now()
	w.runs(10*time.Second, a)
	w.off += time.Hour
	b := w.start(0)
	w.runs(5*time.Second, a, b)
	w.wants(t, a, 15*time.Second, begin)
	w.wants(t, b, 15*time.Second, begin)
}

// Servers that begin together after a time without any have one time, though only
// the first of them knows how long it was, and the others meet what it kept.
func TestServersThatBeginTogetherHaveOneTime(t *testing.T) {
	for apart := time.Duration(0); apart < OthersWithin; apart += 100 * time.Millisecond {
		w := &world{}
		s := w.start(0)
		begin := s.now()
		w.runs(10*time.Second, s)
		s.stop()
		w.now += time.Minute
		a := w.start(0)
		w.now += apart
		b := w.start(0)
		for range 10 { // as a server that begins looks
			w.now += OthersWithin / 3
			a.read()
			w.now += 20 * time.Millisecond
			b.read()
		}
		w.wants(t, a, w.now, begin)
		w.wants(t, b, w.now, begin)
	}
}

func TestAServerThatWasSuspendedCatchesUp(t *testing.T) {
	w := &world{}
	a, b := w.start(0), w.start(0)
	w.runs(3*time.Second, a, b)
	begin := a.now()
	w.runs(time.Hour, a)
	b.slept = time.Hour
	if f := b.read(); (f.Behind - time.Hour).Abs() > 2*Every {
		t.Errorf("it was behind by %v", f.Behind)
	}
	w.wants(t, a, time.Hour, begin)
	w.wants(t, b, time.Hour, begin)
	if a.steps+b.steps != 0 {
		t.Error("a suspended server was taken for a step of the wall clock")
	}
}

// A machine that is all there is and was suspended has not seen the time pass.
func TestASuspendedMachineIsAStep(t *testing.T) {
	w := &world{alone: true}
	s := w.start(0)
	w.runs(3*time.Second, s)
	begin := s.now()
	w.now += 8 * time.Hour
	s.slept += 8 * time.Hour
	w.runs(3*time.Second, s)
	w.wants(t, s, 3*time.Second, begin)
	if s.steps != 1 {
		t.Errorf("%d steps were told", s.steps)
	}
}

func TestSmallDifferencesAreMadeUpFor(t *testing.T) {
	w := &world{}
	s := w.start(0)
	begin := s.now()
	w.off += 500 * time.Millisecond
	w.runs(100*time.Second, s)
	w.wants(t, s, 100*time.Second+100*time.Millisecond, begin)
	w.runs(1000*time.Second, s)
	w.wants(t, s, 1100*time.Second+500*time.Millisecond, begin)
}

func TestEngineTimeOfTheWallClock(t *testing.T) {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	steps := []Step{{at(10), 100 * time.Second}, {at(20), -5 * time.Second}}
	for _, c := range []struct{ wall, engine int }{{5, 5}, {9, 9}, {50, 10}, {110, 10}, {115, 15}, {119, 19}, {200, 205}, {16, 10}} {
		if got := Engine(steps, at(c.wall)); !got.Equal(at(c.engine)) {
			t.Errorf("the wall clock showed %d first at %v, want %d", c.wall, got.Sub(epoch), c.engine)
		}
	}
	for _, c := range []struct{ engine, wall int }{{5, 5}, {10, 110}, {19, 119}, {20, 15}, {30, 25}} {
		if got := Wall(steps, at(c.engine)); !got.Equal(at(c.wall)) {
			t.Errorf("at %d the wall clock showed %v, want %d", c.engine, got.Sub(epoch), c.wall)
		}
	}
	if !Wall(steps, time.Time{}).IsZero() || !Engine(steps, time.Time{}).IsZero() {
		t.Error("the zero time is another one")
	}
}

// Whatever wall clocks and servers do: no time that a server measures from what
// another one wrote is longer than true time, but for the pace of the clocks.
func TestNoDurationIsOverEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{}
		ppm := func() int64 { return rapid.Int64Range(-200, 200).Draw(t, "ppm") }
		servers := []*server{w.start(ppm())}
		type stamp struct{ engine, true time.Duration }
		var stamps []stamp
		last := map[*server]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "turns") {
			passes := time.Duration(rapid.Int64Range(int64(100*time.Millisecond), int64(3*time.Second)).Draw(t, "passes"))
			w.now += passes
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				w.off += time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "step"))
			case 1:
				servers = append(servers, w.start(ppm()))
			case 2:
				if n := len(servers); n > 1 {
					servers = servers[1:]
				}
			case 3:
				if n := len(servers); n > 1 {
					servers[n-1].slept += passes
				}
			}
			for _, s := range servers {
				s.read()
			}
			for _, s := range servers {
				now := s.now()
				if before, ok := last[s]; ok && now.Before(before) {
					t.Fatalf("a clock went back from %v to %v", before, now)
				}
				if s.line.known {
					last[s] = now
					for _, m := range stamps {
						e, d := now.Sub(epoch)-m.engine, w.now-m.true
						if e > d+d/500+10*time.Millisecond {
							t.Fatalf("%v have passed, %v were measured", d, e)
						}
					}
				}
			}
			if s := servers[0]; s.line.known {
				stamps = append(stamps, stamp{s.now().Sub(epoch), w.now})
			}
		}
	})
}
