package cluster

import (
	"cmp"
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/messages"
)

// ownership says which server owns each shard. Each shard prefers the servers
// in the order of rendezvous hashing, and a server takes at most its even
// share: so two servers differ by one shard, and a server that comes or goes
// moves little more than its own share.
type ownership struct {
	servers []Member
	once    sync.Once
	owners  [messages.Shards]uint16
}

// OwnerOfRun returns the server that owns the run's shard; false if there is
// no server.
func (v *View) OwnerOfRun(runID string) (Member, bool) { return v.OwnerOfShard(messages.Shard(runID)) }

// OwnerOfShard returns the server that owns a shard; false if there is no
// server.
func (v *View) OwnerOfShard(shard int) (Member, bool) {
	if len(v.servers) == 0 {
		return Member{}, false
	}
	v.owned.once.Do(v.owned.assign)
	return v.servers[v.owned.owners[shard]], true
}

// OwnerOf returns the server that owns an identity of a kind: for KindRun the
// owner of the run's shard, for others the first of the rendezvous order.
func (v *View) OwnerOf(kind, identity string) (Member, bool) {
	if kind == KindRun {
		return v.OwnerOfRun(identity)
	}
	if len(v.servers) == 0 {
		return Member{}, false
	}
	key := messages.Hash(kind + "/" + identity)
	return slices.MaxFunc(v.servers, func(a, b Member) int {
		return cmp.Compare(score(key, serverID(a)), score(key, serverID(b)))
	}), true
}

// HostPID returns the actor that starts and watches the run on the server
// that owns it; false if there is no server.
func (v *View) HostPID(runID string) (*actor.PID, bool) {
	m, ok := v.OwnerOfRun(runID)
	if !ok {
		return nil, false
	}
	return actor.NewPID(m.Address, HostActor), true
}

// assign matches shards and servers, the pair with the highest score first. It
// costs about a millisecond for each ten servers, once for each set of servers.
func (o *ownership) assign() {
	type pair struct {
		score         uint64
		shard, server uint16
	}
	pairs := make([]pair, 0, messages.Shards*len(o.servers))
	for s, m := range o.servers {
		id := serverID(m)
		for shard := range messages.Shards {
			pairs = append(pairs, pair{score(uint64(shard), id), uint16(shard), uint16(s)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.shard, b.shard), cmp.Compare(a.server, b.server))
	})
	share := (messages.Shards + len(o.servers) - 1) / len(o.servers)
	var taken [messages.Shards]bool
	held := make([]int, len(o.servers))
	for _, p := range pairs {
		if taken[p.shard] || held[p.server] == share {
			continue
		}
		taken[p.shard] = true
		held[p.server]++
		o.owners[p.shard] = p.server
	}
}

// serverID is what a server is hashed by: its stable id, so that a restarted
// server gets its shards back.
func serverID(m Member) string {
	if m.WorkerID != "" {
		return m.WorkerID
	}
	return m.Name
}

// score ranks a server for a key. Hashing addresses or names without a
// finalizer is skewed: one of eight servers got half of all keys.
func score(key uint64, server string) uint64 {
	return messages.Mix(messages.Mix(key+0x9e3779b97f4a7c15) ^ messages.Hash(server))
}
