package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/messages"
)

// Admission: a worker process asks placement until it is admitted, shows itself
// ready, and asks again whenever placement may not know it.

const (
	// admissionRetry is the pause between two questions.
	admissionRetry = 200 * time.Millisecond
	// firstLeasePause is the pause until a process without a first lease asks again.
	firstLeasePause = 2 * time.Second
	askWithin       = time.Second
	probeWithin     = 500 * time.Millisecond
)

// wake lets a worker register if it must: it was not admitted yet, was told so,
// or placement is another server's.
func (w *worker) wake() {
	if w.registering {
		return
	}
	owner := w.ownerIn("placement", "default")
	if !w.admitted || w.again || owner != nil && owner != w.owner {
		w.registering = true
		w.register()
	}
}

func (w *worker) registerAgain() {
	w.again = true
	w.wake()
}

// register asks once, and again after a while.
func (w *worker) register() {
	owner := w.ownerIn("placement", "default")
	if owner == nil {
		w.later(admissionRetry, w.register)
		return
	}
	over := false
	end := func(reply *messages.RegisterReply) {
		if !over {
			over = true
			w.registered(owner, reply)
		}
	}
	w.sim.send(w.proc, owner, "register", func() {
		if p := owner.server.placement(); p != nil {
			p.register(w, func(reply *messages.RegisterReply) {
				w.sim.send(p.sv.proc, w.proc, "admission", func() { end(reply) })
			})
		}
	})
	w.later(askWithin, func() { end(nil) })
}

func (w *worker) registered(with *proc, reply *messages.RegisterReply) {
	switch {
	case reply.GetAdmitted():
		w.registering, w.again, w.owner = false, false, with
		w.sim.tracef("%s is admitted by %s", w.address, with.address)
		w.accepted = true
		if !w.leased {
			// The process that came after it may be why.
			w.later(firstLeasePause, func() {
				if !w.admitted && !w.registering {
					w.wake()
				}
			})
			return
		}
		w.show()
	case reply.GetRefused() != nil && !messages.Code(reply.Refused.Code).Retryable():
		w.sim.tracef("%s is refused: %s", w.address, reply.Refused.Message)
		w.sim.monitor.counts.Refusals++
		if !w.admitted {
			w.sim.end(w.proc)
			return
		}
		w.do(w.core.Superseded(w.clock(), messages.FromFailure(reply.Refused)))
	default:
		w.later(admissionRetry, w.register)
	}
}

// show lets others see a process that is admitted and has had a lease.
func (w *worker) show() {
	if !w.admitted {
		w.admitted = true
		w.sim.setState(w.proc, memberReady)
	}
	if w.pending == nil {
		w.pending = w.last
	}
	w.sendReport()
	w.wake()
}

// ---- placement's side ------------------------------------------------------------

func (p *placer) register(w *worker, reply func(*messages.RegisterReply)) {
	p.askers[w.inc()+"@"+w.id] = reply
	p.do(p.core.Register(w.info, p.rivals(w.id), p.sv.clock()))
}

// rivals are the processes of the view with the worker's id.
func (p *placer) rivals(id string) []placement.Rival {
	var list []placement.Rival
	for _, q := range p.sv.sim.procs {
		if q.worker == nil || q.id != id || !p.sv.sees[q] {
			continue
		}
		state := [...]placement.RivalState{placement.RivalJoining, placement.RivalReady, placement.RivalDraining, placement.RivalDraining}[p.sv.state[q]]
		list = append(list, placement.Rival{WorkerID: id, Incarnation: q.worker.inc(), Address: q.address, ActorID: "worker", State: state})
	}
	return list
}

func (p *placer) reply(workerID, incarnation string, m *messages.RegisterReply) {
	key := incarnation + "@" + workerID
	if to := p.askers[key]; to != nil {
		delete(p.askers, key)
		to(m)
	}
}

