package gossip

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

// Role of a member.
type Role = identity.Role

// A server hosts runs and placement; a worker executes steps.
const (
	RoleServer = identity.Server
	RoleWorker = identity.Worker
)

// State is what a member says of itself.
type State string

// A worker is joining until it is admitted. A draining member takes nothing
// new; a server that drains is about to leave.
const (
	StateJoining  State = "joining"
	StateReady    State = "ready"
	StateDraining State = "draining"
	// StateLeaving is a worker whose process is to end; one that is draining
	// stays, and may be ready again.
	StateLeaving State = "leaving"
)

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
	// Store is the identity of a server's store, and what a worker knows of it.
	Store string
}

// Name is what memberlist knows a process by: two processes never share one, so
// the address of a member never changes under its name.
func Name(id, incarnation string) string { return id + "~" + incarnation }

// SplitName is the reverse of Name.
func SplitName(name string) (id, incarnation string, ok bool) {
	i := strings.LastIndexByte(name, '~')
	if i <= 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// encodeMeta returns what a member gossips of itself.
func encodeMeta(m Member) ([]byte, error) {
	return proto.Marshal(&messages.MemberMeta{Role: string(m.Role), State: string(m.State), Pool: m.Pool, Address: m.Address, Store: m.Store})
}

// decodeMember reads what was heard of a member.
func decodeMember(name string, appearance int, address string, data []byte) (Member, error) {
	id, incarnation, ok := SplitName(name)
	if !ok {
		return Member{}, fmt.Errorf("name %q has no incarnation", name)
	}
	var meta messages.MemberMeta
	if err := proto.Unmarshal(data, &meta); err != nil {
		return Member{}, fmt.Errorf("metadata of %s: %w", name, err)
	}
	if meta.Role == "" || meta.Address == "" {
		return Member{}, fmt.Errorf("metadata of %s has no role or no address", name)
	}
	return Member{
		ID:   appearanceID(name, appearance),
		Name: name, Role: Role(meta.Role), State: State(meta.State),
		WorkerID: id, Incarnation: incarnation, Pool: meta.Pool,
		Address: meta.Address, GossipAddress: address, Store: meta.Store,
	}, nil
}

// appearanceID is the ID of a member at one of its appearances.
func appearanceID(name string, appearance int) string { return name + "#" + strconv.Itoa(appearance) }

// refutes says whether a member is given time to refute a verdict: a ready one, or
// a worker that drains and stays. Nothing would have to be taken from others.
func (m Member) refutes() bool {
	return m.State == StateReady || m.Role == RoleWorker && m.State == StateDraining
}
