package cluster

import (
	"fmt"
	"testing"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/messages"
)

func servers(n int) []Member {
	var ms []Member
	for i := range n {
		id := fmt.Sprintf("server-%d", i)
		ms = append(ms, Member{Name: gossip.Name(id, "0"), WorkerID: id, Role: RoleServer, State: StateReady})
	}
	return ms
}

func runIDs(n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("01j%023d", i))
	}
	return ids
}

// Shard is part of the journal's format: these never change.
func TestShardIsStable(t *testing.T) {
	for id, want := range map[string]int{"": 294, "a": 603, "01j00000000000000000000000": 492} {
		if got := messages.Shard(id); got != want {
			t.Errorf("shard of %q is %d, want %d", id, got, want)
		}
	}
}

func TestOwnershipIsEven(t *testing.T) {
	ids := runIDs(50_000)
	for n := 1; n <= 8; n++ {
		v := NewView(1, servers(n))
		runs, shards, pools := map[string]int{}, map[string]int{}, map[string]int{}
		for _, id := range ids {
			m, _ := v.OwnerOfRun(id)
			runs[m.WorkerID]++
			m, _ = v.OwnerOf(KindPlacement, id)
			pools[m.WorkerID]++
		}
		for s := range messages.Shards {
			m, _ := v.OwnerOfShard(s)
			shards[m.WorkerID]++
		}
		for _, m := range v.Servers() {
			checkRatio(t, n, "runs", float64(runs[m.WorkerID])*float64(n)/float64(len(ids)), 0.15)
			checkRatio(t, n, "pools", float64(pools[m.WorkerID])*float64(n)/float64(len(ids)), 0.05)
			checkRatio(t, n, "shards", float64(shards[m.WorkerID])*float64(n)/messages.Shards, 0.03)
		}
	}
}

func checkRatio(t *testing.T, n int, what string, ratio, tolerance float64) {
	t.Helper()
	if ratio < 1-tolerance || ratio > 1+tolerance {
		t.Errorf("%d servers: one has %.3f of its even share of %s", n, ratio, what)
	}
}

// A server that comes or goes moves its own share and at most 6 % more.
func TestOwnershipMovesLittle(t *testing.T) {
	for n := 2; n <= 8; n++ {
		all := servers(n)
		full := NewView(1, all)
		for gone := range all {
			fewer := full.next(append(append([]Member(nil), all[:gone]...), all[gone+1:]...))
			moved := 0
			for s := range messages.Shards {
				before, _ := full.OwnerOfShard(s)
				after, _ := fewer.OwnerOfShard(s)
				if before.WorkerID != after.WorkerID {
					moved++
				}
			}
			if limit := messages.Shards/n + 1 + messages.Shards*6/100; moved > limit {
				t.Errorf("%d servers, %d leaves: %d shards move, more than %d", n, gone, moved, limit)
			}
		}
	}
}

func TestOwnershipIgnoresWhoIsNotReady(t *testing.T) {
	ms := servers(3)
	ms[0].State, ms[1].Role = StateDraining, RoleWorker
	v := NewView(1, ms)
	if m, ok := v.OwnerOfRun("x"); !ok || m.WorkerID != "server-2" {
		t.Fatalf("owner %+v", m)
	}
	if pid, ok := v.HostPID("x"); !ok || pid.Id != HostActor {
		t.Fatalf("host %v", pid)
	}
	v = NewView(1, ms[:2])
	if _, ok := v.OwnerOfRun("x"); ok {
		t.Fatal("an owner without servers")
	}
	if _, ok := v.OwnerOf(KindPlacement, "x"); ok {
		t.Fatal("an owner without servers")
	}
	if _, ok := v.HostPID("x"); ok {
		t.Fatal("a host without servers")
	}
}

// Before the verdict on it, a server's earlier incarnation owns nothing more.
func TestRestartedServerOwnsAtOnce(t *testing.T) {
	ms := servers(2)
	again := ms[0]
	again.Incarnation, again.Name = "1", gossip.Name(again.WorkerID, "1")
	before := NewView(1, ms)
	v := before.next(append(ms, again))
	if len(v.Servers()) != 2 {
		t.Fatalf("servers %+v", v.Servers())
	}
	for s := range messages.Shards {
		was, _ := before.OwnerOfShard(s)
		is, _ := v.OwnerOfShard(s)
		if was.WorkerID != is.WorkerID {
			t.Fatalf("shard %d moved", s)
		}
		if is.WorkerID == again.WorkerID && is.Name != again.Name {
			t.Fatalf("shard %d belongs to the earlier incarnation", s)
		}
	}
}

func BenchmarkAssign(b *testing.B) {
	ms := servers(8)
	for b.Loop() {
		NewView(1, ms).OwnerOfShard(0)
	}
}