// admission carries out what concerns who may act under a worker id.
func (p *placer) admission(action placement.Action) {
	s := p.sv.sim
	switch act := action.(type) {
	case placement.Admit:
		s.must(s.monitor.admitted(p, act.Worker))
		p.reply(act.Worker.WorkerId, act.Worker.Incarnation, &messages.RegisterReply{Admitted: true})
	case placement.Wait:
		p.reply(act.WorkerID, act.Incarnation, &messages.RegisterReply{Wait: true, Message: act.Message})
	case placement.Refuse:
		p.reply(act.WorkerID, act.Incarnation, &messages.RegisterReply{Message: act.Err.Error(), Refused: messages.ToFailure(act.Err)})
	case placement.Record:
		p.sv.later(s.dice.between(time.Millisecond, 10*time.Millisecond), func() {
			var err error
			if s.journalDown() || s.faulty() && s.dice.chance(s.world.diskFails) {
				err = unavailable
			}
			p.then(func() []placement.Action {
				return p.core.Recorded(act.Worker.WorkerId, act.Worker.Incarnation, err, p.sv.clock())
			})
		})
	case placement.Probe:
		p.probe(act)
	}
}

// probe asks whether a process still lives. One whose address refuses
// connections does not; one that is silent may be frozen or out of reach.
func (p *placer) probe(act placement.Probe) {
	s := p.sv.sim
	rival := s.byRef[act.WorkerID+"~"+act.Rival.Incarnation]
	p.sv.ask(rival, probeWithin, func(answered, draining bool) {
		refused := !rival.alive && !s.cut(p.sv.proc, rival.proc) && s.severed[linkOf(p.sv.id, rival.id)] == nil
		p.then(func() []placement.Action {
			if answered {
				return p.core.ProbeAnswered(act, rival.info, draining)
			}
			return p.core.ProbeFailed(act, refused, p.sv.clock())
		})
	})
}

// then goes on unless another placement has begun.
func (p *placer) then(do func() []placement.Action) {
	if p.sv.place == p {
		p.do(do())
	}
}

// admitted checks that no process is admitted while another one of its id lives
// and is in reach, and has been for a while.
func (m *monitor) admitted(p *placer, info *messages.WorkerInfo) error {
	s := m.sim
	m.counts.Admissions++
	w := s.byRef[info.WorkerId+"~"+info.Incarnation]
	if w.taken {
		return nil // told again, or by another placement
	}
	w.taken = true
	if w.succeeds != nil {
		m.counts.Successions++
		if p.sv.sees[w.succeeds] && w.succeeds.alive {
			s.tracef("%s is admitted, %s sees its former process %s", w.address, p.sv.address, w.succeeds.address)
		}
	}
	if n := s.admitted[info.WorkerId]; n < w.incarnation {
		s.admitted[info.WorkerId] = w.incarnation
	}
	if s.now.Sub(p.sv.steadySince) < 3*time.Second {
		return nil // It may have been frozen while it asked.
	}
	for _, q := range s.procs {
		if q.id == w.id && q != w.proc && m.acts(q) && p.sv.inReach(q, 3*time.Second) {
			return fmt.Errorf("%s is admitted by %s, while %s lives and is in reach", w.address, p.sv.address, q.address)
		}
	}
	return nil
}

// acts says that a process is that of an admitted worker, and that nobody has
// declared it gone.
func (m *monitor) acts(q *proc) bool {
	return q.worker != nil && q.alive && !q.frozen && q.worker.admitted && !m.gone[processKey(q.worker.ref())]
}

// inReach says that a server has seen a process for longer than a span, which has
// gone well all the time.
func (sv *server) inReach(q *proc, span time.Duration) bool {
	now := sv.sim.now
	return sv.sees[q] && sv.state[q] != memberJoining && now.Sub(sv.seenSince[q]) > span && now.Sub(q.steadySince) > span
}

// oneOfEach checks that of each worker id one process is there, and that all
// servers know it.
func (m *monitor) oneOfEach() error {
	for _, id := range m.sim.world.workers {
		var one *worker
		for _, p := range m.sim.procs {
			switch {
			case p.worker == nil || p.id != id || !p.alive:
			case one != nil:
				return fmt.Errorf("two processes of worker %s are there: %s and %s", id, one.address, p.address)
			default:
				one = p.worker
			}
		}
		if one == nil || !one.admitted {
			return fmt.Errorf("no process of worker %s is there, or it is not admitted", id)
		}
		for _, p := range m.sim.procs {
			if p.server != nil && p.alive && p.server.roster.up(id) != one {
				return fmt.Errorf("%s does not take %s for worker %s", p.address, one.address, id)
			}
		}
	}
	return nil
}
