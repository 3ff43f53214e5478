package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/cluster/lease"
	"github.com/limpetrun/limpet/messages"
)

// Leases: the real cores of both sides, with packets that are lost and late like
// all others, looks at ports, and signs of life in the journal. What is modelled
// of a server's verdict on a silent worker is how long it is held back.

var leaseConfig = lease.Config{For: 1400 * time.Millisecond, Store: true, SignGap: 800 * time.Millisecond}

const (
	// verdictTry is how long a server waits for the word of others, verdictPause
	// the time before it asks again.
	verdictTry   = 300 * time.Millisecond
	verdictPause = 100 * time.Millisecond
)

// storedSign is a sign of life of a server.
type storedSign struct {
	serial uint64
	at     time.Time
}

// ---- a worker's side -------------------------------------------------------------

func (w *worker) leaseLoop() {
	w.askLease()
	w.later(max(time.Millisecond, w.lease.NextAsk().Sub(w.clock())), w.leaseLoop)
}

func (w *worker) askLease() {
	s := w.sim
	w.checkLease()
	now := w.clock()
	var there []string
	for _, p := range s.procs {
		if p.server == nil || !w.sees[p] {
			continue
		}
		there = append(there, p.address)
		if p.incarnation > 1 {
			w.lease.Replaced(fmt.Sprintf("%s.%d", p.id, p.incarnation-1))
		}
	}
	w.lease.Servers(now, there)
	seq, term := w.lease.Ask(now), w.lease.Term()
	looks := w.lease.Looks(now)
	for _, name := range w.lease.Known() {
		p := s.procOf(name)
		if p.left && !p.alive {
			w.lease.Left(name)
		}
		s.send(w.proc, p, "lease?", func() { p.server.grant(w, seq, term) })
		if slices.Contains(looks, name) {
			w.look(p, now)
		}
	}
}

// look finds out whether the ports of a server are refused.
func (w *worker) look(p *proc, began time.Time) {
	s := w.sim
	w.later(s.latency(), func() {
		refused := !p.alive && !s.cut(w.proc, p) && !s.deaf[[2]string{w.id, p.id}] && !s.deaf[[2]string{p.id, w.id}]
		w.later(s.latency(), func() {
			w.lease.Looked(p.address, began, refused)
			w.checkLease()
		})
	})
}

// checkLease does what a worker does first whenever it runs.
func (w *worker) checkLease() {
	held, changed := w.lease.Check(w.clock())
	if held {
		w.checks++
		mine := w.checks
		w.later(w.lease.Until().Sub(w.clock()), func() {
			if mine == w.checks {
				w.checkLease()
			}
		})
	}
	switch {
	case !changed:
	case held:
		w.leased = w.sim.now
		w.do(w.core.LeaseBegan(w.clock(), w.lease.Term()))
	default:
		w.sim.tracef("the lease of %s has expired", w.address)
		w.sim.monitor.counts.Lapses++
		w.lapsed = true
		w.do(w.core.LeaseEnded(w.clock(), w.lease.Term(), messages.Errorf(messages.CodeLeaseExpired, "of %s", w.address)))
	}
}

// acts says whether a function may still act: one of a process that is frozen
// does so until its lease ends, for it is canceled when the process wakes.
func (f *function) acts() bool {
	return f.w.alive && !f.over && !f.canceled && (!f.w.frozen || f.w.clock().Before(f.w.lease.Until()))
}

// ---- a server's side -------------------------------------------------------------

func (sv *server) leaseLoop() {
	s := sv.sim
	sv.noteServers()
	seq := sv.lease.Ask(sv.clock())
	for _, p := range s.procs {
		if p.server == nil || p == sv.proc || !sv.sees[p] {
			continue
		}
		s.send(sv.proc, p, "stand?", func() {
			p.server.lease.Stand(p.clock(), sv.address)
			s.send(p, sv.proc, "stands", func() { sv.lease.Answered(p.address, seq) })
		})
	}
	if seq%2 == 0 {
		sv.sign()
	}
	sv.later(leaseConfig.Every(), sv.leaseLoop)
}

func (sv *server) noteServers() {
	var there []string
	for _, p := range sv.sim.procs {
		if p.server == nil || p == sv.proc {
			continue
		}
		if sv.sees[p] {
			there = append(there, p.address)
		} else if !p.alive && !sv.sim.cut(sv.proc, p) {
			sv.lease.Ended(sv.clock(), p.address)
		}
	}
	sv.lease.Servers(sv.clock(), there)
}

// sign gives a sign of life, and reads those of the others.
func (sv *server) sign() {
	s := sv.sim
	began := sv.clock()
	sv.later(s.dice.between(time.Millisecond, 10*time.Millisecond), func() {
		if s.journalDown() {
			return
		}
		sv.serial++
		s.signs[sv.address] = storedSign{sv.serial, s.now}
		var signs []lease.Sign
		for _, p := range s.procs {
			if sign, ok := s.signs[p.address]; ok && p != sv.proc && p.incarnation == s.newest(p.id) {
				signs = append(signs, lease.Sign{Server: p.address, Serial: sign.serial, Age: s.now.Sub(sign.at)})
			}
		}
		sv.later(s.dice.between(time.Millisecond, 10*time.Millisecond), func() { sv.lease.Signed(began, sv.clock(), signs) })
	})
}

