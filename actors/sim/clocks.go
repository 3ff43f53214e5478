package sim

import (
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/timeline"
)

// Clocks that go wrong: the wall clock of the store steps, clocks go at paces of
// their own, and servers are suspended. Servers then go by engine time, as package
// timeline makes it of all that.

// clocks are those of a cluster in which they go wrong.
type clocks struct {
	dice dice
	// wallAhead is by how much the store's wall clock is ahead of true time.
	wallAhead time.Duration
	// step is what it is to be set by.
	step    time.Duration
	version uint64
	record  timeline.Record
	// decided is when the entries that are not durable yet were decided, by true
	// time; waits since when a step waits for what it waits for.
	decided map[string]map[uint64]decision
	waits   map[string]backOff
}

// paceMost is by how much clocks differ from true time, in a million: leases allow
// for 10,000 between two of them.
const paceMost = 2000

// drawClocks lets clocks go wrong in some of the clusters. They have dice of their
// own, so that the seeds without it stay as they are.
func (s *Sim) drawClocks(d dice) {
	if s.world.paired || !d.chance(0.3) {
		return
	}
	s.clocks = &clocks{dice: d, decided: map[string]map[uint64]decision{}, waits: map[string]backOff{}}
	var next func()
	next = func() {
		if s.healed {
			return
		}
		if d.chance(0.6) {
			s.stepWallClock()
		} else {
			s.suspendOne()
		}
		s.after(d.between(time.Second, 15*time.Second), next)
	}
	s.after(d.between(time.Second, 10*time.Second), next)
}

// stepWallClock has the store's wall clock set before the next server reads it that
// knows the time: what nobody lived to see is the passing of time for all that can
// be told.
func (s *Sim) stepWallClock() {
	s.clocks.step = s.clocks.dice.between(-2*time.Hour, 2*time.Hour)
}

// suspendOne suspends the machine of a server: its monotonic clock stands still.
func (s *Sim) suspendOne() {
	servers := s.serversLeft()
	if len(servers) == 0 || s.world.calm {
		return
	}
	p := pick(s.clocks.dice, servers)
	if p.frozen {
		return
	}
	began := s.now
	s.freeze(p)
	s.after(s.clocks.dice.between(time.Second, 8*time.Second), func() {
		if p.alive && p.frozen {
			p.slept += s.now.Sub(began)
		}
		s.thaw(p)
	})
}

// pace draws how fast the clock of a new process is.
func (s *Sim) pace() time.Duration {
	if s.clocks == nil {
		return 0
	}
	return time.Duration(s.clocks.dice.IntN(2*paceMost+1) - paceMost)
}

// monotonic is what the monotonic clock of the process shows.
func (p *proc) monotonic() time.Duration {
	d := p.sim.now.Sub(p.born) - p.slept
	return d + d/1_000_000*p.pace
}

// engine is the time of what is stored, as the server has it.
func (sv *server) engine() time.Time {
	if sv.line == nil {
		return sv.clock()
	}
	return sv.line.Now(sv.monotonic())
}

// seen has the server go on from the time of what it has read, if it is behind.
func (sv *server) seen(at time.Time) {
	if sv.line != nil {
		sv.line.Seen(at, sv.monotonic())
	}
}

// followClock begins to read the store's clock. No server begins before it has, nor
// opens its ports.
func (sv *server) followClock() {
	if c := sv.sim.clocks; c != nil {
		sv.line = timeline.New(sv.sim.now.Add(c.wallAhead), 0)
		sv.readClock(true)
		sv.later(timeline.Every, sv.clockLoop)
		sv.frozen = !sv.line.Known()
	}
	if sv.frozen {
		sv.sim.after(timeline.OthersWithin/3, sv.beginClock)
		return
	}
	sv.listens()
}

// beginClock lets the server begin once it knows the time.
func (sv *server) beginClock() {
	if sv.alive && !sv.line.Known() {
		sv.readClock(true)
	}
	switch {
	case !sv.alive:
	case sv.line.Known():
		sv.frozenAt = sv.sim.now
		sv.listens()
		sv.sim.thaw(sv.proc)
	default:
		sv.sim.after(timeline.OthersWithin/3, sv.beginClock)
	}
}

