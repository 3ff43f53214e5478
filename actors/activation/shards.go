package activation

import (
	"maps"
	"slices"
	"time"
)

// What happens to runs when their shards move.
//
// The server that loses a shard stops its activations: at once, or when the
// append that is in flight is stored. The one that gains it takes the runs up
// from the journal as soon as its view says so, without waiting for the other:
// that one may be dead. So it may read a run just before the other's last
// append. When the loser is done it therefore offers the shards to the gainer,
// which compares what it took up with the journal and begins again with what is
// behind. Should the offer be lost, the next append of such an activation
// conflicts, or the sweep finds it.

const (
	// releaseWithin bounds how long a server that loses shards waits for the last
	// appends, and then for the new owner; and how long that one waits until it
	// has taken them up.
	releaseWithin = 5 * time.Second
	// offerPause is the wait before shards are offered again to whoever owns them
	// then.
	offerPause = 20 * time.Millisecond
	// anewAfter gathers the news that others had declared this server gone.
	anewAfter = 50 * time.Millisecond
)

// release is a set of shards that is being let go.
type release struct {
	shards []int
	// waits are the activations, and the first entries of parked runs, that are
	// not done yet.
	waits map[any]bool
	// asked counts the owners that have not answered; left are the shards of
	// those that did not take them.
	asked int
	left  []int
	// paused: the owners are asked again after a pause.
	paused bool
}

// claim is a set of shards whose former owner is done with them.
type claim struct {
	ShardsReleased
}

// viewChanged takes up shards that became this server's and drops the
// activations of those that went elsewhere.
func (h *Host) viewChanged(in ViewChanged, now time.Time) {
	if in.Version < h.version {
		return
	}
	h.version = in.Version
	var gained, lost []int
	for shard, mine := range in.Owned {
		switch {
		case mine && !h.owned[shard]:
			gained = append(gained, shard)
		case !mine && h.owned[shard]:
			lost = append(lost, shard)
		}
	}
	copy(h.owned, in.Owned)
	h.ownedCount += len(gained) - len(lost)
	if len(lost) > 0 {
		h.letGo(lost)
	}
	if len(gained) > 0 {
		h.recover(gained, now)
	}
	h.serveClaims(now)
}

// ownedShards returns the shards for queries; nil means all of them.
func (h *Host) ownedShards() []int { return h.forQuery(h.ownedOf(0, 1)) }

// ownedOf returns the owned shards of one part of so many.
func (h *Host) ownedOf(part, parts int) []int {
	shards := []int{}
	for shard := part; shard < len(h.owned); shard += parts {
		if h.owned[shard] {
			shards = append(shards, shard)
		}
	}
	return shards
}

func (h *Host) forQuery(shards []int) []int {
	if len(shards) == len(h.owned) {
		return nil
	}
	return shards
}

// letGo stops the activations of shards that another server owns now.
func (h *Host) letGo(lost []int) {
	h.act(Stir{})
	r := &release{shards: lost, waits: map[any]bool{}}
	h.releases = append(h.releases, r)
	h.later(releaseWithin, giveUp{r})
	gone := make([]bool, len(h.owned))
	for _, shard := range lost {
		gone[shard] = true
	}
	for _, a := range h.All() {
		if gone[h.cfg.ShardOf(a.RunID)] {
			r.waits[a] = true
			h.tell(a, Drop{}, nil)
		}
	}
	for id, p := range h.parking {
		if gone[h.cfg.ShardOf(id)] {
			r.waits[p] = true
		}
	}
	if len(r.waits) == 0 {
		h.offer(r)
	}
}

// gone offers the shards that waited for something. An activation whose shard
// came back stays, and is waited for until the time is over.
func (h *Host) gone(what any) {
	for _, r := range slices.Clone(h.releases) {
		if r.waits[what] {
			delete(r.waits, what)
			if len(r.waits) == 0 {
				h.offer(r)
			}
		}
	}
}

// offer asks the owners of shards to take them up. The owners are those of the
// newest view: one that leaves itself never takes anything up, and when all
// leave there is nobody to wait for.
func (h *Host) offer(r *release) {
	if !slices.Contains(h.releases, r) {
		return
	}
	r.paused = false
	byOwner := map[string][]int{}
	for _, shard := range r.shards {
		if owner := h.facts.OwnerOf(shard); owner != "" {
			byOwner[owner] = append(byOwner[owner], shard)
		}
	}
	if len(byOwner) == 0 {
		h.released(r)
		return
	}
	r.asked, r.left = len(byOwner), nil
	for _, owner := range slices.Sorted(maps.Keys(byOwner)) {
		h.act(Offer{Owner: owner, Shards: byOwner[owner], release: r})
	}
}

func (h *Host) offered(in Offered) {
	r := in.Of.release
	if !in.Taken {
		r.left = append(r.left, in.Of.Shards...)
	}
	if r.asked--; r.asked > 0 {
		return
	}
	if len(r.left) == 0 {
		h.released(r)
		return
	}
	r.shards, r.paused = r.left, true
	h.later(offerPause, offerAgain{r})
}

// released ends the letting go of shards.
func (h *Host) released(r *release) {
	h.releases = slices.DeleteFunc(h.releases, func(other *release) bool { return other == r })
}

// claim waits until this server has taken shards up, and then makes sure that its
// activations have all that their former owner stored.
func (h *Host) claim(in ShardsReleased, now time.Time) {
	c := &claim{in}
	h.claims = append(h.claims, c)
	h.serveClaims(now)
	if slices.Contains(h.claims, c) {
		h.later(releaseWithin, forgetIt{c})
	}
}

// serveClaims compares the shards with the journal that are all taken up.
func (h *Host) serveClaims(now time.Time) {
	if h.taking > 0 {
		return
	}
	h.claims = slices.DeleteFunc(h.claims, func(c *claim) bool {
		if slices.ContainsFunc(c.Shards, func(shard int) bool { return shard < 0 || shard >= len(h.owned) || !h.owned[shard] }) {
			return false
		}
		h.act(Stir{})
		(&sweep{shards: c.Shards, claim: c}).read(h, now)
		return true
	})
}

// beginAnew drops all activations; the view that follows has what is unfinished
// read from the journal.
func (h *Host) beginAnew() {
	h.act(Stir{})
	dropped := h.All()
	h.active.Clear()
	for _, a := range dropped {
		a.line = nil
	}
	clear(h.lines)
	h.asking = 0
	clear(h.owned)
	h.ownedCount = 0
	for _, a := range dropped {
		h.tell(a, Drop{Anew: true}, nil)
	}
	h.act(Begun{Runs: len(dropped)})
}
