package lease

import (
	"maps"
	"slices"
	"time"
)

// Granter is a server's side. Its methods are not safe for concurrent use; the
// times that they take are of one monotonic clock.
type Granter struct {
	// marks counts the terms that were heard of.
	marks   uint64
	cfg     Config
	start   time.Time
	rounds  rounds
	asked   time.Time
	peers   map[string]*peer
	workers map[string]*tenant
	// active: the server has read the heartbeats of others and is not cut off.
	active bool
	// written is when the last heartbeat was begun that was written, steady since
	// when they were written without a gap, clean since when no other server that
	// writes any has left this one without an answer.
	written, steady, clean time.Time
	// read is when heartbeats were read last.
	read time.Time
	// pruned is when the table of workers was last gone through.
	pruned time.Time
}

// peer is another server.
type peer struct {
	// there: in the view, and not one that joins; gone is since when it is not.
	there bool
	gone  time.Time
	// known is since when it is there.
	known time.Time
	// ended: its process has ended, or it has left.
	ended bool
	// answered is when the last question was sent that it answered, stood when
	// this server last answered one of its.
	answered, stood time.Time
	// serial is that of its newest heartbeat, since when it is that one, written when
	// it was at the latest; cutOff since when it says that it is cut off, zero if it
	// does not, passive whether it says that.
	serial                 uint64
	since, written, cutOff time.Time
	passive                bool
}

// tenant is a worker that has got leases.
type tenant struct {
	// asked is when it last asked, granted when it last got a lease.
	asked, granted time.Time
	// term is the newest, heard of at this mark.
	term, mark uint64
}

// Heartbeat is the newest one of another server, as it was read.
type Heartbeat struct {
	Server string
	Serial uint64
	// Age since it was written.
	Age time.Duration
	// CutOff: it says that it is. Passive: it owns nothing yet, or any more.
	CutOff, Passive bool
}

// NewGranter makes the Granter of a server that listens by now: nobody found its
// ports refused later.
func NewGranter(c Config, now time.Time) *Granter {
	return &Granter{cfg: c, start: now, peers: map[string]*peer{}, workers: map[string]*tenant{}}
}

// Activate says whether the server has read the heartbeats of others and is not
// cut off. What it heard before that counts for nothing.
func (g *Granter) Activate(active bool) {
	if active && !g.active {
		g.written, g.steady, g.clean = time.Time{}, time.Time{}, time.Time{}
		for _, p := range g.peers {
			p.answered = time.Time{}
		}
	}
	g.active = active
}

func (g *Granter) peer(name string) *peer {
	p := g.peers[name]
	if p == nil {
		p = &peer{}
		g.peers[name] = p
	}
	return p
}

// Servers takes the names of the other servers in the view that do not join.
func (g *Granter) Servers(now time.Time, there []string) {
	for _, name := range there {
		p := g.peer(name)
		if !p.there {
			p.known = now
		}
		p.there, p.ended = true, false
	}
	for name, p := range g.peers {
		if p.there && !slices.Contains(there, name) {
			p.there, p.gone = false, now
		}
		if p.ended && now.Sub(later(p.gone, p.stood)) > g.cfg.For || !p.there && now.Sub(later(p.gone, p.stood)) > GhostFor {
			delete(g.peers, name)
		}
	}
}

// Ended says that the process of another server has ended, or that it left.
func (g *Granter) Ended(now time.Time, server string) {
	if p := g.peers[server]; p != nil {
		if p.there || !p.ended {
			p.there, p.gone = false, now
		}
		p.ended = true
	}
}

// Ask begins a question to the other servers.
func (g *Granter) Ask(now time.Time) uint64 {
	g.asked = now
	return g.rounds.begin(now)
}

// NextAsk is when the next question is due.
func (g *Granter) NextAsk() time.Time { return g.asked.Add(g.cfg.Every()) }

// Answered takes another server's answer to a question.
func (g *Granter) Answered(server string, seq uint64) {
	if sent, ok := g.rounds.at(seq); ok {
		if p := g.peers[server]; p != nil {
			p.answered = later(p.answered, sent)
		}
	}
}