func (sv *server) grant(w *worker, seq, term uint64) {
	if !sv.sees[w.proc] || sv.judging[w.proc] || sv.outranked(w) {
		return
	}
	if valid := sv.lease.Grant(sv.clock(), processKey(w.ref()), term); valid > 0 {
		sv.sim.send(sv.proc, w.proc, "lease", func() {
			w.lease.Granted(sv.address, seq, valid)
			w.checkLease()
		})
	}
}

// outranked says that a later process was admitted under the worker's id.
func (sv *server) outranked(w *worker) bool {
	return slices.ContainsFunc(sv.sim.procs, func(p *proc) bool {
		return p.worker != nil && p.id == w.id && p.incarnation > w.incarnation && sv.sees[p] && sv.state[p] != memberJoining
	})
}

// silent has a server that misses a worker call it lost when no lease can be
// left. Suspected falsely, it is let off if another server sees it.
func (sv *server) silent(w *worker, falsely bool) {
	s := sv.sim
	if sv.judging[w.proc] || !sv.sees[w.proc] {
		return
	}
	sv.judging[w.proc] = true
	var round func()
	round = func() {
		if !falsely && s.reachable(sv.proc, w.proc) || !sv.sees[w.proc] {
			delete(sv.judging, w.proc)
			s.observe(sv.proc, w.proc)
			return
		}
		if !w.alive && !s.cut(sv.proc, w.proc) {
			sv.lost(w)
			return
		}
		missing := append(sv.lease.Silent(sv.clock()), processKey(w.ref()))
		var reached []string
		var promised time.Duration
		vouched := false
		for _, p := range s.procs {
			if p.server == nil || p == sv.proc || !sv.sees[p] {
				continue
			}
			s.send(sv.proc, p, "missing", func() {
				hold, sees := p.server.lease.Vouch(p.clock(), missing), p.sees[w.proc] && !p.server.judging[w.proc]
				s.send(p, sv.proc, "vouch", func() {
					reached, promised, vouched = append(reached, p.address), max(promised, hold), vouched || sees
				})
			})
		}
		sv.later(verdictTry, func() {
			switch {
			case falsely && vouched:
				delete(sv.judging, w.proc)
			case vouched || promised > 0 || sv.lease.Hold(sv.clock(), processKey(w.ref()), reached) > 0:
				sv.later(verdictPause, round)
			default:
				sv.lost(w)
			}
		})
	}
	round()
}

func (sv *server) lost(w *worker) {
	delete(sv.judging, w.proc)
	sv.sim.setView(sv.proc, w.proc, false)
}

// leaseHold is for how long a process that was never seen may not be called lost.
func (sv *server) leaseHold(ref *messages.WorkerRef) time.Duration {
	var reached []string
	silent := sv.lease.Silent(sv.clock())
	for _, name := range sv.lease.Known() {
		if !slices.Contains(silent, name) {
			reached = append(reached, name)
		}
	}
	return sv.lease.Hold(sv.clock(), processKey(ref), reached)
}

func (s *Sim) procOf(address string) *proc {
	return s.procs[slices.IndexFunc(s.procs, func(p *proc) bool { return p.address == address })]
}

// ---- what must hold --------------------------------------------------------------

// outdated says that a server may go by what is no longer so: by its verdict on a
// process that others have given a lease since, or by a successor of its id that
// was admitted while it was out of reach. What is given away then is told apart
// by its token.
func (m *monitor) outdated(p *proc) bool {
	if at, was := m.goneAt[processKey(p.worker.ref())]; was && at.Before(p.worker.leased) {
		return true
	}
	return slices.ContainsFunc(m.sim.procs, func(o *proc) bool {
		return o.worker != nil && o.id == p.id && o.incarnation > p.incarnation
	})
}

// alone checks that no other process acts for the run of an attempt that begins
// to be executed; of a run that is not sticky, for the step.
func (m *monitor) alone(w *worker, d *messages.Dispatch) error {
	for _, p := range m.sim.procs {
		if p.worker == nil || p.worker == w {
			continue
		}
		for _, f := range p.worker.functions {
			same := f.d.RunId == d.RunId && (d.Sticky != messages.Sticky_STICKY_NONE || f.d.Step == d.Step)
			switch {
			case !same || !f.acts():
			case m.outdated(p):
				m.counts.OldVerdicts++
			default:
				return fmt.Errorf("%s begins %s while %s acts for its run by %s, and has a lease for another %v", w.address,
					attemptKey(d.RunId, d.Step, d.Attempt), p.address, strings.TrimPrefix(f.key(), d.RunId+"/"), p.worker.lease.Until().Sub(p.clock()))
			}
		}
	}
	return nil
}
