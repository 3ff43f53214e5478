package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// outageSeeds is where the seeds of outages begin.
const outageSeeds = 17 << 40

// drawOutages lets all servers be away at once, for longer than steps may wait, now
// and then in some of the clusters. It has dice of its own.
func (s *Sim) drawOutages(d dice) {
	p := 0.1
	if s.world.paired {
		return
	}
	if s.world.calm {
		p = 0.6
	}
	if d.chance(p) {
		s.after(d.between(s.world.trouble/10, s.world.trouble/2), func() { s.loseServers(d.between(s.world.trouble/10, s.world.trouble)) })
	}
}

// loseServers ends all servers. None begins again before the time is over.
func (s *Sim) loseServers(away time.Duration) {
	if s.healed {
		return
	}
	s.tracef("all servers go")
	s.monitor.counts.Absences++
	s.awayUntil = s.now.Add(away)
	for _, p := range s.procs {
		if p.server != nil {
			s.end(p)
		}
	}
	for _, id := range s.world.servers {
		s.after(away+s.extra.between(0, 2*time.Second), func() { s.ensure(id) })
	}
}

// notePresence notes that the server is there, again and again.
func (sv *server) notePresence() {
	sv.later(activation.PresenceEvery, sv.notePresence)
	if sv.sim.journalDown() {
		return
	}
	list, err := sv.sim.store.NotePresence(background, sv.engine(), activation.PresenceGap)
	if err != nil {
		panic(err)
	}
	before, first := len(sv.absences), !sv.absencesRead
	sv.absences, sv.absencesRead = activation.Absences(list), true
	if first || len(sv.absences) > before {
		sv.handle(activation.Absent{})
	}
}

// presence notes whether any server is there.
func (m *monitor) presence() {
	up := false
	for _, p := range m.sim.procs {
		up = up || p.server != nil && p.alive && !p.frozen
	}
	switch {
	case !up && m.awaySince.IsZero():
		m.awaySince = m.sim.now
	case up && !m.awaySince.IsZero():
		m.absences = append(m.absences, run.Absence{From: m.awaySince, To: m.sim.now})
		m.awaySince = time.Time{}
	}
}

// timedOut checks a schedule timeout: so long a server was there, and where
// nothing else goes wrong no worker had nothing to do that fits.
func (m *monitor) timedOut(before *run.State, name string) error {
	st := before.Step(name)
	limit, _ := st.Def.ScheduleTimeout()
	since := st.ReadyAt
	if st.Phase == run.Live && !st.StartedAt.IsZero() {
		since = before.Binding.LostAt
	}
	waited := m.sim.now.Sub(since)
	for _, gap := range m.absences {
		// A shorter one may go unnoticed.
		if gap.To.Sub(gap.From) <= activation.PresenceGap {
			continue
		}
		from := gap.From
		if since.After(from) {
			from = since
		}
		waited -= max(0, gap.To.Sub(from))
	}
	allowed := 100*time.Millisecond + 2*m.sim.world.skewMost
	if m.sim.clocks != nil {
		allowed += slack(limit)
	}
	if waited+allowed < limit {
		return fmt.Errorf("step %q fails SCHEDULE_TIMEOUT after %v in which a server was there, of %v", name, waited, limit)
	}
	if w := m.idleFor(before, st); m.sim.world.calm && w != nil && (st.Phase == run.Ready || st.Phase == run.Backoff) {
		return fmt.Errorf("step %q fails SCHEDULE_TIMEOUT, and %s has had nothing to do for %v", name, w.address, w.idleFor())
	}
	return nil
}

// isScheduleTimeout says that a step has waited too long itself, and not the one
// that was to rebuild its state.
func isScheduleTimeout(f *messages.Failure) bool {
	return f.GetCode() == string(messages.CodeScheduleTimeout) && !strings.Contains(f.GetMessage(), "could not be rebuilt")
}
