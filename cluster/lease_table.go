package cluster

import (
	"slices"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cluster/lease"
)

// misheardMax bounds the members that are remembered to be in another state than
// the view says.
const misheardMax = 1024

// leaseTable is what a node knows of leases: the cores of package lease, and which
// processes they are about. Its methods call nobody, so its lock is always the
// innermost.
type leaseTable struct {
	cfg lease.Config

	mu      sync.Mutex
	holder  *lease.Holder  // of a worker
	granter *lease.Granter // of a server that listens
	// servers are those that were in the view, looking those that are being
	// looked at.
	servers map[string]Member
	looking map[string]bool
	// ended are members whose processes have ended, or that left, and when.
	ended map[string]time.Time
	// cleared are silent workers that the verdict filter lets go, kept those that are
	// held back.
	cleared, kept map[string]bool
	// misheard are members whose state was another than that in the view when they
	// asked last: the news is on its way, or has missed this server.
	misheard map[string]State
	// toldServers are the digests that servers told a worker, of servers that it has
	// not heard of so, and visitAt is when it may ask for all again, visits the pauses.
	toldServers map[string]uint64
	visitAt     time.Time
	visits      backoff.Pauses
	// cut: the server is cut off.
	cut bool
}

// visitPauses are those between two visits of a worker that has heard of other
// servers than it is told of: they may differ for as long as a server is in doubt.
var visitPauses = backoff.Pauses{First: 500 * time.Millisecond, Most: 15 * time.Second}

func newLeaseTable(c lease.Config, worker bool) *leaseTable {
	t := &leaseTable{cfg: c, servers: map[string]Member{}, looking: map[string]bool{}, ended: map[string]time.Time{},
		cleared: map[string]bool{}, kept: map[string]bool{}, misheard: map[string]State{},
		toldServers: map[string]uint64{}, visits: visitPauses}
	if worker {
		t.holder = lease.NewHolder(c)
	}
	return t
}

// listens makes a server's side, from the moment at which its ports are open.
func (t *leaseTable) listens(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.granter = lease.NewGranter(t.cfg, at)
}

func (t *leaseTable) nextAsk() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder != nil {
		return t.holder.NextAsk()
	}
	return t.granter.NextAsk()
}

// questions are what a node asks at one time.
type questions struct {
	seq, term uint64
	// targets are asked; those of again have left questions unanswered.
	targets []Member
	again   []string
	// looks are servers to look at: their processes may have ended.
	looks []Member
}

// ask begins the questions of this node, which is the member self of the view.
func (t *leaseTable) ask(at time.Time, self Member, view *View) (q questions) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noteServers(at, self, view)
	if t.holder == nil {
		q.seq, q.again = t.granter.Ask(at), t.granter.Silent(at)
		for name, m := range t.servers {
			if _, ended := t.ended[name]; name != self.Name && !ended {
				q.targets = append(q.targets, m)
			}
		}
		return q
	}
	q.seq, q.term = t.holder.Ask(at), t.holder.Term()
	q.again = t.holder.Looks(at)
	for _, name := range t.holder.Known() {
		q.targets = append(q.targets, t.servers[name])
	}
	for _, name := range q.again {
		if !t.looking[name] {
			t.looking[name] = true
			q.looks = append(q.looks, t.servers[name])
		}
	}
	return q
}

// noteServers takes in which servers are there. Called with mu held, like all that
// follows without a lock of its own.
func (t *leaseTable) noteServers(at time.Time, self Member, view *View) {
	var there []string
	for _, m := range view.Members {
		if m.Role != RoleServer {
			continue
		}
		t.servers[m.Name] = m
		t.replaceEarlier(at, m)
		_, ended := t.ended[m.Name]
		if m.Name != self.Name && !ended && (t.holder != nil || m.State != StateJoining) {
			there = append(there, m.Name)
		}
	}
	t.noteEnded(at)
	var known []string
	if t.holder != nil {
		t.holder.Servers(at, there)
		known = t.holder.Known()
	} else {
		t.granter.Servers(at, there)
		t.granter.Activate(self.State != StateJoining && !t.cut)
		known = t.granter.Known()
	}
	for name := range t.servers {
		if _, there := view.Member(name); !there && !slices.Contains(known, name) {
			delete(t.servers, name)
			delete(t.toldServers, name)
		}
	}
}

