// Package cluster joins processes into one cluster: membership by memberlist,
// actors by Proto.Actor, and between them a ClusterProvider, an IdentityLookup
// and a remote of our own. It is what actors import.
//
// Data flow: gossip (who is heard) → verdict filter and leases (who is held in the
// view) → View (immutable) → Proto.Actor's topology, the lookup, connections,
// subscribers. And: identity → shard → owner in the View → activation on the
// owner; message → peer (one connection to each address) → batch → receiver →
// actor.
//
// # Where what is
//
//	gossip   who is a member: joining, packets, looks at ports. memberlist is here only
//	quorum   what follows from members that are missed. Pure
//	lease    until when a worker may act, and from when it may be called lost. Pure
//	remote   messages between nodes. Proto.Actor's wire
//	notify   the two ways of telling others: hooks for events, values for states
//	cluster  Node, View, Config, owners of shards, lookup and calls: the rest
//
// # What holds
//
//   - A View is published by one goroutine. View and Await have it first, then the
//     library and the remote, then the subscribers. Nodes that have the same members
//     find the same owners.
//   - A member's Name is one process. Its ID is one appearance of that process at
//     this observer: who was declared gone and is back has another ID. The observer
//     numbers appearances, and not the member itself, because the member does not
//     learn of a verdict on it before others see it again; OnDeclaredGone then tells
//     it.
//   - Only the owner by its own view activates an identity. Two views may differ for
//     a moment, so two activations are rare, not impossible: the journal's
//     compare-and-swap decides between them. So it does with a process that was
//     paused, declared gone and goes on as if nothing had happened. OnPause tells
//     that process, but what was under way may be sooner.
//   - Messages from one node to another arrive in order or not at all, as long as
//     they go one way: when that is cut, the last ones may come twice. A lost one is
//     not reported in general: whoever needs an answer asks again.
//   - Terminated of an actor on another node is a hint. It comes at once when its
//     process ends, at the verdict when it only hangs, and falsely when a connection
//     breaks. That a member left the View is the verdict.
//   - Messages that were sent must not be changed: actors of one process share them.
//
// # How others are told
//
// By package notify, and in no other way:
//
//	the newest View                   Value: View, Await, Subscribe
//	lease began or ended              Hooks: OnLease
//	a worker's lease had ended        Hooks: OnLapse
//	this process was paused           Hooks: OnPause
//	this process was declared gone    Hooks: OnDeclaredGone
//
// # Locks
//
// Each state has one owner, a type with a lock whose methods call nobody: the table
// and the lookout in gossip, leaseTable, the rules in verdictFilter, the outbox of a
// peer. Such a lock is always the innermost, so no order has to be kept. Two locks
// are held while others are called: shownState.mu while a state is gossiped, and
// leases.telling while a change of the lease is told, each so that what comes later
// is told later. Nothing takes both.
//
// # Cut off, or alone
//
// That a member does not answer is as true of the observer when its own network is
// down. A server with Config.Heartbeats therefore holds a verdict back until the
// rules of package quorum say who is right. In short:
//
//   - A server that reaches most of the servers goes on at once. That is the usual
//     case and costs one round trip.
//   - Without a majority it reads the heartbeats in the store. No fresh one of a
//     server that it does not reach: the others have died, it goes on alone.
//   - A fresh one: the cluster is partitioned. The partition with more servers goes
//     on, then the one with more workers, then the one with the first name.
//   - A server of the other partition is cut off. It says that it is joining, so that
//     it owns nothing. It keeps its last view and calls nobody lost. Nobody exits.
//     When it reaches the others again it is ready, and takes its shards up from the
//     journal.
//
// A server that alone does not reach the store is cut off in the same way: others
// that do take over what it owns.
//
// A server that was stopped for a while asks in the same way before it goes on for
// long. A server that starts is not ready before it has joined and has read the
// heartbeats of others, whom it then joins too: alone in its view it would own
// everything. All this spares work and needless moves of runs. What two servers
// write at one time is still decided by the journal.
//
// # A cut between two members
//
// Two members may not reach each other while both reach the others. Neither is gone:
// memberlist probes each by way of the others, a worker has its lease from any server,
// and most servers answer each other. Nothing moves. What the two send to each other
// goes by another server, one hop, until they reach each other again; see package
// remote. With LocalConfig it is held up for 0.9 s at most, with LANConfig for 3 s,
// with WANConfig for 12 s; a question and its answer for a third longer. It takes a
// server that both reach: two servers that do not reach each other have none if there
// is no third.
//
// # Many workers
//
// A worker knows servers and itself, no other worker: there is nothing that it would
// tell one. Its memberlist is as small, so that neither its probes nor its news grow
// with the number of workers. What follows from that is in package gossip:
//
//   - A server hears each worker by its questions for leases, and not only when it
//     comes to probe it (M6).
//   - Each answer says which servers there are, as a digest. A worker that has heard
//     of others visits the server.
//   - Who gets no answer asks, joins, registers and looks the seldomer, not the more
//     often: servers may have too much to do. For the same reason nobody seeks a way
//     by another server to a process whose system still accepts connections.
//
// # Leases
//
// A worker acts only while it has a lease. It asks every server for one some times a
// second, in packets beside those of the failure detection. No server lets a silent
// worker leave its view before its leases have ended, wherever they came from. So
// nobody rebinds its runs, or admits another process under its id, while it may act;
// see package lease. With LocalConfig what a worker runs is canceled within 2 s of
// the last question that was answered.
//
// # Of the library
//
// Used are its actors, mailboxes, supervision, watches, wire format, member list and
// extension points. Not used, because they wait for seconds, panic, race or forget:
// its gossip, pub-sub, member strategies, stock lookups, Cluster.Request,
// StartMember, Shutdown and Remote (reasons are at what replaces them). Left of it
// under the race detector:
//
//   - Future, which actors may use by RequestFuture and ReenterAfter, stores a second
//     answer without its lock. Whoever gets messages twice has to be idempotent. The
//     race is between two answers to one question within microseconds.
//   - SubscribeWithPredicate of its event stream, which nobody here calls.
//
// Its block list keeps each ID that left, some 100 bytes each, for the life of the
// process.
//
// # Measured
//
// On 2 cores, two nodes in one process on loopback:
//
//	Call of a local actor               4 µs
//	of a remote one                     27 µs (p50), 190 µs (p99), 87,000/s with 128 callers
//	of one that is activated first      84 µs (p50), 560 µs (p99)
//	one-way messages of 200 B           420,000/s
//	killed process leaves the view      0.2 s after (LocalConfig)
//	stopped process leaves the view     1.4 to 2.7 s after (LocalConfig)
//	Terminated after a kill             2 ms
//	Stop                                0.2 s
//
// 300 workers that start at once in three processes, beside a busy loop on each of 2
// cores (limpet-bench --workload workers):
//
//	                                one server    three
//	all are up                      4 s           13 s; 48 s beside twice that load
//	CPU of one that is idle         1.0 ms/s      1.2 ms/s
//	and of all servers for it       0.5 ms/s      0.8 ms/s
//	memory of one                   3.9 MB        4.5 MB
//
// Imports only backoff, gossip, lease, notify, quorum, remote and messages.
package cluster

