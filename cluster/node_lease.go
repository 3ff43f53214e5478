package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/messages"
)

// LeaseChange is the beginning or the end of a worker's lease; see
// lease.Holder.Term.
type LeaseChange struct {
	Held bool
	Term uint64
}

// HoldsLease says whether this worker may act: no server calls it lost by now.
// It is quick. A server always may.
func (n *Node) HoldsLease() bool { return n.members.leases.holds() }

// OnLease calls f at the beginning and at the end of each lease of this worker,
// in order, and at once if there is one. f must be quick, and not ask for the
// lease.
func (n *Node) OnLease(f func(LeaseChange)) (cancel func()) {
	return n.members.leases.onChange(f)
}

// Lapse is a worker's process whose lease had ended: it has canceled what ran.
type Lapse struct{ WorkerID, Incarnation string }

// OnLapse calls f when a worker asks this server for a lease and an earlier one of
// the same process has ended. f must be quick.
func (n *Node) OnLapse(f func(Lapse)) (cancel func()) { return n.members.leases.lapsed.Add(f) }

// OnLeaseAgain calls f when a worker whose lease had ended has one again. f must be
// quick.
func (n *Node) OnLeaseAgain(f func(Lapse)) (cancel func()) {
	return n.members.leases.regained.Add(f)
}

// LeaseMark is this moment, for LeaseTermOf.
func (n *Node) LeaseMark() uint64 { return n.members.leases.table.mark() }

// LeaseTermOf is the newest term of a worker's process that this server knows
// of; false if it did not know it yet at the mark. See lease.Granter.Term.
func (n *Node) LeaseTermOf(worker, incarnation string, at uint64) (term uint64, known bool) {
	return n.members.leases.table.termOf(gossip.Name(worker, incarnation), at)
}

// HasEnded says that a worker's process is known to have ended, or to have left:
// it never acts again.
func (n *Node) HasEnded(worker, incarnation string) bool {
	return n.members.leases.table.isOver(gossip.Name(worker, incarnation))
}

// HasLeft says that a worker's process that is gone had said that it leaves. The
// view may never have shown that it was about to.
func (n *Node) HasLeft(worker, incarnation string) bool {
	return n.members.gossip.SaidLeaving(gossip.Name(worker, incarnation))
}

// LeaseHold is for how long at least this server may not call a worker's process
// lost that is not there, or not the newest of its id, by its own word and that of
// the other servers, whom it asks; ask again then. It takes as long as one of them does not answer, at most
// until the context ends, and not long in any case.
func (n *Node) LeaseHold(ctx context.Context, worker, incarnation string) time.Duration {
	table, name := n.members.leases.table, gossip.Name(worker, incarnation)
	if table.isOver(name) || !table.grants() {
		return 0
	}
	reached, promised := n.askLeases(ctx, name)
	hold := max(promised, table.hold(now(), name, reached))
	if hold > 0 {
		n.members.gossip.Look(name) // Whoever asks has heard of a later process of the id.
	}
	return hold
}

// askLeases asks the other servers for how long leases of a process may last by
// them. It returns those that answered, and the longest.
func (n *Node) askLeases(ctx context.Context, name string) (reached []string, longest time.Duration) {
	self, silent := n.Self().Name, n.members.leases.table.silent(now())
	others := slices.DeleteFunc(slices.Clone(n.View().servers), func(m Member) bool { return m.Name == self || slices.Contains(silent, m.Name) })
	question := &messages.Ping{Name: self, Missing: append([]string{name}, silent...)}
	newPoller(n).poll(ctx, others, question, func(from Member, pong *messages.Pong, _ error) bool {
		if pong.GetKnown() {
			reached = append(reached, from.Name)
			longest = max(longest, promised(pong))
		}
		return false
	})
	return reached, longest
}
