package cluster

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/cluster/lease"
	"github.com/limpetrun/limpet/cluster/quorum"
	"github.com/limpetrun/limpet/messages"
)

// Heartbeats is a place that all servers reach without each other: their store.
type Heartbeats interface {
	// Heartbeat replaces the server's heartbeat and returns the newest of each.
	Heartbeat(ctx context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error)
}

// decodeHeartbeats leaves out what cannot be read.
func decodeHeartbeats(stored []messages.StoredHeartbeat, heard []Member) []quorum.Heartbeat {
	beats := make([]quorum.Heartbeat, 0, len(stored))
	for _, s := range stored {
		said := new(messages.Heartbeat)
		if proto.Unmarshal(s.Data, said) != nil {
			continue
		}
		beats = append(beats, quorum.Heartbeat{
			Server: s.Server, Serial: said.Serial, Age: s.Age, Address: said.GossipAddress,
			Partition: quorum.Partition{Servers: said.Servers, Workers: int(said.Workers)},
			CutOff:    said.CutOff, Passive: said.Passive, Replaced: replaced(s.Server, heard),
		})
	}
	return beats
}

// leaseHeartbeats are those that matter for leases: of other servers that have
// not been started anew.
func leaseHeartbeats(self string, beats []quorum.Heartbeat) []lease.Heartbeat {
	out := make([]lease.Heartbeat, 0, len(beats))
	for _, b := range beats {
		if b.Server != self && !b.Replaced {
			out = append(out, lease.Heartbeat{Server: b.Server, Serial: b.Serial, Age: b.Age, CutOff: b.CutOff, Passive: b.Passive})
		}
	}
	return out
}

// replaced says whether a server was started anew, by a process that was heard
// of: what is left of it does not live.
func replaced(server string, heard []Member) bool {
	id, incarnation, ok := gossip.SplitName(server)
	return ok && slices.ContainsFunc(heard, func(m Member) bool {
		return m.Role == RoleServer && m.WorkerID == id && m.Incarnation > incarnation
	})
}