// Stand answers another server's question: it calls nobody lost for as long
// whom that one may have given a lease.
func (g *Granter) Stand(now time.Time, server string) time.Duration {
	p := g.peers[server]
	if p == nil {
		p = g.peer(server)
		p.gone = now
	}
	p.stood = now
	return g.cfg.For
}

// Grant answers a worker's question: for how long it has a lease, 0 for not. The
// term counts as known in any case.
func (g *Granter) Grant(now time.Time, worker string, term uint64) time.Duration {
	w := g.workers[worker]
	if w == nil {
		g.prune(now)
		w = &tenant{}
		g.workers[worker] = w
	}
	w.asked = now
	if term > w.term {
		g.marks++
		w.term, w.mark = term, g.marks
	}
	valid := min(g.cfg.For, g.Standing(now).Sub(now))
	if valid <= 0 {
		return 0
	}
	w.granted = now
	return valid
}

// Lapsed says that a lease of a worker has ended since this server knew of its term,
// as a question with a later one tells.
func (g *Granter) Lapsed(worker string, term uint64) bool {
	w := g.workers[worker]
	return w != nil && leasesEnded(term) > leasesEnded(w.term)
}

// Regained says that a worker has a lease again after a time without one, as a question
// with its term tells.
func (g *Granter) Regained(worker string, term uint64) bool {
	w := g.workers[worker]
	return w != nil && term > w.term && Held(term) && (!Held(w.term) || g.Lapsed(worker, term))
}

// leasesEnded is how many leases have ended by a term.
func leasesEnded(term uint64) uint64 { return (term + 1) / 2 }

// prune forgets workers that have asked for nothing for long.
func (g *Granter) prune(now time.Time) {
	if now.Sub(g.pruned) < GhostFor {
		return
	}
	g.pruned = now
	for name, w := range g.workers {
		if now.Sub(w.asked) > GhostFor {
			delete(g.workers, name)
		}
	}
}

// Mark is this moment, for Term.
func (g *Granter) Mark() uint64 { return g.marks }

// Term is the newest term of a worker that asked, 0 if none did; false if it was
// not known yet at a mark. Whoever knew at the mark that a run was the worker's
// may send under a term of then: if the run was given to another one since, the
// worker has another term.
func (g *Granter) Term(worker string, at uint64) (term uint64, known bool) {
	w := g.workers[worker]
	if w == nil {
		return 0, true
	}
	return w.term, w.mark <= at
}

// HeartbeatWritten takes the heartbeats that were read after that of this server
// was written, which was begun at a time.
func (g *Granter) HeartbeatWritten(began, now time.Time, beats []Heartbeat) {
	if gap := Discount(g.cfg.HeartbeatGap); g.written.IsZero() || now.Sub(g.written) > gap || now.Sub(began) > gap {
		g.steady = now
	}
	g.written = began
	for _, s := range beats {
		p := g.peers[s.Server]
		if p == nil {
			if s.Age > g.cfg.HeartbeatGap || s.Passive {
				continue
			}
			p = g.peer(s.Server)
			p.gone = now
		}
		p.beat(now, g.read, s)
	}
	clean := began
	for _, p := range g.peers {
		// Also one whose heartbeat the store has thrown away: its clock may have been
		// set.
		if !p.since.IsZero() && now.Sub(p.written) <= g.cfg.HeartbeatGap && !p.passive && !p.ended {
			clean = earlier(clean, p.answered)
		}
	}
	g.clean, g.read = later(g.clean, clean), now
}

// beat notes a heartbeat as it was read. The store's clock may be set: its age counts
// only of the first, and one that is new since the last reading was written since.
func (p *peer) beat(now, read time.Time, s Heartbeat) {
	if p.serial == s.Serial && !p.since.IsZero() {
		return
	}
	p.written = now.Add(-max(0, s.Age))
	if !p.since.IsZero() {
		p.written = later(p.written, read)
	}
	p.serial, p.since, p.passive = s.Serial, now, s.Passive
	switch {
	case !s.CutOff && !s.Passive:
		p.cutOff = time.Time{}
	case p.cutOff.IsZero():
		p.cutOff = now
	}
}

