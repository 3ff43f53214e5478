package quorum

import (
	"slices"
	"strings"
)

// Partition is the part of the cluster that one server reaches.
type Partition struct {
	// Servers by name, in order; the one whose partition it is is among them.
	Servers []string
	// Workers is how many it reaches.
	Workers int
}

// PartitionOf is the partition of a server that reaches those members.
func PartitionOf(members []Member) (p Partition) {
	for _, m := range members {
		if m.Server {
			p.Servers = append(p.Servers, m.Name)
		} else {
			p.Workers++
		}
	}
	slices.Sort(p.Servers)
	return p
}

// compare is positive if p goes on and q yields (Q5).
func (p Partition) compare(q Partition) int {
	switch {
	case len(p.Servers) != len(q.Servers):
		return len(p.Servers) - len(q.Servers)
	case p.Workers != q.Workers:
		return p.Workers - q.Workers
	case len(p.Servers) == 0:
		return 0
	}
	return strings.Compare(q.Servers[0], p.Servers[0])
}

// without leaves the servers out that another partition has.
func (p Partition) without(q Partition) Partition {
	left := slices.DeleteFunc(slices.Clone(p.Servers), func(name string) bool { return slices.Contains(q.Servers, name) })
	return Partition{left, p.Workers}
}

// Rival is a server that lives, by its heartbeat, and is not reached.
type Rival struct {
	Name string
	// Address of its gossip.
	Address   string
	Partition Partition
}

// Verdict is what a server may conclude about the members that it misses.
type Verdict uint8

const (
	// Wait: it is too early to tell.
	Wait Verdict = iota
	// Gone: they have gone.
	Gone
	// CutOff: this server is the one that is out of reach.
	CutOff
)

// evidence is what a server knows when it judges.
type evidence struct {
	self string
	// mine is what the server reaches now.
	mine Partition
	// known are the servers of its view.
	known []string
	// silent: one of them did not answer in time, and nobody has declared it gone.
	silent bool
	// rivals of the last heartbeats that were read; read: they were read in this
	// round.
	rivals []Rival
	read   bool
	// patience is left with rivals that have not noticed (Q7).
	patience bool
}

// majority says that the server reaches most of the servers that it knows of.
func (e *evidence) majority() bool {
	all := append([]string{e.self}, e.known...)
	for _, r := range e.rivals {
		all = append(all, r.Name)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	reached := 0
	for _, name := range all {
		if name == e.self || slices.Contains(e.mine.Servers, name) {
			reached++
		}
	}
	return 2*reached > len(all)
}

// judge decides by Q2 to Q7.
func (e *evidence) judge() Verdict {
	if e.majority() {
		return Gone
	}
	if !e.read || e.silent {
		return Wait
	}
	verdict := Gone
	for _, r := range e.rivals {
		if e.patience && slices.Contains(r.Partition.Servers, e.self) {
			verdict = Wait
			continue
		}
		if e.mine.compare(r.Partition.without(e.mine)) < 0 {
			return CutOff
		}
	}
	return verdict
}
