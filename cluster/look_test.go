package cluster_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/messages"
)

// atOnce is less than memberlist needs for a verdict, by far.
const atOnce = 400 * time.Millisecond

// talks has a node connect to another one.
func talks(t *testing.T, from, to *cluster.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	// Nobody of the name is there, and that is the answer.
	_, _ = from.Request(ctx, actor.NewPID(to.Self().Address, "none"), &messages.Activate{})
}

// lookWorld is three servers and a worker; a talks to the worker, b hears from
// it, and c neither.
func lookWorld(t *testing.T, w *world) (a, b, c, worker *cluster.Node, host *clustertest.Host) {
	a, _ = w.server("a")
	b, _ = w.server("b", a.Self().GossipAddress)
	c, _ = w.server("c", a.Self().GossipAddress)
	worker, host = w.worker("w", a.Self().GossipAddress)
	for _, n := range w.nodes {
		w.sees(n, 5*time.Second, "a", "b", "c", "w")
	}
	talks(t, a, worker)
	talks(t, worker, b)
	return a, b, c, worker, host
}

func TestEndedProcessIsNoticedAtOnce(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, b, c, _, host := lookWorld(t, w)
		start := time.Now()
		host.Crash()
		for _, n := range []*cluster.Node{a, b, c} {
			w.sees(n, atOnce, "a", "b", "c")
		}
		t.Logf("gone after %v", time.Since(start))
		// The verdict of memberlist that follows changes nothing more.
		time.Sleep(time.Minute)
		for _, n := range []*cluster.Node{a, b, c} {
			w.sees(n, 0, "a", "b", "c")
		}
		// And who comes back there is a new member.
		w.start(host.Again(), cluster.Config{Role: cluster.RoleWorker, ID: "w", Join: []string{b.Self().GossipAddress}})
		for _, n := range []*cluster.Node{a, b, c} {
			w.sees(n, 5*time.Second, "a", "b", "c", "w")
		}
	})
}

// Silence is no proof: a member that is stopped or cut off is left to the
// verdict of memberlist.
func TestSilentProcessIsNotTakenForEnded(t *testing.T) {
	for name, silence := range map[string]func(*world, *clustertest.Host){
		"stopped": func(_ *world, h *clustertest.Host) { h.Freeze() },
		"cut off": func(w *world, h *clustertest.Host) { w.network.Split(h) },
	} {
		t.Run(name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, w *world) {
				a, b, c, _, host := lookWorld(t, w)
				silence(w, host)
				time.Sleep(cluster.LocalConfig().Suspicion(4) / 2)
				for _, n := range []*cluster.Node{a, b, c} {
					w.sees(n, 0, "a", "b", "c", "w")
				}
				for _, n := range []*cluster.Node{a, b, c} {
					w.sees(n, 5*time.Second, "a", "b", "c")
				}
			})
		})
	}
}

// refusing starts a server whose connections to one host are refused on the
// way while it says so.
func (w *world) refusing(id string, of *clustertest.Host, refuses *atomic.Bool, join string) *cluster.Node {
	w.t.Helper()
	c := w.network.Host(id).Configure(cluster.Config{
		Role: cluster.RoleServer, ID: id, Join: []string{join}, Logger: slog.New(slog.DiscardHandler),
	})
	dial := c.Dial
	c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		if refuses.Load() && (address == of.Actors || address == of.Gossip) {
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx, address)
	}
	n, err := cluster.Start(w.t.Context(), cluster.Anything(c))
	if err != nil {
		w.t.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	return n
}

// Somebody on the way refuses in the name of a member that lives: it is back,
// as one that had been declared gone, by its own connection or in time.
func TestMemberThatWasTakenForEnded(t *testing.T) {
	for _, connects := range []bool{true, false} {
		onFakeTime(t, func(t *testing.T, w *world) {
			live, host := w.server("live")
			var refuses atomic.Bool
			refuses.Store(true)
			a := w.refusing("a", host, &refuses, live.Self().GossipAddress)
			w.sees(a, 5*time.Second, "a", "live")
			before := a.View().Members
			var told atomic.Bool
			live.OnDeclaredGone(func(by cluster.Member) { told.Store(by.WorkerID == "a") })
			talks(t, a, live)
			w.sees(a, atOnce, "a")
			time.Sleep(time.Second)
			w.sees(a, 0, "a")
			refuses.Store(false)
			within := 10 * time.Second
			if connects {
				talks(t, live, a)
				within = atOnce
			}
			w.sees(a, within, "a", "live")
			if id := func(ms []cluster.Member) string {
				return ms[slices.IndexFunc(ms, func(m cluster.Member) bool { return m.WorkerID == "live" })].ID
			}; id(before) == id(a.View().Members) {
				t.Error("back under its old id")
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if !told.Load() {
				t.Error("it was not told that it had been declared gone")
			}
		})
	}
}

// A connection that breaks, or cannot be made for a moment, is no proof either.
func TestBrokenConnectionIsNoProof(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		live, host := w.server("live")
		var refuses atomic.Bool
		refuses.Store(true)
		a := w.refusing("a", host, &refuses, live.Self().GossipAddress)
		w.sees(a, 5*time.Second, "a", "live")
		version := a.View().Version
		talks(t, a, live)
		refuses.Store(false)
		time.Sleep(time.Minute)
		if v := a.View(); v.Version != version {
			t.Errorf("view %v", v.Members)
		}
	})
}

// patient is a preset whose members have a long time to refute a verdict.
func patient() cluster.Preset {
	p := cluster.LocalConfig()
	p.RefuteTime = 5 * time.Second
	return p
}

// pairOf is a server that sees a ready worker.
func pairOf(w *world, p cluster.Preset) (a, b *cluster.Node, host *clustertest.Host) {
	a, _ = w.preset("a", p)
	host = w.network.Host("b")
	b = w.start(host, cluster.Config{Role: cluster.RoleWorker, ID: "b", State: cluster.StateReady, Join: []string{a.Self().GossipAddress}, Preset: p})
	w.sees(a, 5*time.Second, "a", "b")
	time.Sleep(time.Second)
	return a, b, host
}

func TestRefutedVerdictChangesNothing(t *testing.T) {
	for _, p := range []cluster.Preset{patient(), cluster.LocalConfig()} {
		onFakeTime(t, func(t *testing.T, w *world) {
			a, _, host := pairOf(w, p)
			before := a.View()
			host.Freeze()
			time.Sleep(4 * time.Second)
			host.Thaw()
			time.Sleep(30 * time.Second)
			w.sees(a, 0, "a", "b")
			if same := a.View().Version == before.Version; same != (p.RefuteTime > 4*time.Second) {
				t.Errorf("%v to refute: view %d after %d", p.RefuteTime, a.View().Version, before.Version)
			}
		})
	}
}

// Who has nothing to refute, or does not come to it, does not stay.
func TestVerdictThatIsNotRefuted(t *testing.T) {
	p := patient()
	verdict := 2*p.Suspicion(2) + 4*p.ProbeInterval
	for name, tc := range map[string]struct {
		end    func(*cluster.Node, *clustertest.Host)
		within time.Duration
	}{
		"stopped": {func(_ *cluster.Node, h *clustertest.Host) { h.Freeze() }, verdict + p.RefuteTime},
		"ended":   {func(_ *cluster.Node, h *clustertest.Host) { h.Crash() }, verdict},
		"left":    {func(n *cluster.Node, _ *clustertest.Host) { _ = n.Stop(context.Background()) }, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, w *world) {
				a, b, host := pairOf(w, p)
				tc.end(b, host)
				w.sees(a, tc.within, "a")
			})
		})
	}
}
