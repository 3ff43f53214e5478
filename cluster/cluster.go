// Package cluster joins processes into one cluster: membership by memberlist,
// actors and remoting by Proto.Actor, and between them a ClusterProvider and an
// IdentityLookup of our own.
//
// Data flow: memberlist event → View (immutable) → Proto.Actor topology and
// subscribers; identity → shard → owner in the View → activation on the owner.
//
// Imports only messages.
package cluster

import (
	"slices"
	"strings"
)

// Role of a member.
type Role string

// A server hosts runs and placement; a worker executes steps.
const (
	RoleServer Role = "server"
	RoleWorker Role = "worker"
)

// State is what a member says of itself.
type State string

// A worker is joining until it is admitted. A draining member takes nothing
// new and is about to leave.
const (
	StateJoining  State = "joining"
	StateReady    State = "ready"
	StateDraining State = "draining"
)

// Kinds of virtual actors.
const (
	KindRun       = "run"       // identity: run id
	KindPlacement = "placement" // identity: pool
)

// HostActor is the name of the actor on each server that starts and watches
// runs of the shards that the server owns.
const HostActor = "runs"

// Member is one process of the cluster as this node sees it.
type Member struct {
	// ID is new at each appearance: a member that was declared dead and came
	// back has another one.
	ID string
	// Name is the process's own, the same for its whole life:
	// worker or server id, "~", incarnation.
	Name        string
	Role        Role
	State       State
	WorkerID    string
	Incarnation string
	Pool        string
	// Address of the actor remote, host:port.
	Address string
	// GossipAddress of memberlist, host:port: what others may join.
	GossipAddress string
}

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
