package sim

import (
	"hash/fnv"
	"time"
)

// proc is one process of a server or a worker, from its start to its end.
type proc struct {
	sim *Sim
	// id is stable across restarts; address names this process: "w1.3".
	id, address string
	incarnation int
	alive       bool
	frozen      bool
	frozenAt    time.Time
	// steadySince is when it last woke, or was cut off last.
	steadySince time.Time
	// left: it said good-bye.
	left bool
	// skew is what its clock is off by. pace is by how many millionths its clock is
	// faster than true time, born when it showed the truth, and slept how long it
	// stood still since.
	skew        time.Duration
	pace, slept time.Duration
	born        time.Time
	// member is what it says of itself, and state what it knows of the others.
	member memberState
	state  map[*proc]memberState
	// held is what waits for a frozen process.
	held []func()
	// sees are the processes that its membership view has.
	sees      map[*proc]bool
	seenSince map[*proc]time.Time
	// missed are those that it had declared gone.
	missed map[*proc]bool
	// deciding: a change of the view is on its way.
	deciding map[*proc]bool

	server *server
	worker *worker
}

// memberState is what a process gossips of itself.
type memberState uint8

const (
	memberJoining memberState = iota
	memberReady
	// memberDraining is of a server that leaves, and of a worker that an operator
	// drains; memberLeaving of a worker that comes to its end.
	memberDraining
	memberLeaving
)

// clock is what the process takes for the time. It counts also while its machine is
// suspended.
func (p *proc) clock() time.Time {
	return p.sim.now.Add(p.skew + p.sim.now.Sub(p.born)/1_000_000*p.pace)
}

// later lets something happen in the process: not if it has died by then, and
// only after it woke if it is frozen.
func (p *proc) later(d time.Duration, do func()) {
	p.sim.after(d, func() { p.now(do) })
}

func (p *proc) now(do func()) {
	switch {
	case !p.alive:
	case p.frozen:
		p.held = append(p.held, do)
	default:
		do()
	}
}

// tiny is the time that a message takes within a process.
const tiny = 5 * time.Microsecond

// send carries a message from one process to another. Within a process nothing
// is lost and nothing overtakes.
func (s *Sim) send(from, to *proc, what string, do func()) {
	if from == to {
		to.later(tiny, do)
		return
	}
	times := 1
	switch {
	case s.faulty() && s.dice.chance(s.world.loss):
		s.tracef("lost: %s → %s %s", from.address, to.address, what)
		return
	case s.faulty() && s.dice.chance(s.world.double):
		times = 2
	}
	for range times {
		s.after(s.latency(), func() {
			if s.cut(from, to) || s.deaf[[2]string{from.id, to.id}] {
				s.tracef("cut: %s → %s %s", from.address, to.address, what)
				return
			}
			if v := s.severed[linkOf(from.id, to.id)]; v != nil {
				s.detour(v, from, to, what, do)
				return
			}
			to.now(do)
		})
	}
}

func (s *Sim) latency() time.Duration {
	d := s.dice.between(80*time.Microsecond, 600*time.Microsecond)
	if s.faulty() && s.dice.chance(s.world.late) {
		d += s.dice.between(time.Millisecond, s.world.lateBy)
	}
	return d
}

// cut says that the link between two nodes is broken.
func (s *Sim) cut(a, b *proc) bool { return s.cuts[linkOf(a.id, b.id)] }

func linkOf(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
	}
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// ---- membership --------------------------------------------------------------

// reconsider lets every view find out, after a while, what is true.
func (s *Sim) reconsider() {
	s.monitor.presence()
	for _, observer := range s.procs {
		if !observer.alive {
			continue
		}
		for _, subject := range s.procs {
			if observer != subject {
				s.observe(observer, subject)
			}
		}
	}
}

func (s *Sim) reachable(observer, subject *proc) bool {
	return subject.alive && !subject.frozen && !s.cut(observer, subject)
}

