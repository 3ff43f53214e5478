package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
)

// crowdOf is how many workers come at once: so many that a server that probes one
// after the other comes to each after 12 s only.
const crowdOf = 40

// crowd starts servers, and workers that all come at once.
func (w *world) crowd(servers int) (hosts map[*cluster.Node]*clustertest.Host) {
	w.t.Helper()
	hosts = map[*cluster.Node]*clustertest.Host{}
	var ids, seeds []string
	for i := range servers {
		id := fmt.Sprintf("server-%d", i)
		n, host := w.server(id, seeds...)
		hosts[n], ids, seeds = host, append(ids, id), append(seeds, n.Self().GossipAddress)
	}
	for i := range crowdOf {
		id := fmt.Sprintf("worker-%02d", i)
		n, host := w.worker(id, seeds...)
		hosts[n], ids = host, append(ids, id)
	}
	for _, n := range w.nodes {
		n.SetState(cluster.StateReady)
	}
	w.allSee(3*time.Second, ids...)
	return hosts
}

// awaitView waits until the view of a node is as it should be.
func (w *world) awaitView(n *cluster.Node, within time.Duration, what string, condition func(*cluster.View) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	if _, err := n.Await(ctx, condition); err != nil {
		w.t.Fatalf("%s does not see within %v that %s: %v", n.Self().Name, within, what, viewIDs(n.View()))
	}
}

func without(name string) func(*cluster.View) bool {
	return func(v *cluster.View) bool { _, there := v.Member(name); return !there }
}

func with(name string) func(*cluster.View) bool {
	return func(v *cluster.View) bool { _, there := v.Member(name); return there }
}

// M7: all servers see all workers, which have leases, and no worker another one. M6: a
// worker that hangs is gone at all servers as soon as one of two, and back when it goes
// on.
func TestManyWorkers(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		hosts := w.crowd(3)
		time.Sleep(10 * time.Second)
		for _, n := range w.nodes {
			if n.Self().Role == cluster.RoleWorker && (!n.HoldsLease() || len(n.View().Members) != 4) {
				t.Fatalf("%s has a lease: %v, and sees %v", n.Self().Name, n.HoldsLease(), viewIDs(n.View()))
			}
		}
		hung := w.nodes[10]
		hosts[hung].Freeze()
		for _, server := range w.nodes[:3] {
			w.awaitView(server, 2500*time.Millisecond, "a worker hangs", without(hung.Self().Name))
		}
		hosts[hung].Thaw()
		for _, server := range w.nodes[:3] {
			w.awaitView(server, 3*time.Second, "it goes on", with(hung.Self().Name))
		}
		time.Sleep(3 * time.Second)
		if !hung.HoldsLease() {
			t.Error("the worker that goes on has no lease")
		}
	})
}

// A server that comes later is known to all workers soon, though it tells few of them.
func TestManyWorkersHearOfAServerThatComesLater(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		w.crowd(1)
		time.Sleep(time.Minute) // No news is on its way any more.
		late, _ := w.server("late", w.nodes[0].Self().GossipAddress)
		workers := w.nodes[1 : 1+crowdOf]
		for _, n := range workers {
			w.awaitView(n, 3*time.Second, "a server has come", with(late.Self().Name))
		}
		for _, n := range workers {
			w.awaitView(late, 3*time.Second, "a worker is there", with(n.Self().Name))
		}
		late.SetState(cluster.StateDraining)
		for _, n := range workers {
			w.awaitView(n, 3*time.Second, "the server drains", func(v *cluster.View) bool {
				m, _ := v.Member(late.Self().Name)
				return m.State == cluster.StateDraining
			})
		}
	})
}

// M6: a worker that one server does not hear and another one does stays in the views
// of both.
func TestWorkerThatOneServerDoesNotHear(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		hosts := w.crowd(2)
		time.Sleep(10 * time.Second)
		cut, server := w.nodes[10], w.nodes[0]
		before := slices.Clone(w.nodes)
		w.network.SplitOneWay(hosts[cut], hosts[server])
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			for _, n := range before[:2] {
				if without(cut.Self().Name)(n.View()) {
					t.Fatalf("%s has lost a worker that the other server hears", n.Self().Name)
				}
			}
		}
	})
}

// A worker that hears no server has no lease 2 s later. That it goes on asking does not
// keep it: it is silent after the patience, and gone when the leases have ended that it
// was sent meanwhile.
func TestWorkerThatHearsNothing(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		hosts := w.crowd(2)
		time.Sleep(10 * time.Second)
		deaf := w.nodes[10]
		for _, server := range w.nodes[:2] {
			w.network.SplitOneWay(hosts[server], hosts[deaf])
		}
		for _, server := range w.nodes[:2] {
			w.awaitView(server, 6*time.Second, "a worker hears nothing", without(deaf.Self().Name))
		}
		time.Sleep(10 * time.Second)
		for _, server := range w.nodes[:2] {
			if with(deaf.Self().Name)(server.View()) {
				t.Fatalf("%s sees a worker that hears nothing", server.Self().Name)
			}
		}
		w.network.Heal()
		for _, server := range w.nodes[:2] {
			w.awaitView(server, 3*time.Second, "the worker hears it again", with(deaf.Self().Name))
		}
	})
}
