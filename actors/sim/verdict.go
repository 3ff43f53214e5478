package sim

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/cluster/lease"
	"github.com/limpetrun/limpet/cluster/quorum"
)

// Verdicts of servers on members that they miss: the real rules of package quorum,
// with questions that are lost and late like all others, and heartbeats in the
// journal.

// heartbeat is the newest one of a server.
type heartbeat struct {
	quorum.Heartbeat
	at time.Time
}

// verdicts is a server's verdict filter.
type verdicts struct {
	sv    *server
	rules *quorum.Filter
	// unheard are members of the view that memberlist has declared gone.
	unheard map[*proc]bool
	// cleared are workers that the rules have just let go.
	cleared map[*proc]bool
	// rounds are counted; a round is under way while busy, and another one is wanted
	// at once after it if kicked.
	rounds int
	// refreshes are counted: of those that wait only the last one counts.
	refreshes    int
	busy, kicked bool
	// started: the server may be ready; again: it has made a round.
	started, again bool
}

func newVerdicts(sv *server) *verdicts {
	return &verdicts{sv: sv, rules: quorum.New(sv.address), unheard: map[*proc]bool{}, cleared: map[*proc]bool{}}
}

// miss notes that memberlist has declared a member gone.
func (v *verdicts) miss(p *proc) {
	if v.sv.sees[p] && !v.unheard[p] {
		v.sv.sim.tracef("%s does not hear %s", v.sv.address, p.address)
		v.unheard[p] = true
		v.refresh()
	}
}

// hear notes that a member is heard again.
func (v *verdicts) hear(p *proc) {
	if v.unheard[p] {
		v.sv.sim.tracef("%s hears %s again", v.sv.address, p.address)
		delete(v.unheard, p)
		v.refresh()
	}
}

// member is a process as the rules want to know it.
func (v *verdicts) member(p *proc) quorum.Member {
	loss := v.sv.state[p] == memberReady
	if p.worker != nil {
		loss = v.sv.state[p] != memberJoining && !v.sv.ended(p)
	}
	return quorum.Member{Name: p.address, Server: p.server != nil, Address: p.address, Loss: loss}
}

// known are the servers that own something by this server's view.
func (v *verdicts) known() (names []string) {
	for _, p := range v.sv.sim.procs {
		if p.server == nil || p != v.sv.proc && (!v.sv.sees[p] || v.sv.state[p] != memberReady) || p == v.sv.proc && p.member != memberReady {
			continue
		}
		if !v.replaced(p) {
			names = append(names, p.address)
		}
	}
	return names
}

// replaced says that a later process of a server is heard.
func (v *verdicts) replaced(p *proc) bool {
	return slices.ContainsFunc(v.sv.sim.procs, func(q *proc) bool {
		return q.id == p.id && q.incarnation > p.incarnation && (q == v.sv.proc || v.sv.hears(q))
	})
}

// refresh lets those of the missed members leave the view that may.
func (v *verdicts) refresh() {
	var missed []quorum.Member
	for _, p := range v.sv.sim.procs {
		if v.sv.sees[p] && v.unheard[p] {
			missed = append(missed, v.member(p))
		}
	}
	others := slices.ContainsFunc(v.sv.sim.procs, func(p *proc) bool { return p.server != nil && v.sv.sees[p] })
	held, due := v.rules.Hold(missed, others)
	var gone []*proc
	least := time.Duration(0)
	for _, m := range missed {
		if slices.Contains(held, m.Name) {
			continue
		}
		p := v.sv.sim.procOf(m.Name)
		hold := v.leaseOf(p)
		if hold <= 0 {
			gone = append(gone, p)
		} else if least == 0 || hold < least {
			least = hold
		}
	}
	clear(v.cleared)
	v.refreshIn(least)
	for _, p := range gone {
		v.sv.sim.setView(v.sv.proc, p, false)
	}
	if due {
		v.kick()
	}
}

// leaseOf is for how long a worker that the rules would let go unasked may have a
// lease.
func (v *verdicts) leaseOf(p *proc) time.Duration {
	if p.worker == nil || v.sv.state[p] == memberJoining || v.sv.ended(p) || v.cleared[p] {
		return 0
	}
	return v.sv.lease.Hold(v.sv.clock(), processKey(p.worker.ref()), v.reached())
}

// refreshIn makes the view anew after a while; 0 is not at all.
func (v *verdicts) refreshIn(d time.Duration) {
	v.refreshes++
	mine := v.refreshes
	if d > 0 {
		v.sv.later(d, func() {
			if mine == v.refreshes {
				v.refresh()
			}
		})
	}
}

// reached are the servers that have answered questions about leases of late.
func (v *verdicts) reached() (names []string) {
	silent := v.sv.lease.Silent(v.sv.clock())
	for _, p := range v.sv.sim.procs {
		if p.server != nil && p != v.sv.proc && v.sv.sees[p] && !slices.Contains(silent, p.address) {
			names = append(names, p.address)
		}
	}
	return names
}

// recheck notes that others may have declared this server gone.
func (v *verdicts) recheck() {
	v.rules.Recheck()
	v.kick()
}

// kick begins a round soon.
func (v *verdicts) kick() {
	if v.kicked = v.busy; !v.busy {
		v.schedule(tiny)
	}
}

func (v *verdicts) schedule(d time.Duration) {
	v.rounds++
	mine := v.rounds
	v.sv.later(d, func() {
		if mine == v.rounds {
			v.round()
		}
	})
}

