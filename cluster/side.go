package cluster

import (
	"slices"
	"strings"
)

// side is the part of the cluster that one server reaches.
type side struct {
	// servers by name, in order; the one that the side is of is among them.
	servers []string
	workers int
}

// compare is positive if a goes on and b yields, when they do not reach each
// other: the one with more servers, then the one with more workers, then the
// one with the first name. Both sides come to the same end.
func (a side) compare(b side) int {
	switch {
	case len(a.servers) != len(b.servers):
		return len(a.servers) - len(b.servers)
	case a.workers != b.workers:
		return a.workers - b.workers
	case len(a.servers) == 0:
		return 0
	}
	return strings.Compare(b.servers[0], a.servers[0])
}

// without leaves the servers out that another side has.
func (a side) without(b side) side {
	left := slices.DeleteFunc(slices.Clone(a.servers), func(name string) bool { return slices.Contains(b.servers, name) })
	return side{left, a.workers}
}

// rival is a server that lives, by its sign in the store, and is not reached.
type rival struct {
	name string
	// address of its gossip.
	address string
	side    side
}

// judgement is what a server may conclude from members that it misses.
type judgement uint8

const (
	// missedGone: they have gone.
	missedGone judgement = iota
	// missedWait: too early to tell.
	missedWait
	// missedCutOff: this server is the one that is out of reach.
	missedCutOff
)

// missing is what a server knows when it judges.
type missing struct {
	self string
	// mine is what the server reaches now.
	mine side
	// known are the servers of its view.
	known []string
	// silent: one of them did not answer in time, and nobody has declared it
	// gone yet.
	silent bool
	// rivals, if the signs could be read.
	rivals []rival
	read   bool
	// patience is left with rivals that have not noticed yet that they do not
	// reach this server.
	patience bool
}

// majority says that the server reaches most of the servers that it knows of.
func (c *missing) majority() bool {
	all := append([]string{c.self}, c.known...)
	for _, r := range c.rivals {
		all = append(all, r.name)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	n := 0
	for _, name := range all {
		if name == c.self || slices.Contains(c.mine.servers, name) {
			n++
		}
	}
	return 2*n > len(all)
}

// judge decides. Whoever reaches the majority goes on by itself. Others go by
// the signs of life in the store: without them the death of the rest and the
// server's own isolation look the same.
func (c *missing) judge() judgement {
	if c.majority() {
		return missedGone
	}
	if !c.read || c.silent {
		return missedWait
	}
	out := missedGone
	for _, r := range c.rivals {
		if c.patience && slices.Contains(r.side.servers, c.self) {
			out = missedWait
			continue
		}
		if c.mine.compare(r.side.without(c.mine)) < 0 {
			return missedCutOff
		}
	}
	return out
}
