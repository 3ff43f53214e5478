package cluster_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// storeWorld is a cluster whose servers have stores with names.
type storeWorld struct {
	t       *testing.T
	network clustertest.Network
	log     lines
	nodes   []*cluster.Node
}

func (w *storeWorld) start(role cluster.Role, id, store string, join ...string) (*cluster.Node, error) {
	c := w.network.Host(id).Configure(cluster.Config{Role: role, ID: id, Store: store, Join: join, Pool: "", JoinTimeout: 20 * time.Second,
		Logger: slog.New(slog.NewTextHandler(&w.log, nil))})
	if role == cluster.RoleWorker {
		c.Pool = "default"
	}
	n, err := cluster.Start(w.t.Context(), cluster.Anything(c))
	if err == nil {
		w.nodes = append(w.nodes, n)
		n.SetState(cluster.StateReady)
	}
	return n, err
}

func (w *storeWorld) mustStart(role cluster.Role, id, store string, join ...string) *cluster.Node {
	w.t.Helper()
	n, err := w.start(role, id, store, join...)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *storeWorld) mismatched(err error, names ...string) {
	w.t.Helper()
	if messages.CodeOf(err) != messages.CodeStoreMismatch {
		w.t.Errorf("%v, want %s", err, messages.CodeStoreMismatch)
		return
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			w.t.Errorf("%v lacks %q", err, name)
		}
	}
}

func storeBubble(t *testing.T, f func(w *storeWorld)) {
	bubble.Test(t, func(t *testing.T) {
		w := &storeWorld{t: t}
		defer func() {
			for _, n := range w.nodes {
				n.Kill()
			}
			time.Sleep(time.Minute)
		}()
		f(w)
	})
}

func names(n *cluster.Node) (ids []string) {
	for _, m := range n.View().Members {
		ids = append(ids, m.WorkerID)
	}
	return ids
}

// A server of another store does not join: it ends, and says which both are.
// Nobody of the cluster sees it, and no shard moves.
func TestAServerOfAnotherStoreIsRefused(t *testing.T) {
	storeBubble(t, func(w *storeWorld) {
		a := w.mustStart(cluster.RoleServer, "a", "sqlite/one")
		worker := w.mustStart(cluster.RoleWorker, "w", "", a.Self().GossipAddress)
		time.Sleep(2 * time.Second)
		versions := []uint64{a.View().Version, worker.View().Version}
		_, err := w.start(cluster.RoleServer, "b", "sqlite/two", a.Self().GossipAddress)
		w.mismatched(err, "sqlite/one", "sqlite/two", "server a", a.Self().GossipAddress)
		_, err = w.start(cluster.RoleServer, "c", "sqlite/two", worker.Self().GossipAddress)
		w.mismatched(err, "sqlite/one", "sqlite/two")
		time.Sleep(5 * time.Second)
		for i, n := range []*cluster.Node{a, worker} {
			if got := strings.Join(names(n), " "); got != "a w" || n.View().Version != versions[i] {
				w.t.Errorf("members are %s, the view has changed from %d to %d", got, versions[i], n.View().Version)
			}
		}
		w.mustStart(cluster.RoleServer, "d", "sqlite/one", a.Self().GossipAddress)
	})
}

// Two servers with new stores that are told to join each other: one goes on.
func TestOfTwoNewStoresOneGoesOn(t *testing.T) {
	storeBubble(t, func(w *storeWorld) {
		first, second := w.network.Host("a"), w.network.Host("b")
		errs := make(chan error, 2)
		for i, h := range []*clustertest.Host{first, second} {
			go func() {
				c := h.Configure(cluster.Config{Role: cluster.RoleServer, ID: []string{"a", "b"}[i], Incarnation: []string{"1", "2"}[i], Store: []string{"x/one", "x/two"}[i],
					JoinTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler), Join: []string{first.Gossip, second.Gossip}})
				n, err := cluster.Start(w.t.Context(), cluster.Anything(c))
				if err == nil {
					defer n.Kill()
					time.Sleep(20 * time.Second)
					if got := strings.Join(names(n), " "); got != "a" {
						w.t.Errorf("members are %s", got)
					}
				}
				errs <- err
			}()
		}
		failed := 0
		for range 2 {
			if err := <-errs; err != nil {
				failed++
				w.mismatched(err, "x/one", "x/two")
			}
		}
		if failed != 1 {
			w.t.Errorf("%d of two ended", failed)
		}
	})
}

