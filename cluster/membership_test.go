package cluster_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// onFakeTime runs a test on fake time with a network in memory.
func onFakeTime(t *testing.T, f func(t *testing.T, net *world)) {
	bubble.Test(t, func(t *testing.T) {
		w := &world{t: t}
		defer func() {
			w.network.Heal()
			for _, n := range w.nodes {
				_ = n.Stop(context.Background())
			}
			// The actor library leaves tickers, and memberlist probes, that end
			// by themselves.
			time.Sleep(time.Minute)
		}()
		f(t, w)
	})
}

type world struct {
	t       *testing.T
	network clustertest.Network
	nodes   []*cluster.Node
}

func (w *world) server(id string, join ...string) (*cluster.Node, *clustertest.Host) {
	h := w.network.Host(id)
	return w.start(h, cluster.Config{Role: cluster.RoleServer, ID: id, Join: join}), h
}

func (w *world) worker(id string, join ...string) (*cluster.Node, *clustertest.Host) {
	h := w.network.Host(id)
	return w.start(h, cluster.Config{Role: cluster.RoleWorker, ID: id, Join: join}), h
}

func (w *world) start(h *clustertest.Host, c cluster.Config) *cluster.Node {
	w.t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	n, err := cluster.Start(w.t.Context(), h.Configure(cluster.Anything(c)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	return n
}

// sees waits until the view of n holds exactly the ids, and returns it.
func (w *world) sees(n *cluster.Node, within time.Duration, ids ...string) *cluster.View {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	v, err := n.Await(ctx, func(v *cluster.View) bool { return slices.Equal(viewIDs(v), ids) })
	if err != nil {
		w.t.Fatalf("%s does not see %v within %v but %v", n.Self().Name, ids, within, viewIDs(n.View()))
	}
	return v
}

// allSee waits until the views of all nodes hold those of the ids that they know:
// a worker knows servers and itself.
func (w *world) allSee(within time.Duration, ids ...string) {
	w.t.Helper()
	servers := map[string]bool{}
	for _, n := range w.nodes {
		servers[n.Self().WorkerID] = n.Self().Role == cluster.RoleServer
	}
	for _, n := range w.nodes {
		self := n.Self()
		if slices.Contains(ids, self.WorkerID) {
			w.sees(n, within, slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
				return self.Role == cluster.RoleWorker && id != self.WorkerID && !servers[id]
			})...)
		}
	}
}

func viewIDs(v *cluster.View) []string {
	var ids []string
	for _, m := range v.Members {
		ids = append(ids, m.WorkerID)
	}
	return ids
}

func TestMembersJoinByAnyAddressAndLeave(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, _ := w.server("b", a.Self().GossipAddress)
		c, _ := w.worker("c", b.Self().GossipAddress)
		w.worker("d", c.Self().GossipAddress)
		w.allSee(2*time.Second, "a", "b", "c", "d")
		start := time.Now()
		if err := b.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("Stop took %v", took)
		}
		w.allSee(100*time.Millisecond, "a", "c", "d")
	})
}

func TestStateIsGossiped(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, _ := w.worker("b", a.Self().GossipAddress)
		w.sees(a, time.Second, "a", "b")
		if m, _ := a.View().Member(b.Self().Name); m.State != cluster.StateJoining || m.Address != b.Self().Address {
			t.Fatalf("a sees %+v", m)
		}
		b.SetState(cluster.StateReady)
		before, _ := a.View().Member(b.Self().Name)
		ready := func(v *cluster.View) bool { m, _ := v.Member(b.Self().Name); return m.State == cluster.StateReady }
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := a.Await(ctx, ready); err != nil {
			t.Fatalf("a does not see that b is ready: %+v", a.View().Members)
		}
		if after, _ := a.View().Member(b.Self().Name); after.ID != before.ID {
			t.Fatalf("a change of state is not a new appearance: %s, then %s", before.ID, after.ID)
		}
	})
}

func TestCrashedMemberIsDeclaredGone(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		_, host := w.worker("b", a.Self().GossipAddress)
		c, _ := w.server("c", a.Self().GossipAddress)
		w.allSee(2*time.Second, "a", "b", "c")
		host.Crash()
		w.sees(a, 2500*time.Millisecond, "a", "c")
		w.sees(c, 2500*time.Millisecond, "a", "c")
	})
}

// A member that was declared gone by mistake comes back as another member: the
// library's member list never again accepts an id that left.
func TestFrozenMemberComesBackUnderNewID(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, host := w.worker("b", a.Self().GossipAddress)
		v := w.sees(a, 2*time.Second, "a", "b")
		first, _ := v.Member(b.Self().Name)
		var told atomic.Int32
		b.OnDeclaredGone(func(by cluster.Member) {
			if by.WorkerID == "a" {
				told.Add(1)
			}
		})
		for range 3 {
			// Both have to be in good health again, or they take longer to
			// blame each other.
			time.Sleep(5 * time.Second)
			host.Freeze()
			w.sees(a, 3*time.Second, "a")
			host.Thaw()
			v = w.sees(a, 12*time.Second, "a", "b")
			w.sees(b, 12*time.Second, "a", "b")
			next, _ := v.Member(b.Self().Name)
			if next.ID == first.ID {
				t.Fatalf("came back under its old id %s", next.ID)
			}
			if !libraryKnows(a, next.ID) || libraryKnows(a, first.ID) {
				t.Fatalf("the library does not have %s instead of %s", next.ID, first.ID)
			}
			first = next
		}
		synctest.Wait()
		if told.Load() != 3 {
			t.Fatalf("b was told %d times that it had been declared gone, want 3", told.Load())
		}
	})
}