// round does what quorum.Round says.
func (v *verdicts) round() {
	s, sv := v.sv.sim, v.sv
	v.busy = true
	heard := []quorum.Member{{Name: sv.address, Server: true, Address: sv.address}}
	for _, p := range s.procs {
		if v.sv.hears(p) {
			heard = append(heard, v.member(p))
		}
	}
	r := v.rules.Begin(sv.clock(), v.known(), heard)
	if !r.Asks {
		v.beat(r)
		return
	}
	silent := sv.lease.Silent(sv.clock())
	asked := r.Asked(silent)
	missing := r.Missing()
	waiting := map[string]bool{}
	over := false
	end := func() {
		if over {
			return
		}
		over = true
		for _, m := range asked {
			if waiting[m.Name] && !r.Enough() {
				r.Answered(m, quorum.Answer{Silent: true})
			}
		}
		r.Judge()
		v.beat(r)
	}
	for _, m := range asked {
		waiting[m.Name] = true
		p := s.procOf(m.Name)
		s.send(sv.proc, p, "ping", func() {
			a := p.answer(sv.proc, missing, silent)
			s.send(p, sv.proc, "pong", func() {
				if over || !waiting[m.Name] {
					return
				}
				delete(waiting, m.Name)
				r.Answered(m, a)
				if r.Enough() {
					end()
				}
			})
		})
	}
	if r.Enough() {
		end()
	}
	sv.later(quorum.AskFor, end)
}

// answer is what a process says when it is asked.
func (p *proc) answer(from *proc, missing, silent []string) quorum.Answer {
	if p.server == nil {
		return quorum.Answer{Known: p.sees[from]}
	}
	a := quorum.Answer{Known: p.hears(from)}
	names := slices.Clone(silent)
	for _, name := range missing {
		q := p.sim.procOf(name)
		if p.hears(q) {
			a.Alive = append(a.Alive, name)
		}
		if q.worker != nil {
			name = processKey(q.worker.ref())
		}
		names = append(names, name)
	}
	a.Promised = p.server.lease.Vouch(p.clock(), names)
	a.HasStore = p.server.verdicts.rules.HasStore(p.clock())
	return a
}

// beat writes the heartbeat of the server, if one is due, and reads those of the
// others; then it concludes the round.
func (v *verdicts) beat(r *quorum.Round) {
	s, sv := v.sv.sim, v.sv
	if !v.rules.HeartbeatDue(sv.clock(), r) {
		v.conclude(r)
		return
	}
	began, cutOff := sv.clock(), v.rules.CutOff()
	serial, mine := v.rules.Beat(began, r)
	own := quorum.Heartbeat{Server: sv.address, Serial: serial, Partition: mine, Address: sv.address, CutOff: cutOff, Passive: sv.member != memberReady && !cutOff}
	sv.later(s.dice.between(time.Millisecond, 10*time.Millisecond), func() {
		if sv.journalDown() {
			sv.later(quorum.AskFor, func() {
				v.rules.Unread(sv.clock(), r)
				v.conclude(r)
			})
			return
		}
		s.heartbeats[sv.address] = heartbeat{own, s.now}
		var beats []quorum.Heartbeat
		var ofLeases []lease.Heartbeat
		for _, p := range s.procs {
			beat, ok := s.heartbeats[p.address]
			if !ok {
				continue
			}
			beat.Age, beat.Replaced = s.now.Sub(beat.at), v.replaced(p)
			beats = append(beats, beat.Heartbeat)
			if p != sv.proc && !beat.Replaced {
				ofLeases = append(ofLeases, lease.Heartbeat{Server: p.address, Serial: beat.Serial, Age: beat.Age, CutOff: beat.CutOff, Passive: beat.Passive})
			}
		}
		sv.later(s.dice.between(time.Millisecond, 10*time.Millisecond), func() {
			sv.lease.HeartbeatWritten(began, sv.clock(), ofLeases)
			v.rules.Read(sv.clock(), r, beats)
			v.conclude(r)
		})
	})
}

// show has the server say what state it is in.
func (v *verdicts) show(cutOff bool) {
	state := memberReady
	if cutOff || !v.started {
		state = memberJoining
	}
	if v.sv.member != state && v.sv.member != memberDraining {
		v.sv.sim.setState(v.sv.proc, state)
		v.sv.viewChanged()
	}
}

// conclude ends a round: it lets members go whom no lease holds back, and has this
// server own nothing while it is cut off.
func (v *verdicts) conclude(r *quorum.Round) {
	sv := v.sv
	gone := slices.DeleteFunc(r.Gone(), func(name string) bool {
		p := sv.sim.procOf(name)
		held := p.worker != nil && !sv.ended(p) &&
			(r.Promised() > 0 || sv.lease.Hold(sv.clock(), processKey(p.worker.ref()), r.Reached()) > 0)
		v.cleared[p] = !held
		return held
	})
	was := v.rules.CutOff()
	next := v.rules.Conclude(r, gone)
	is := v.rules.CutOff()
	if is != was {
		sv.sim.tracef("%s is cut off: %v, from the store: %v", sv.address, is, v.rules.WithoutStore())
		sv.sim.monitor.counts.CutOffs++
		sv.lease.Activate(!is)
	}
	// A server that starts makes another round if the first one cannot tell.
	v.started = v.started || next != quorum.Again || v.again
	v.again = true
	v.show(is)
	v.busy = false
	v.refresh()
	if v.kicked {
		v.kicked, next = false, tiny
	}
	v.schedule(next)
}