// noteEnded tells of servers that have ended, and forgets those of long ago.
func (t *leaseTable) noteEnded(at time.Time) {
	for name, when := range t.ended {
		switch {
		case t.granter != nil && at.Sub(when) < t.cfg.For:
			t.granter.Ended(when, name)
		case at.Sub(when) > lease.GhostFor:
			delete(t.ended, name)
		}
	}
}

// replaceEarlier takes the earlier processes of a server for ended.
func (t *leaseTable) replaceEarlier(at time.Time, m Member) {
	for name, old := range t.servers {
		if old.WorkerID != m.WorkerID || old.Incarnation >= m.Incarnation {
			continue
		}
		delete(t.servers, name)
		t.ended[name] = at
		if t.holder != nil {
			t.holder.Replaced(name)
		}
	}
}

// heard is what a question for a lease told of earlier ones: that one has ended, and
// that the worker has one again.
type heard struct{ lapsed, regained bool }

// grant answers a question: for how long the lease of a worker, or the standing of
// a server, lasts by this server; 0 for not. A worker may get one only if it is fit.
func (t *leaseTable) grant(at time.Time, name string, term uint64, worker, fit bool) (valid time.Duration, h heard) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.granter == nil || worker && !fit:
		return 0, h
	case worker:
		h = heard{t.granter.Lapsed(name, term), t.granter.Regained(name, term)}
		return t.granter.Grant(at, name, term), h
	}
	return t.granter.Stand(at, name), h
}

// stands says that this server may grant leases.
func (t *leaseTable) stands(at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.granter != nil && t.granter.Standing(at).After(at)
}

// mishears notes the state that a member says it is in, and whether the view says
// otherwise. It returns true if it did so for that state the last time too.
func (t *leaseTable) mishears(name string, state State, misheard bool) (again bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	again = misheard && t.misheard[name] == state
	if misheard && !again && len(t.misheard) < misheardMax {
		t.misheard[name] = state
	} else {
		delete(t.misheard, name)
	}
	return again
}

// missesServers takes the digest of the servers that one of them has heard of, and
// that of those that this worker has heard of. If they differed the last time too,
// the news is not on its way: the worker visits the server, whose address it returns.
func (t *leaseTable) missesServers(at time.Time, from string, theirs, mine uint64) (address string, visits bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if theirs == mine {
		delete(t.toldServers, from)
		if len(t.toldServers) == 0 {
			t.visitAt = time.Time{}
			t.visits.Reset()
		}
		return "", false
	}
	again := t.toldServers[from] == theirs
	t.toldServers[from] = theirs
	if !again || at.Before(t.visitAt) {
		return "", false
	}
	t.visitAt = at.Add(t.visits.Next())
	return t.servers[from].GossipAddress, true
}

// granted takes an answer to a question. It returns where the server gossips.
func (t *leaseTable) granted(from string, seq uint64, valid time.Duration) (address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder != nil {
		t.holder.Granted(from, seq, valid)
	} else if t.granter != nil {
		t.granter.Answered(from, seq)
	}
	return t.servers[from].GossipAddress
}

// looked takes the end of a look at a server.
func (t *leaseTable) looked(name string, began time.Time, refused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.looking, name)
	t.holder.Looked(name, began, refused)
}

// check says whether a worker has a lease at a time, until when, and whether that
// has changed since the last check.
func (t *leaseTable) check(at time.Time) (is LeaseChange, until time.Time, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	is.Held, changed = t.holder.Check(at)
	is.Term = t.holder.Term()
	return is, t.holder.Until(), changed
}

