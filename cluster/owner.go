package cluster

import (
	"cmp"
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// Shards is the fixed number of shards that run ids fall into. It is part of
// the journal's format.
const Shards = 1024

// Shard returns the shard of a run id, the same for ever on every machine.
func Shard(runID string) int { return int(hash(runID) % Shards) }

// ownership says which server owns each shard. Each shard prefers the servers
// in the order of rendezvous hashing, and a server takes at most its even
// share: so two servers differ by one shard, and a server that comes or goes
// moves little more than its own share.
type ownership struct {
	servers []Member
	once    sync.Once
	owners  [Shards]uint16
}

// OwnerOfRun returns the server that owns the run's shard; false if there is
// no server.
func (v *View) OwnerOfRun(runID string) (Member, bool) { return v.OwnerOfShard(Shard(runID)) }

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
	key := hash(kind + "/" + identity)
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
	pairs := make([]pair, 0, Shards*len(o.servers))
	for s, m := range o.servers {
		id := serverID(m)
		for shard := range Shards {
			pairs = append(pairs, pair{score(uint64(shard), id), uint16(shard), uint16(s)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.shard, b.shard), cmp.Compare(a.server, b.server))
	})
	share := (Shards + len(o.servers) - 1) / len(o.servers)
	var taken [Shards]bool
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
	return mix(mix(key+0x9e3779b97f4a7c15) ^ hash(server))
}

// hash is FNV-1a with a finalizer. Its values are stored: never change it.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finalizer of MurmurHash3: every bit of x changes half of the
// result's.
func mix(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
