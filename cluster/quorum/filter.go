package quorum

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Member is what the filter needs to know of a member.
type Member struct {
	Name   string
	Server bool
	// Address of its gossip.
	Address string
	// Loss: somebody loses by it if the member goes. Nobody does by one that was
	// not ready yet, nor by a server that drains, nor by a process that has ended.
	Loss bool
}

// Filter stands between the verdicts of memberlist and the view of one server. It
// is not safe for concurrent use. The times that it takes are of one monotonic
// clock.
type Filter struct {
	self string
	// held are members that were declared gone and are still in the view; released
	// are those of them that may leave it.
	held     map[string]Member
	released map[string]bool
	// rivals by the last heartbeats that were read.
	rivals []Rival
	// recheck: others may have declared this server gone.
	recheck bool
	cutOff  bool
	// serial of the last heartbeat of this server, and when it was begun.
	serial uint64
	beaten time.Time
	// unread is when the heartbeats could last not be read.
	unread time.Time
	// stored is when the newest heartbeat that got into the store was begun, at first
	// the time of the first round; withoutStore: the server is (Q11).
	stored       time.Time
	withoutStore bool
	freshness    freshness
	// unsettled is since when there has been something to ask; zero for nothing.
	unsettled time.Time
}

// New makes the filter of a server.
func New(self string) *Filter {
	return &Filter{self: self, held: map[string]Member{}, released: map[string]bool{}}
}

// Hold takes the members of the view that are missed, this server not among them,
// and whether there is another server in the view, in whatever state. It returns those that stay in
// the view, and whether one of them was not held before: a round is due then.
func (f *Filter) Hold(missed []Member, others bool) (held []string, due bool) {
	alone := len(f.rivals) == 0 && !f.cutOff && !others
	next := map[string]Member{}
	for _, m := range missed {
		if !m.Loss || f.released[m.Name] || alone {
			continue
		}
		next[m.Name] = m
		held = append(held, m.Name)
		if _, known := f.held[m.Name]; !known {
			due = true
		}
	}
	clear(f.released)
	f.held = next
	return held, due
}

// Recheck notes that others may have declared this server gone: the next round
// asks.
func (f *Filter) Recheck() { f.recheck = true }

// CutOff says that this server is cut off (Q6), from the others or from the store.
func (f *Filter) CutOff() bool { return f.cutOff || f.withoutStore }

// WithoutStore says that this server does not reach the store, and others do (Q11).
func (f *Filter) WithoutStore() bool { return f.withoutStore }

// HasStore says that this server has got a heartbeat into the store of late: its
// answer to one that has not.
func (f *Filter) HasStore(now time.Time) bool {
	return !f.stored.IsZero() && !f.withoutStore && now.Sub(f.stored) < storeRecent
}

// Rivals are the servers that live and are not reached, by the last heartbeats
// that were read.
func (f *Filter) Rivals() []Rival { return f.rivals }

// Unreached are the servers that are not reached and may live, with the addresses
// of their gossip: those that are held, and the rivals.
func (f *Filter) Unreached() map[string]string {
	servers := map[string]string{}
	for _, m := range f.held {
		if m.Server {
			servers[m.Name] = m.Address
		}
	}
	for _, r := range f.rivals {
		servers[r.Name] = r.Address
	}
	return servers
}

// Survey begins a round that asks nobody, of a server whose membership has heard
// of those members: it writes a heartbeat and reads those of the others.
func (f *Filter) Survey(heard []Member) *Round {
	return &Round{heard: heard, awaited: map[string]bool{}, evidence: evidence{self: f.self, rivals: f.rivals, mine: PartitionOf(heard)}}
}

// Begin begins a round of a server that has those servers in its view, and whose
// membership has heard of those members.
func (f *Filter) Begin(now time.Time, known []string, heard []Member) *Round {
	r := f.Survey(heard)
	if f.stored.IsZero() {
		f.stored = now
	}
	r.aboutStore = now.Sub(f.stored) > StoreSilence
	r.known, r.Asks = known, len(f.held) > 0 || f.recheck || f.CutOff() || r.aboutStore
	r.held = slices.SortedFunc(maps.Values(f.held), func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	switch {
	case !r.Asks:
		f.unsettled = time.Time{}
	case f.unsettled.IsZero():
		f.unsettled = now
	}
	r.patience = now.Sub(f.unsettled) < Patience
	if r.Asks {
		// What it reaches is what answers.
		r.mine = Partition{Servers: []string{f.self}}
	}
	return r
}

// HeartbeatDue says whether the round writes a heartbeat now, and reads those of
// the others: each one that asks nobody, one that cannot tell yet, and otherwise
// at the pace of the heartbeats (Q10). The round has judged by then.
func (f *Filter) HeartbeatDue(now time.Time, r *Round) bool {
	return !r.Asks || r.aboutStore || r.verdict == Wait || now.Sub(f.beaten) >= HeartbeatEvery
}

// Beat begins the heartbeat of this server: its serial, and what it reaches.
func (f *Filter) Beat(now time.Time, r *Round) (serial uint64, mine Partition) {
	f.serial++
	f.beaten = now
	return f.serial, r.mine
}

// Unread notes that the heartbeats could not be written and read.
func (f *Filter) Unread(now time.Time, r *Round) { f.unread, r.unread = now, true }

// Read takes the heartbeats that were read after that of this server was written.
// A round that could not tell judges again.
func (f *Filter) Read(now time.Time, r *Round, beats []Heartbeat) {
	// After an outage of the store all heartbeats are old, until each server has
	// written again.
	r.read = f.unread.IsZero() || now.Sub(f.unread) > freshFor
	f.stored = f.beaten
	r.rivals = nil
	for _, b := range f.freshness.fresh(now, beats) {
		if b.Server == f.self || b.Passive || b.Replaced {
			continue
		}
		heard := slices.ContainsFunc(r.heard, func(m Member) bool { return m.Name == b.Server })
		if !heard || slices.Contains(r.strangers, b.Server) {
			r.rivals = append(r.rivals, Rival{b.Server, b.Address, b.Partition})
		}
	}
	f.rivals = r.rivals
	if r.Asks && r.verdict == Wait {
		r.Judge()
	}
}

// Conclude ends a round. It lets those of the members go that it was given of
// Round.Gone, and returns when the next round begins.
func (f *Filter) Conclude(r *Round, gone []string) (next time.Duration) {
	f.concludeStore(r)
	switch {
	case !r.Asks && len(r.rivals) > 0:
		f.recheck = true
		return Again
	case !r.Asks && r.unread:
		return Again
	case !r.Asks:
		return HeartbeatEvery
	case r.verdict == CutOff:
		f.cutOff = true
	case r.verdict == Gone:
		f.cutOff, f.recheck, f.unsettled = false, false, time.Time{}
		for _, name := range gone {
			if _, still := f.held[name]; still {
				f.released[name] = true
			}
		}
		if len(gone) == len(r.held) && !r.unread && !f.withoutStore {
			return HeartbeatEvery
		}
	}
	return Again
}

// concludeStore decides by Q11.
func (f *Filter) concludeStore(r *Round) {
	others := slices.ContainsFunc(r.known, func(name string) bool { return name != f.self })
	switch {
	case !others || r.read:
		f.withoutStore = false
	case r.lostStore():
		f.withoutStore = true
	}
}