// term of a worker's present lease, or of the time without one.
func (t *leaseTable) term() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.holder.Term()
}

// over notes that a member's process has ended, or that it leaves.
func (t *leaseTable) over(at time.Time, name string, left bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[name] = at
	if left && t.holder != nil {
		t.holder.Left(name)
	}
}

// isOver says that a member's process has ended, or that it left.
func (t *leaseTable) isOver(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, over := t.ended[name]
	return over
}

// alive notes that a member is there.
func (t *leaseTable) alive(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.ended, name)
}

// heartbeatWritten is that of lease.Granter.
func (t *leaseTable) heartbeatWritten(began, at time.Time, beats []lease.Heartbeat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.granter != nil {
		t.granter.HeartbeatWritten(began, at, beats)
	}
}

// vouch is for how long leases may last, of members that another server misses.
func (t *leaseTable) vouch(at time.Time, missing []string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.granter == nil {
		return 0
	}
	return t.granter.Vouch(at, missing)
}

// silent are the servers that do not answer.
func (t *leaseTable) silent(at time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.granter == nil {
		return nil
	}
	return t.granter.Silent(at)
}

// mark is this moment, for termOf.
func (t *leaseTable) mark() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.granter == nil {
		return 0
	}
	return t.granter.Mark()
}

// termOf is that of lease.Granter.Term.
func (t *leaseTable) termOf(name string, mark uint64) (term uint64, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.granter == nil {
		return 0, true
	}
	return t.granter.Term(name, mark)
}

// grants says that this is a server that gives leases.
func (t *leaseTable) grants() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.granter != nil
}

// hold is for how long a process may not be called lost, when those servers are
// reached.
func (t *leaseTable) hold(at time.Time, name string, reached []string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.granter.Hold(at, name, reached)
}

// cutOff: this server is cut off, or no longer.
func (t *leaseTable) cutOff(is bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut = is
	if t.granter != nil && is {
		t.granter.Activate(false)
	}
}

// clear lets those of the members go that no lease holds back; it returns the
// others. The servers are those that this one reaches; promised is for how long
// leases last by their word.
func (t *leaseTable) clear(at time.Time, view *View, names, reached []string, promised time.Duration) (held []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		m, _ := view.Member(name)
		_, ended := t.ended[name]
		mayHold := m.Role == RoleWorker && !ended && t.granter != nil
		if mayHold && (promised > 0 || t.granter.Hold(at, name, reached) > 0) {
			held = append(held, name)
			continue
		}
		t.cleared[name] = true
	}
	return held
}

// keep returns those silent workers of a view that may have leases and are not
// among the next members, and for how long at least the first of them stays. Those
// that the verdict filter has judged do not stay.
func (t *leaseTable) keep(at time.Time, old *View, next []Member) (kept []Member, least time.Duration) {
	there := make(map[string]bool, len(next))
	for _, m := range next {
		there[m.Name] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.kept)
	for _, m := range old.Members {
		_, ended := t.ended[m.Name]
		if there[m.Name] || m.Role != RoleWorker || m.State == StateJoining || ended || t.cleared[m.Name] || t.granter == nil {
			continue
		}
		hold := t.granter.Hold(at, m.Name, t.reached(at))
		if hold <= 0 {
			continue
		}
		kept = append(kept, m)
		t.kept[m.Name] = true
		if least == 0 || hold < least {
			least = hold
		}
	}
	clear(t.cleared)
	return kept, least
}

// reached are the servers that have answered of late.
func (t *leaseTable) reached(at time.Time) []string {
	silent := t.granter.Silent(at)
	var out []string
	for name := range t.servers {
		if !slices.Contains(silent, name) {
			out = append(out, name)
		}
	}
	return out
}

// keeps says that a silent worker is in the view because of its lease.
func (t *leaseTable) keeps(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept[name]
}