func (s *Sim) observe(observer, subject *proc) {
	want := s.reachable(observer, subject)
	if want == observer.hears(subject) || observer.deciding[subject] {
		return
	}
	wait := s.dice.between(20*time.Millisecond, 200*time.Millisecond)
	if !want && !subject.left {
		wait = s.dice.between(1200*time.Millisecond, 2400*time.Millisecond)
	}
	observer.deciding[subject] = true
	observer.later(wait, func() {
		observer.deciding[subject] = false
		if s.reachable(observer, subject) == want {
			s.decide(observer, subject, want)
			return
		}
		s.observe(observer, subject)
	})
}

// hears says that a process is in the view, and that memberlist holds it for alive.
func (p *proc) hears(subject *proc) bool {
	return p.sees[subject] && (p.server == nil || !p.server.verdicts.unheard[subject])
}

// decide takes in what memberlist has found. A server asks before it believes that
// a member has gone that did not say so.
func (s *Sim) decide(observer, subject *proc, hears bool) {
	switch sv := observer.server; {
	case sv == nil || subject.left && !hears || hears && !sv.sees[subject]:
		s.setView(observer, subject, hears)
	case hears:
		sv.verdicts.hear(subject)
	default:
		sv.verdicts.miss(subject)
	}
}

func (s *Sim) setView(observer, subject *proc, sees bool) {
	if observer.sees[subject] == sees {
		return
	}
	s.tracef("%s %s %s", observer.address, map[bool]string{true: "sees", false: "misses"}[sees], subject.address)
	observer.sees[subject] = sees
	if observer.server != nil {
		delete(observer.server.verdicts.unheard, subject)
	}
	if sees {
		observer.seenSince[subject] = s.now
		observer.state[subject] = subject.member
	}
	if sv := observer.server; sv != nil && subject.server != nil {
		if sees && observer.missed[subject] {
			s.send(observer, subject, "declared gone", func() {
				subject.server.declaredGone()
				subject.server.verdicts.recheck()
			})
		}
		observer.missed[subject] = !sees
	}
	observer.changed(subject)
	if sv := observer.server; sv != nil && subject.worker != nil && sees {
		sv.tellVerdict(subject.worker)
	}
	s.observe(observer, subject)
}

// changed tells a process what its view has of another one.
func (p *proc) changed(subject *proc) {
	switch {
	case p.worker != nil:
		if subject.server != nil {
			p.worker.wake()
		}
	case subject.server != nil:
		p.server.viewChanged()
		switch place := p.server.place; {
		case place == nil:
		case p.sees[subject]:
			place.welcome(subject)
		default:
			place.askersGone(subject.address)
		}
	default:
		p.server.roster.viewChanged()
	}
}

// setState lets a process say something else of itself.
func (s *Sim) setState(p *proc, state memberState) {
	p.member = state
	for _, observer := range s.procs {
		if observer == p || !observer.alive {
			continue
		}
		observer.later(s.dice.between(20*time.Millisecond, 200*time.Millisecond), func() {
			if observer.sees[p] && observer.state[p] != p.member {
				observer.state[p] = p.member
				observer.changed(p)
			}
		})
	}
}

// ---- ownership ---------------------------------------------------------------

// shards is the number that run ids fall into here.
const shards = 8

func shardOf(runID string) int { return int(hash(runID) % shards) }

// ownerIn is the server that owns a name as far as a process sees.
func (p *proc) ownerIn(kind, name string) *proc {
	var best *proc
	var most uint64
	for _, q := range p.sim.procs {
		if q.server == nil || q != p && (!p.sees[q] || p.state[q] != memberReady) || q == p && (!q.alive || q.member != memberReady) {
			continue
		}
		if h := hash(kind, name, q.address); best == nil || h > most {
			best, most = q, h
		}
	}
	return best
}

var shardNames = [shards]string{"0", "1", "2", "3", "4", "5", "6", "7"}

func (p *proc) ownerOfRun(runID string) *proc {
	return p.ownerIn("shard", shardNames[shardOf(runID)])
}