func (sv *server) readClock(first bool) {
	s, c := sv.sim, sv.sim.clocks
	if first || !s.journalDown() {
		if c.step != 0 && sv.line.Known() {
			s.tracef("the wall clock is set by %v", c.step)
			c.wallAhead, c.step = c.wallAhead+c.step, 0
			s.monitor.counts.ClockSteps++
		}
		found := sv.line.Read(timeline.Reading{Elapsed: sv.monotonic(), Wall: s.now.Add(c.wallAhead), Version: c.version, Record: c.record})
		if found.Keep != nil {
			c.version, c.record = c.version+1, *found.Keep
		}
	}
}

func (sv *server) clockLoop() {
	sv.readClock(false)
	sv.later(timeline.Every, sv.clockLoop)
}

// engineNow is how far engine time has come anywhere.
func (s *Sim) engineNow() time.Time {
	now := s.now
	if s.clocks == nil {
		return now
	}
	now = s.clocks.record.Engine
	for _, p := range s.procs {
		if p.server == nil || !p.alive || !p.server.line.Known() {
			continue
		}
		// A server is not asked: what the clock of a frozen one shows counts once it wakes.
		line := *p.server.line
		if at := line.Now(p.monotonic()); at.After(now) {
			now = at
		}
	}
	return now
}

// ---- what is checked -----------------------------------------------------------

// clockSettles is within what a server that begins, or wakes, has read the clock.
const clockSettles = 2 * time.Second

// slack is by how much a duration may be short by true time: what a server that
// begins, or wakes, is behind until it has read the clock, and the pace of clocks.
func slack(d time.Duration) time.Duration { return clockSettles + d/100 }

// decision is when something was decided by true time, and by how much the server was
// behind that decided it: one whose machine was suspended has to read the clock first, and
// the others cannot keep how far time has come while the store is lost. Whoever decides
// the end may not be behind.
type decision struct {
	at     time.Time
	behind time.Duration
}

// backOff is when a step began to wait, and for how long if it is to be tried again.
type backOff struct {
	decision
	wait time.Duration
}

// early says that so much time has not passed since the decision, by a true clock.
func (d decision) early(at time.Time, wait time.Duration) bool {
	return at.Before(d.at.Add(wait - slack(wait) - d.behind))
}

// deciding notes when an entry was decided, and by whom.
func (c *clocks) deciding(runID string, number uint64, by *server) {
	if c == nil {
		return
	}
	if c.decided[runID] == nil {
		c.decided[runID] = map[uint64]decision{}
	}
	c.decided[runID][number] = decision{at: by.sim.now, behind: by.sim.engineNow().Sub(by.engine())}
}

// durations checks that nothing in an entry came before its time by a true clock.
func (m *monitor) durations(before, after *run.State) {
	c := m.sim.clocks
	if c == nil {
		return
	}
	at := c.decided[after.RunID][after.Number]
	for i := range after.Steps {
		was, is := &before.Steps[i], &after.Steps[i]
		key := after.RunID + "/" + is.Def.Name
		since := c.waits[key]
		timeout, ok := is.Def.ScheduleTimeout()
		switch {
		case is.Phase == was.Phase && is.Attempt == was.Attempt:
		case is.Phase == run.Backoff:
			c.waits[key] = backOff{at, is.RetryAt.Sub(after.At)}
		case is.Phase == run.Ready && !is.ReadyAt.Equal(was.ReadyAt):
			c.waits[key] = backOff{at, 0}
		case was.Phase == run.Backoff && is.Phase == run.Live && since.early(at.at, since.wait):
			m.sim.fail("run %s: step %q is tried again after %v, its back-off is %v", after.RunID, is.Def.Name, at.at.Sub(since.at), since.wait)
		case ok && is.Phase == run.Failed && isScheduleTimeout(is.Failure) && since.early(at.at, timeout):
			m.sim.fail("run %s: step %q timed out %v after it was ready, its schedule timeout is %v", after.RunID, is.Def.Name, at.at.Sub(since.at), timeout)
		}
	}
}
