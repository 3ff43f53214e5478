package cluster

import "time"

// LeaseChange is the beginning or the end of a worker's lease; see
// lease.Holder.Term.
type LeaseChange struct {
	Held bool
	Term uint64
}

// HoldsLease says whether this worker may act: no server calls it lost by now.
// It is quick. A server always may.
func (n *Node) HoldsLease() bool { return n.membership.leases.holds() }

// OnLease calls f at the beginning and at the end of each lease of this worker,
// in order, and at once if there is one. f must be quick, and not ask for the
// lease.
func (n *Node) OnLease(f func(LeaseChange)) (cancel func()) {
	l := n.membership.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	cancel = l.changed.add(f)
	if l.until.Load() != 0 {
		f(LeaseChange{Held: true, Term: l.holder.Term()})
	}
	return cancel
}

// LeaseMark is this moment, for LeaseTermOf.
func (n *Node) LeaseMark() uint64 {
	l := n.membership.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granter == nil {
		return 0
	}
	return l.granter.Mark()
}

// LeaseTermOf is the newest term of a worker's process that this server knows
// of; false if it did not know it yet at the mark. See lease.Granter.Term.
func (n *Node) LeaseTermOf(worker, incarnation string, at uint64) (term uint64, known bool) {
	l := n.membership.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granter == nil {
		return 0, true
	}
	return l.granter.Term(memberName(worker, incarnation), at)
}

// LeaseHold is for how long this server may not call a worker's process lost
// that it has not seen: it may have a lease.
func (n *Node) LeaseHold(worker, incarnation string) time.Duration {
	return n.membership.leases.hold(memberName(worker, incarnation))
}

// hold is for how long a process that was never seen may not be called lost.
func (l *leases) hold(name string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granter == nil {
		return 0
	}
	return l.granter.Hold(now(), name, l.reached())
}