// Standing is until when the server may grant leases, as things are.
func (g *Granter) Standing(now time.Time) time.Time {
	if !g.active {
		return time.Time{}
	}
	all := now.Add(2 * g.cfg.For)
	var answered []time.Time
	for _, p := range g.peers {
		switch {
		case p.ended:
			continue
		case p.there:
			answered = append(answered, p.answered)
		}
		all = earlier(all, p.answered.Add(Discount(g.cfg.For)))
	}
	// Of the n servers of the view, most are n/2 others, and half (n-1)/2.
	n := len(answered) + 1
	slices.SortFunc(answered, func(a, b time.Time) int { return b.Compare(a) })
	stands := func(others int) time.Time {
		if others == 0 {
			return now.Add(2 * g.cfg.For)
		}
		return answered[others-1].Add(Discount(g.cfg.For))
	}
	if !g.cfg.Store {
		return later(all, stands(n/2))
	}
	most := stands(n / 2)
	if g.isSteady(now) {
		most = stands((n - 1) / 2)
	}
	most = earlier(most, g.written.Add(Discount(g.cfg.For)))
	return later(all, later(most, g.clean.Add(Discount(g.cfg.For))))
}

// Known are the other servers that are not forgotten.
func (g *Granter) Known() []string { return slices.Collect(maps.Keys(g.peers)) }

// Silent are the servers that have left two questions unanswered.
func (g *Granter) Silent(now time.Time) []string {
	var out []string
	for name, p := range g.peers {
		if !p.ended && now.Sub(later(p.answered, p.known)) > 2*g.cfg.Every() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Vouch answers a server that misses members: for how long leases of workers
// among them may last, and of others by servers among them.
func (g *Granter) Vouch(now time.Time, missing []string) (left time.Duration) {
	for _, name := range missing {
		if w := g.workers[name]; w != nil {
			left = max(left, w.granted.Add(g.cfg.For).Sub(now))
		}
		if p := g.peers[name]; p != nil {
			left = max(left, p.stood.Add(g.cfg.For).Sub(now))
		}
	}
	return left
}

// Hold is for how long at least the server has to hold back that a silent
// worker is lost, when it reaches those servers; what they say by Vouch comes on
// top. It may be for longer: ask again then.
func (g *Granter) Hold(now time.Time, worker string, reached []string) time.Duration {
	until := g.start
	if w := g.workers[worker]; w != nil {
		until = later(until, w.granted)
	}
	with, without := 1, 0
	for name, p := range g.peers {
		if slices.Contains(reached, name) {
			with++
			continue
		}
		until = later(until, p.stood)
		if p.ended {
			until = later(until, p.gone)
		}
		if !p.ended && !g.yielded(now, p) {
			without++
		}
	}
	may := !g.cfg.Store || g.active && (without == 0 || with > without && g.isSteady(now))
	left := until.Add(g.cfg.For).Sub(now)
	if !may {
		return max(left, g.cfg.Every()/4)
	}
	return max(left, 0)
}

// isSteady says that the server has written heartbeats without a gap for long.
func (g *Granter) isSteady(now time.Time) bool {
	return !g.steady.IsZero() && now.Sub(g.steady) >= g.cfg.For && now.Sub(g.written) <= Discount(g.cfg.HeartbeatGap)
}

// yielded says that the store shows a server that is out of reach to have
// written no heartbeat for long, or to say that it is cut off.
func (g *Granter) yielded(now time.Time, p *peer) bool {
	if now.Sub(g.written) > g.cfg.HeartbeatGap || g.written.Sub(g.start) < g.cfg.For {
		return false
	}
	// One that has never written a heartbeat has never owned anything.
	return p.since.IsZero() || g.written.Sub(p.since) >= g.cfg.For ||
		!p.cutOff.IsZero() && g.written.Sub(p.cutOff) >= g.cfg.For
}
