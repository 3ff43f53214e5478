package cluster

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// memberName is what memberlist knows a process by: two processes never share
// one, so the address of a member never changes under its name.
func memberName(id, incarnation string) string { return id + "~" + incarnation }

func splitName(name string) (id, incarnation string, ok bool) {
	i := strings.LastIndexByte(name, '~')
	if i <= 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// encodeMeta returns what a member gossips of itself.
func encodeMeta(m Member) ([]byte, error) {
	return proto.Marshal(&messages.MemberMeta{Role: string(m.Role), State: string(m.State), Pool: m.Pool, Address: m.Address})
}

// heard is a member as memberlist tells of it, copied.
type heard struct {
	name string
	// appearance numbers the times that a member came up here.
	appearance int
	address    string
	meta       []byte
	// returned: the name had been declared gone here.
	returned bool
}

// member decodes what was heard.
func (h heard) member() (Member, error) {
	id, incarnation, ok := splitName(h.name)
	if !ok {
		return Member{}, fmt.Errorf("name %q has no incarnation", h.name)
	}
	var meta messages.MemberMeta
	if err := proto.Unmarshal(h.meta, &meta); err != nil {
		return Member{}, fmt.Errorf("metadata of %s: %w", h.name, err)
	}
	if meta.Role == "" || meta.Address == "" {
		return Member{}, fmt.Errorf("metadata of %s has no role or no address", h.name)
	}
	return Member{
		ID:   h.name + "#" + strconv.Itoa(h.appearance),
		Name: h.name, Role: Role(meta.Role), State: State(meta.State),
		WorkerID: id, Incarnation: incarnation, Pool: meta.Pool,
		Address: meta.Address, GossipAddress: h.address,
	}, nil
}

// ready says whether the member said so, or is a worker that drains and stays:
// who joins or leaves has nothing that would have to be taken from it.
func (h heard) ready() bool {
	m, err := h.member()
	return err == nil && (m.State == StateReady || m.Role == RoleWorker && m.State == StateDraining)
}

func joinHostPort(host net.IP, port uint16) string {
	return net.JoinHostPort(host.String(), strconv.Itoa(int(port)))
}
