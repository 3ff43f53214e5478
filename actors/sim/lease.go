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
// all others, and looks at ports.

var leaseConfig = lease.Config{For: 1400 * time.Millisecond, Store: true, HeartbeatGap: 800 * time.Millisecond}

// verdictTry is how long a server waits for the word of others.
const verdictTry = 300 * time.Millisecond

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
		if p.server == nil || !w.sees[p] && !w.hearsOf(p) {
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

// hearsOf says that a server that the worker sees tells it of another one: gossip
// takes every way.
func (w *worker) hearsOf(p *proc) bool {
	return slices.ContainsFunc(w.sim.procs, func(q *proc) bool { return q.server != nil && q.alive && w.sees[q] && q.sees[p] })
}

// look finds out whether the ports of a server are refused.
func (w *worker) look(p *proc, began time.Time) {
	s := w.sim
	w.later(s.latency(), func() {
		refused := !s.listensAt(p.id) && !s.apart(w.proc, p)
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
		w.do(w.core.LeaseBegan(w.clock(), w.lease.Term()))
		w.leased = true
		if w.accepted && !w.admitted && !w.registering {
			w.show()
		}
	default:
		w.sim.tracef("the lease of %s has expired", w.address)
		w.sim.monitor.counts.Lapses++
		if w.sim.world.paired {
			w.sim.fail("the lease of %s has expired, and nothing happened but that pairs were severed", w.address)
		}
		w.lapsed = true
		w.lapses++
		w.do(w.core.LeaseEnded(w.clock(), w.lease.Term(), messages.Errorf(messages.CodeLeaseExpired, "of %s", w.address)))
	}
}

// acts says whether a function may still act: one of a process that is frozen
// does so until its lease ends, for it is canceled when the process wakes. One that
// waits for what its suspended attempt waited for never goes on.
func (f *function) acts() bool {
	_, suspended := f.w.sim.monitor.suspensions.at[f.key()]
	return f.w.alive && !f.over && !f.canceled && !(suspended && f.waiting) && (!f.w.frozen || f.w.clock().Before(f.w.lease.Until()))
}

// ---- a server's side -------------------------------------------------------------

// listens opens the ports of a server.
func (sv *server) listens() { sv.lease = lease.NewGranter(leaseConfig, sv.clock()) }

// listensAt says that connections to the ports of a server are taken, by whichever
// process of it: one that starts again has the same ports. The system takes them for
// a frozen one too. Of one that starts again elsewhere, package lease says what is left.
func (s *Sim) listensAt(id string) bool {
	return slices.ContainsFunc(s.procs, func(p *proc) bool { return p.id == id && p.alive && p.server.lease != nil })
}

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
	sv.later(leaseConfig.Every(), sv.leaseLoop)
}

func (sv *server) noteServers() {
	var there []string
	for _, p := range sv.sim.procs {
		if p.server == nil || p == sv.proc {
			continue
		}
		switch {
		case sv.ended(p) && !sv.hears(p):
			sv.lease.Ended(sv.clock(), p.address)
		case sv.sees[p] && sv.state[p] != memberJoining:
			there = append(there, p.address)
		}
	}
	sv.lease.Servers(sv.clock(), there)
	sv.lease.Activate(sv.member != memberJoining)
}

func (sv *server) grant(w *worker, seq, term uint64) {
	if !sv.hears(w.proc) || sv.outranked(w) {
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

// askLeases asks the other servers about the leases of a worker's process: who
// answered, and for how long one may last.
func (sv *server) askLeases(w *worker, done func(reached []string, promised time.Duration)) {
	s := sv.sim
	missing := append(sv.lease.Silent(sv.clock()), processKey(w.ref()))
	var reached []string
	var promised time.Duration
	for _, p := range s.procs {
		if p.server == nil || p == sv.proc || !sv.sees[p] {
			continue
		}
		s.send(sv.proc, p, "missing", func() {
			hold := p.server.lease.Vouch(p.clock(), missing)
			s.send(p, sv.proc, "vouch", func() {
				reached, promised = append(reached, p.address), max(promised, hold)
			})
		})
	}
	sv.later(verdictTry, func() { done(reached, promised) })
}

// leaseHold finds out for how long a process that is not there may not be called
// lost.
func (sv *server) leaseHold(ref *messages.WorkerRef, done func(hold time.Duration)) {
	w := sv.sim.workerOf(ref)
	if w == nil || sv.ended(w.proc) {
		done(0)
		return
	}
	sv.askLeases(w, func(reached []string, promised time.Duration) {
		done(max(promised, sv.lease.Hold(sv.clock(), processKey(ref), reached)))
	})
}

// ended says that the server knows that a process has ended: its ports are refused.
func (sv *server) ended(p *proc) bool { return !p.alive && !sv.sim.cut(sv.proc, p) }

func (s *Sim) procOf(address string) *proc {
	return s.procs[slices.IndexFunc(s.procs, func(p *proc) bool { return p.address == address })]
}

// ---- what must hold --------------------------------------------------------------

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
			case same && f.acts():
				return fmt.Errorf("%s begins %s while %s acts for its run by %s, and has a lease for another %v", w.address,
					attemptKey(d.RunId, d.Step, d.Attempt), p.address, strings.TrimPrefix(f.key(), d.RunId+"/"), p.worker.lease.Until().Sub(p.clock()))
			}
		}
	}
	return nil
}
