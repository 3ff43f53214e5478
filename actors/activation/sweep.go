package activation

import (
	"time"
)

// The sweep compares what is in memory with the journal, for what is lost in
// races between servers: unfinished runs that nobody has activated, activations
// that are behind the journal because another one went on, and activations of
// shards that are not this server's.

const (
	// sweepParts is how many parts a sweep does the shards in.
	sweepParts = 8
	// sweepPageOf is how many heads are read at once, in pages of runs.
	sweepPageOf = 4
	// comparedMax bounds the activations that compare themselves with the journal
	// in a part.
	comparedMax = 100
)

// sweep compares some shards: a part of them in turn, or those of a claim.
type sweep struct {
	shards []int
	after  string
	part   int
	claim  *claim
	// seen are the runs that the journal has as active; nil for a claim.
	seen map[string]bool
}

func (h *Host) sweepLater(part int) {
	pause := h.sweepTurn() / sweepParts
	h.act(Later{After: pause / 2, Spread: pause, Input: turn{part}})
}

// sweepTurn is how long the sweep of all shards takes.
func (h *Host) sweepTurn() time.Duration {
	if h.facts.Alone() {
		return h.cfg.SweepTurnAlone
	}
	return h.cfg.SweepTurn
}

func (h *Host) sweepPart(part int, now time.Time) {
	h.forgetAside(now)
	if part == 0 {
		(&lineSearch{shards: h.ownedShards()}).read(h, now)
	}
	(&sweep{shards: h.ownedOf(part, sweepParts), part: part, seen: map[string]bool{}}).read(h, now)
}

func (s *sweep) read(h *Host, _ time.Time) {
	if len(s.shards) == 0 {
		s.done(h)
		return
	}
	h.ask(Read{Query: ReadHeads, Shards: s.shards, After: s.after, Limit: sweepPageOf * h.cfg.PageSize}, s)
}

// head activates a run that is not in memory, and tells one that is how far the
// journal is.
func (s *sweep) head(h *Host, in Head, now time.Time) {
	s.after = in.RunID
	if s.seen != nil {
		s.seen[in.RunID] = true
	}
	if a := h.active.Get(in.RunID); a != nil {
		h.tell(a, StoredUpTo{in.Number}, nil)
		return
	}
	if !now.Before(h.aside[in.RunID]) {
		h.activateOwned(&Activation{RunID: in.RunID})
	}
}

func (s *sweep) page(h *Host, in Page, now time.Time) {
	switch {
	case in.Err != nil:
		// The next turn makes up for it; who claims asks again.
		if s.claim == nil {
			h.sweepLater((s.part + 1) % sweepParts)
		}
	case in.Count == in.Of.Limit:
		s.read(h, now)
	default:
		s.done(h)
	}
}

func (s *sweep) done(h *Host) {
	if s.claim != nil {
		(&lineSearch{shards: s.shards}).read(h, time.Time{})
		h.act(Taken{Asker: s.claim.Asker})
		return
	}
	h.unseen[s.part] = h.strays(s, h.unseen[s.part])
	h.sweepLater((s.part + 1) % sweepParts)
}

// strays stops the activations of shards that are not this server's. Those of a
// part that the sweep has not seen in the journal as active, now and a turn
// before, compare themselves with it. It returns those to compare the next time.
func (h *Host) strays(s *sweep, before map[string]uint64) map[string]uint64 {
	unseen := map[string]uint64{}
	compared := 0
	for _, a := range h.All() {
		switch shard := h.cfg.ShardOf(a.RunID); {
		case !h.owned[shard]:
			h.tell(a, Drop{}, nil)
		case shard%sweepParts != s.part || s.seen[a.RunID]:
		case before[a.RunID] == a.Serial && compared < comparedMax:
			h.tell(a, CompareStored{}, nil)
			compared++
		default:
			unseen[a.RunID] = a.Serial
		}
	}
	return unseen
}
