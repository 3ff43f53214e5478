package quorum

import (
	"slices"
	"time"
)

// Round is one try to tell whether the members that are missed have gone. Its
// duties, in order:
//
//  1. If Asks, put the question of Missing to each of Asked, and give the answers
//     to Answered until Enough or until AskFor has passed; then Judge.
//  2. If Filter.HeartbeatDue, write the heartbeat of Filter.Beat and give those of
//     the others to Filter.Read, or call Filter.Unread.
//  3. Give those of Gone that no lease holds back to Filter.Conclude.
//
// It is not safe for concurrent use.
type Round struct {
	// Asks: there is something to find out.
	Asks bool

	// aboutStore: the store has not taken a heartbeat for long; unread: nor in this
	// round. storeElsewhere: a server that owns something says that it has the store.
	aboutStore, unread, storeElsewhere bool

	evidence
	heard, held []Member
	verdict     Verdict
	// awaited are servers whose word on the leases of silent workers is needed, and
	// promised is for how long leases last by the word of those that answered.
	awaited  map[string]bool
	promised time.Duration
	// strangers are servers that do not know this one, vouched members that another
	// server sees alive.
	strangers, vouched []string
}

// Answer is what a member said when it was asked.
type Answer struct {
	// Silent: it did not say anything in time.
	Silent bool
	// Known: it hears this server.
	Known bool
	// Alive are those of the missing members that it sees alive.
	Alive []string
	// Promised is for how long leases may last by its word.
	Promised time.Duration
	// HasStore: Filter.HasStore of a server.
	HasStore bool
}

// Missing are the members that the round is about, by name.
func (r *Round) Missing() []string {
	names := make([]string, len(r.held))
	for i, m := range r.held {
		names[i] = m.Name
	}
	return names
}

// Asked are the members to ask: all that were heard of. If a silent worker is
// among the missing, the word of each server is awaited but of those that have
// left questions about leases unanswered.
func (r *Round) Asked(silent []string) []Member {
	var asked []Member
	aboutWorkers := slices.ContainsFunc(r.held, func(m Member) bool { return !m.Server })
	for _, m := range r.heard {
		if m.Name == r.self {
			continue
		}
		asked = append(asked, m)
		if aboutWorkers && m.Server && !slices.Contains(silent, m.Name) {
			r.awaited[m.Name] = true
		}
	}
	return asked
}

// Answered takes what a member said.
func (r *Round) Answered(m Member, a Answer) {
	delete(r.awaited, m.Name)
	r.promised = max(r.promised, a.Promised)
	r.storeElsewhere = r.storeElsewhere || a.HasStore && slices.Contains(r.known, m.Name)
	switch {
	case a.Silent:
		r.silent = r.silent || m.Server && slices.Contains(r.known, m.Name)
	case a.Known && m.Server:
		r.vouched = append(r.vouched, a.Alive...)
		r.mine.Servers = append(r.mine.Servers, m.Name)
		slices.Sort(r.mine.Servers)
	case a.Known:
		r.mine.Workers++
	case m.Server:
		r.strangers = append(r.strangers, m.Name)
	}
}

// Enough says that no further answer is needed.
func (r *Round) Enough() bool {
	return r.majority() && len(r.awaited) == 0 && (!r.aboutStore || r.storeElsewhere)
}

// Judge comes to a verdict by what is known by now.
func (r *Round) Judge() Verdict {
	r.verdict = r.judge()
	return r.verdict
}

// Verdict is the one of the last Judge.
func (r *Round) Verdict() Verdict { return r.verdict }

// MayCutOff says that the server may be cut off by what the round has found out:
// Filter.Conclude says whether it is.
func (r *Round) MayCutOff() bool { return r.verdict == CutOff || r.lostStore() }

// lostStore says that others have the store and this server does not get to it.
func (r *Round) lostStore() bool { return r.aboutStore && r.unread && r.storeElsewhere }

// Gone are the missing members that may go as far as the verdict says, the leases
// of workers not considered.
func (r *Round) Gone() []string {
	if r.verdict != Gone {
		return nil
	}
	return slices.DeleteFunc(r.Missing(), func(name string) bool { return slices.Contains(r.vouched, name) })
}

// Reached are the servers that have answered that they know this one, itself
// included.
func (r *Round) Reached() []string { return r.mine.Servers }

// Promised is for how long leases of the missing may last by the word of those
// that answered.
func (r *Round) Promised() time.Duration { return r.promised }
