package cluster_test

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster"
)

// Whoever wants to call a worker lost goes by the leases that other servers have
// given it, whatever it has found itself.
func TestLeasesOfOtherServersHoldAVerdictBack(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, hostA := w.server("a")
		_, hostB := w.server("b", a.Self().GossipAddress)
		worker, host := w.worker("w", a.Self().GossipAddress)
		for _, n := range w.nodes {
			w.sees(n, 2*time.Second, "a", "b", "w")
			n.SetState(cluster.StateReady)
		}
		hold := func() time.Duration {
			return a.LeaseHold(t.Context(), "w", worker.Self().Incarnation)
		}
		time.Sleep(10 * time.Second)
		w.network.SplitOneWay(hostA, host)
		w.network.SplitOneWay(host, hostA)
		time.Sleep(10 * time.Second)
		if !worker.HoldsLease() || hold() == 0 {
			t.Errorf("the worker holds a lease of another server: %v, and may be called lost in %v", worker.HoldsLease(), hold())
		}
		w.network.SplitOneWay(hostB, host)
		w.network.SplitOneWay(host, hostB)
		time.Sleep(6 * time.Second)
		if worker.HoldsLease() || hold() != 0 {
			t.Errorf("the worker holds a lease: %v, and may be called lost in %v", worker.HoldsLease(), hold())
		}
		if a.HasEnded("w", worker.Self().Incarnation) {
			t.Error("a process that is out of reach counts as ended")
		}
		w.network.Heal()
		w.sees(a, 15*time.Second, "a", "b", "w")
		host.Crash()
		w.sees(a, time.Second, "a", "b")
		if !a.HasEnded("w", worker.Self().Incarnation) {
			t.Error("a process that has ended may act again")
		}
	})
}