// A worker that is told to join servers of two stores ends.
func TestAWorkerBetweenTwoStoresEnds(t *testing.T) {
	storeBubble(t, func(w *storeWorld) {
		a, b := w.mustStart(cluster.RoleServer, "a", "x/one"), w.mustStart(cluster.RoleServer, "b", "x/two")
		_, err := w.start(cluster.RoleWorker, "w", "", a.Self().GossipAddress, b.Self().GossipAddress)
		w.mismatched(err, "x/one", "x/two")
	})
}

// A worker stays with its store while it waits for that store's servers, for a while,
// and goes over from one that was in memory, which nobody will ever open again.
func TestAWorkerWhoseServerComesBackWithAnotherStore(t *testing.T) {
	for _, c := range []struct {
		before, after string
		ends          bool
	}{{"sqlite/one", "sqlite/two", true}, {"sqlite/one", "memory/two", true}, {"memory/one", "memory/two", false}, {"memory/one", "sqlite/two", false}, {"sqlite/one", "sqlite/one", false}} {
		t.Run(c.before+" "+c.after, func(t *testing.T) {
			storeBubble(t, func(w *storeWorld) {
				host := w.network.Host("a")
				server := func(h *clustertest.Host, store string) *cluster.Node {
					n, err := cluster.Start(w.t.Context(), h.Configure(cluster.Config{Role: cluster.RoleServer, ID: "a", Store: store, Logger: slog.New(slog.DiscardHandler)}))
					if err != nil {
						w.t.Fatal(err)
					}
					w.nodes = append(w.nodes, n)
					return n
				}
				a := server(host, c.before)
				worker := w.mustStart(cluster.RoleWorker, "w", "", a.Self().GossipAddress)
				host.Crash()
				a.Kill()
				time.Sleep(8 * time.Second)
				again := server(host.Again(), c.after)
				time.Sleep(5 * time.Second)
				if joined := len(names(again)) == 2; joined == c.ends {
					w.t.Errorf("the members of the new server are %v", names(again))
				}
				time.Sleep(10 * time.Second)
				select {
				case err := <-worker.Foreign():
					if !c.ends {
						w.t.Errorf("the worker is to end: %v", err)
					}
					w.mismatched(err, c.before, c.after)
				default:
					if c.ends {
						w.t.Error("the worker goes on")
					}
				}
			})
		})
	}
}

// sharedHeartbeats are in memory.
type sharedHeartbeats struct {
	mu    sync.Mutex
	beats map[string]messages.StoredHeartbeat
	at    map[string]time.Time
}

func (s *sharedHeartbeats) Heartbeat(_ context.Context, server string, data []byte) (out []messages.StoredHeartbeat, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beats == nil {
		s.beats, s.at = map[string]messages.StoredHeartbeat{}, map[string]time.Time{}
	}
	s.beats[server], s.at[server] = messages.StoredHeartbeat{Server: server, Data: data}, time.Now()
	for name, b := range s.beats {
		b.Age = time.Since(s.at[name])
		out = append(out, b)
	}
	return out, nil
}

// A server whose id another process has, which answers, is not started; one whose
// earlier process is gone is.
func TestAServerIDThatIsInUse(t *testing.T) {
	storeBubble(t, func(w *storeWorld) {
		beats := &sharedHeartbeats{}
		start := func(h *clustertest.Host) (*cluster.Node, error) {
			n, err := cluster.Start(w.t.Context(), h.Configure(cluster.Config{Role: cluster.RoleServer, ID: "a", Heartbeats: beats, Logger: slog.New(slog.DiscardHandler)}))
			if err == nil {
				w.nodes = append(w.nodes, n)
			}
			return n, err
		}
		host := w.network.Host("a")
		a, err := start(host)
		if err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
		version := a.View().Version
		_, err = start(w.network.Host("other"))
		if messages.CodeOf(err) != messages.CodeServerIDTaken || !strings.Contains(err.Error(), host.Gossip) {
			w.t.Errorf("%v, want %s naming %s", err, messages.CodeServerIDTaken, host.Gossip)
		}
		time.Sleep(time.Second)
		if a.View().Version != version {
			w.t.Errorf("the first one has heard of the other: %v", a.View().Members)
		}
		host.Crash()
		a.Kill()
		if _, err := start(w.network.Host("elsewhere")); err != nil {
			w.t.Error(err)
		}
	})
}
