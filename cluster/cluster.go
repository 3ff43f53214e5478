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
	"sort"
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
}

// NewView makes a view of members.
func NewView(version uint64, members []Member) *View {
	v := &View{Version: version, Members: append([]Member(nil), members...)}
	sort.Slice(v.Members, func(i, j int) bool { return v.Members[i].Name < v.Members[j].Name })
	for _, m := range v.Members {
		if m.Role == RoleServer && m.State == StateReady {
			v.servers = append(v.servers, m)
		}
	}
	return v
}

// Servers returns the servers that own shards, in the order of their names.
// Not to be changed.
func (v *View) Servers() []Member { return v.servers }