import (
	"slices"
	"strings"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/cluster/remote"
)

// What a member says of itself, and the timing by which it is found out that it
// does not any more; see package gossip.
type (
	Member = gossip.Member
	Role   = gossip.Role
	State  = gossip.State
	Preset = gossip.Preset
)

// Roles and states of members.
const (
	RoleServer    = gossip.RoleServer
	RoleWorker    = gossip.RoleWorker
	StateJoining  = gossip.StateJoining
	StateReady    = gossip.StateReady
	StateDraining = gossip.StateDraining
	StateLeaving  = gossip.StateLeaving
)

// Kinds of virtual actors.
const (
	KindRun       = "run"       // identity: run id
	KindPlacement = "placement" // identity: pool
)

// Refusal is why something that came from another node was refused.
type Refusal = remote.Refusal

// Refusals, see remote.
const (
	RefusedMember     = remote.RefusedMember
	RefusedUnreadable = remote.RefusedUnreadable
	RefusedDenied     = remote.RefusedDenied
	RefusedForeign    = remote.RefusedForeign
	Refusals          = remote.Refusals
)

// HostActor is the name of the actor on each server that starts and watches
// runs of the shards that the server owns.
const HostActor = remote.HostActor

// View is the membership at one moment. It is immutable.
type View struct {
	// Version grows with each change.
	Version uint64
	// Members live, in the order of their names.
	Members []Member

	servers []Member
	owned   *ownership
}

// NewView makes a view of members.
func NewView(version uint64, members []Member) *View {
	v := &View{Version: version, Members: slices.Clone(members)}
	slices.SortFunc(v.Members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	for _, m := range v.Members {
		if m.Role != RoleServer || m.State != StateReady {
			continue
		}
		// A server that was restarted replaces its earlier incarnation at once,
		// before that one is declared gone: incarnations sort by time.
		if n := len(v.servers); n > 0 && m.WorkerID != "" && v.servers[n-1].WorkerID == m.WorkerID {
			v.servers[n-1] = m
			continue
		}
		v.servers = append(v.servers, m)
	}
	v.owned = &ownership{servers: v.servers}
	return v
}

// next makes the view that follows v; the table of owners is computed anew
// only if the servers changed.
func (v *View) next(members []Member) *View {
	n := NewView(v.Version+1, members)
	same := func(a, b Member) bool { return serverID(a) == serverID(b) }
	if slices.EqualFunc(n.servers, v.servers, same) {
		n.owned = v.owned
	}
	return n
}

// Servers returns the servers that own shards, in the order of their names.
// Not to be changed.
func (v *View) Servers() []Member { return v.servers }

// Member returns the live member with a name.
func (v *View) Member(name string) (Member, bool) {
	i, ok := slices.BinarySearchFunc(v.Members, name, func(m Member, name string) int { return strings.Compare(m.Name, name) })
	if !ok {
		return Member{}, false
	}
	return v.Members[i], true
}

// byID returns the live member with an id.
func (v *View) byID(id string) (Member, bool) {
	name, _, _ := strings.Cut(id, "#")
	m, ok := v.Member(name)
	return m, ok && m.ID == id
}