func TestRestartedMemberHasTheSameIDAndAnotherName(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, host := w.worker("b", a.Self().GossipAddress)
		w.sees(a, 2*time.Second, "a", "b")
		host.Crash()
		again := w.start(host.Again(), cluster.Config{Role: cluster.RoleWorker, ID: "b", Join: []string{a.Self().GossipAddress}})
		// Until the verdict on the old process both are there, then one.
		w.sees(a, time.Second, "a", "b", "b")
		v := w.sees(a, 3*time.Second, "a", "b")
		if _, old := v.Member(b.Self().Name); old {
			t.Fatal("the old process outlived the new one")
		}
		if m, ok := v.Member(again.Self().Name); !ok || m.Address != again.Self().Address {
			t.Fatalf("a sees %+v", v.Members)
		}
	})
}

// Longer than the dead are told news: only the seeds can merge the two partitions.
func TestHealedPartitionMerges(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, hostB := w.server("b", a.Self().GossipAddress)
		c, hostC := w.worker("c", a.Self().GossipAddress)
		for _, n := range w.nodes {
			w.sees(n, 2*time.Second, "a", "b", "c")
		}
		w.network.Split(hostB, hostC)
		w.sees(a, 4*time.Second, "a")
		w.sees(b, 4*time.Second, "b", "c")
		w.sees(c, 4*time.Second, "b", "c")
		time.Sleep(5 * time.Minute)
		w.network.Heal()
		for _, n := range w.nodes {
			w.sees(n, 12*time.Second, "a", "b", "c")
		}
	})
}

// The seed is gone for good: the servers that were known are the way back.
func TestHealedPartitionMergesWithoutTheSeed(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		seed, hostA := w.server("a")
		b, _ := w.server("b", seed.Self().GossipAddress)
		c, hostC := w.worker("c", seed.Self().GossipAddress)
		for _, n := range w.nodes {
			w.sees(n, 2*time.Second, "a", "b", "c")
		}
		hostA.Crash()
		w.network.Split(hostC)
		w.sees(b, 4*time.Second, "b")
		w.sees(c, 4*time.Second, "c")
		time.Sleep(time.Hour)
		w.network.Heal()
		w.sees(c, 3*time.Second, "b", "c")
		w.sees(b, time.Second, "b", "c")
	})
}

// What the seed knows is in the view when Start returns.
func TestStartReturnsWithTheSeedsView(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, _ := w.server("b", a.Self().GossipAddress)
		w.sees(a, time.Second, "a", "b")
		c, _ := w.worker("c", b.Self().GossipAddress)
		if got := viewIDs(c.View()); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Fatalf("c starts with %v", got)
		}
	})
}

// A worker that sees no server looks for one twice a second.
func TestWorkerFindsRestartedServerSoon(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		_, host := w.server("a")
		b, _ := w.worker("b", host.Gossip)
		w.sees(b, 2*time.Second, "a", "b")
		host.Crash()
		w.sees(b, 3*time.Second, "b")
		// Long: each look for a server has to be followed by the next.
		time.Sleep(10 * time.Minute)
		w.start(host.Again(), cluster.Config{Role: cluster.RoleServer, ID: "a"})
		w.sees(b, 700*time.Millisecond, "a", "b")
	})
}

// Long before the verdict on a killed server its next process, which knows
// nobody, meets the others, as soon as either side sends something.
func TestRestartedServerMeetsTheOthersAtOnce(t *testing.T) {
	for _, first := range []string{"server", "worker"} {
		t.Run(first+" sends", func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, w *world) {
				_, host := w.server("a")
				b, _ := w.worker("b", host.Gossip)
				c, _ := w.worker("c", host.Gossip)
				w.allSee(2*time.Second, "a", "b", "c")
				// No news is on its way any more, with which it might get by.
				time.Sleep(time.Minute)
				host.Crash()
				synctest.Wait() // The others notice, and send nothing more to the one that ended.
				again := w.start(host.Again(), cluster.Config{Role: cluster.RoleServer, ID: "a"})
				from, to := again, b
				if first == "worker" {
					from, to = b, again
				}
				from.System().Root.Send(actor.NewPID(to.Self().Address, "whoever"), &messages.Describe{})
				// A connection that was refused to its predecessor is tried again in a moment.
				w.sees(again, 700*time.Millisecond, "a", "a", "b", "c")
				w.sees(b, 200*time.Millisecond, "a", "a", "b")
				w.sees(c, 200*time.Millisecond, "a", "a", "c")
			})
		})
	}
}

func TestSubscribersGetTheNewestView(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		var mu sync.Mutex
		var all []uint64
		cancel := a.Subscribe(func(v *cluster.View) { mu.Lock(); all = append(all, v.Version); mu.Unlock() })
		seen := func() []uint64 {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
		got := seen()
		if len(got) != 1 || got[0] != a.View().Version {
			t.Fatalf("a new subscriber got %v, the view is %d", got, a.View().Version)
		}
		w.worker("b", a.Self().GossipAddress)
		w.sees(a, time.Second, "a", "b")
		got = seen()
		if got[len(got)-1] != a.View().Version || !slices.IsSorted(got) {
			t.Fatalf("got %v, the view is %d", got, a.View().Version)
		}
		cancel()
		count := len(got)
		w.worker("c", a.Self().GossipAddress)
		w.sees(a, time.Second, "a", "b", "c")
		if got = seen(); len(got) != count {
			t.Fatal("called after cancel")
		}
	})
}

func libraryKnows(n *cluster.Node, id string) bool {
	synctest.Wait()
	return slices.Contains(n.LibraryMembers(), id)
}
