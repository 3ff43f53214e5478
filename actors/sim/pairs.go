package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/run"
)

// Pairs: two nodes that do not reach each other, while both reach the others. Nobody
// is missed for it. What they send to each other goes by another server once it is
// found out, as package cluster/remote has it: until then it waits, or it comes all
// the same where packets are lost one way only, and then it comes twice.

const (
	// pairSeeds is where the seeds of pairs begin: far enough for the regressions to
	// have none.
	pairSeeds = 37 << 40
	// detourMost is how long it takes to find another way.
	detourMost = 1500 * time.Millisecond
	// goesOnWithin bounds how long a run stands still for a pair.
	goesOnWithin = 3 * time.Second
)

// severed is the way between two nodes that do not reach each other.
type severed struct {
	since time.Time
	// found is when each of the two, by its id, has found another way.
	found map[string]time.Time
	// open is the one whose packets come all the same; empty for neither.
	open string
}

// drawPairs lets pairs be severed in some of the clusters. In most of these nothing
// else goes wrong, and their runs must go on. It has dice of its own.
func (s *Sim) drawPairs(d dice) {
	if !d.chance(0.25) {
		return
	}
	if w := &s.world; d.chance(0.6) {
		w.paired, w.calm, w.faults = true, true, nil
		w.loss, w.double, w.late, w.slowDisk, w.diskFails, w.lacks = 0, 0, 0, 0, 0, 0
		w.servers = []string{"s1", "s2", "s3"}
	}
	var next func()
	next = func() {
		if !s.healed {
			lasts := d.between(100*time.Millisecond, 20*time.Second)
			s.sever(d, lasts)
			s.after(lasts+d.between(0, 5*time.Second), next)
		}
	}
	s.after(d.between(0, 6*time.Second), next)
}

// sever cuts the way between a server and another node for a while.
func (s *Sim) sever(d dice, lasts time.Duration) {
	var servers, others []*proc
	for _, p := range s.procs {
		if p.alive && p.server != nil {
			servers = append(servers, p)
		}
	}
	if len(servers) == 0 {
		return
	}
	a := pick(d, servers)
	for _, p := range s.procs {
		if p.alive && p.id != a.id {
			others = append(others, p)
		}
	}
	if len(others) == 0 {
		return
	}
	b := pick(d, others)
	link := linkOf(a.id, b.id)
	if s.severed[link] != nil {
		return
	}
	v := &severed{since: s.now, open: pick(d, []string{"", a.id, b.id}), found: map[string]time.Time{}}
	for _, id := range link {
		v.found[id] = s.now.Add(d.between(detourMost/5, detourMost))
	}
	s.tracef("severed: %v for %v, open to %q", link, lasts, v.open)
	s.monitor.counts.Severed++
	s.severed[link] = v
	s.after(lasts, func() {
		if s.severed[link] == v {
			delete(s.severed, link)
		}
	})
	if s.world.paired {
		s.watchPair(link, v)
	}
}

// detour has a message come for which the direct way is severed.
func (s *Sim) detour(v *severed, from, to *proc, what string, do func()) {
	wait := max(v.found[from.id].Sub(s.now), 0)
	if wait > 0 && v.open == from.id {
		to.now(do)
	}
	s.after(wait+s.latency(), func() {
		switch {
		case s.severed[linkOf(from.id, to.id)] == v && s.between(from, to) == nil, !from.alive:
			s.tracef("no way: %s → %s %s", from.address, to.address, what)
		default:
			to.now(do)
		}
	})
}

// between is a server that passes on what one node sends to another.
func (s *Sim) between(from, to *proc) *proc {
	for _, p := range s.procs {
		if p.server != nil && p.alive && !p.frozen && p != from && p != to && !s.apart(from, p) && !s.apart(p, to) {
			return p
		}
	}
	return nil
}

// apart says that two nodes do not reach each other directly, or one way only.
func (s *Sim) apart(a, b *proc) bool {
	return s.cut(a, b) || s.deaf[[2]string{a.id, b.id}] || s.deaf[[2]string{b.id, a.id}] || s.severed[linkOf(a.id, b.id)] != nil
}

// watchPair checks again and again that runs go on while a pair is severed, if
// nothing else goes wrong.
func (s *Sim) watchPair(link [2]string, v *severed) {
	s.after(goesOnWithin, func() {
		if s.severed[link] == v && !s.healed {
			s.must(s.monitor.goesOn(v.since))
			s.watchPair(link, v)
		}
	})
}

// goesOn checks that no run has stood still for too long since a time, while a
// worker that could have its step had nothing to do.
func (m *monitor) goesOn(since time.Time) error {
	s := m.sim
	for _, id := range m.order {
		st, still := m.runs[id], since
		if at := m.touched[id]; at.After(still) {
			still = at
		}
		if st.Ended() || st.Cancel != nil || s.now.Sub(still) <= goesOnWithin {
			continue
		}
		for i := range st.Steps {
			step := &st.Steps[i]
			var idle *worker
			switch step.Phase {
			case run.Live:
				idle = m.withoutIt(st, step)
			case run.Ready:
				idle = m.idleFor(st, step)
			}
			if idle != nil && idle.idleFor() > goesOnWithin {
				return fmt.Errorf("run %s stands still: %s#%d is %v, and %s has had nothing to do for %v", id, step.Def.Name, step.Attempt, step.Phase, idle.address, idle.idleFor())
			}
		}
	}
	return nil
}
