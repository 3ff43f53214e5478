package actorstest

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// RosterWorld is a cluster in memory on fake time: a server with a roster, and
// worker processes that answer who they are and do nothing else.
type RosterWorld struct {
	T       *testing.T
	network clustertest.Network
	Server  *cluster.Node
	Roster  *server.Roster
	nodes   []*cluster.Node
	Stops   []func()
	// Place activates placement on the server; nil without.
	Place func(string) (*actor.PID, error)
}

// RosterBubble runs f with a world of its own, on fake time.
func RosterBubble(t *testing.T, f func(w *RosterWorld)) {
	bubble.Test(t, func(t *testing.T) {
		w := &RosterWorld{T: t}
		defer func() {
			w.network.Heal()
			for _, stop := range w.Stops {
				stop()
			}
			for _, n := range w.nodes {
				_ = n.Stop(context.Background())
			}
			// The actor library leaves tickers that end by themselves.
			time.Sleep(2 * time.Second)
		}()
		w.Server = w.Node("s1", cluster.Config{Role: cluster.RoleServer, Kinds: []cluster.Kind{{Name: cluster.KindPlacement,
			Activate: func(pool string) (*actor.PID, error) { return w.Place(pool) }}}})
		w.Roster = server.NewRoster(server.RosterConfig{Node: w.Server})
		w.Stops = append(w.Stops, w.Roster.Stop)
		f(w)
	})
}

// Node starts a member on a host of its own.
func (w *RosterWorld) Node(id string, c cluster.Config) *cluster.Node {
	w.T.Helper()
	return w.nodeOn(w.network.Host(id), id, c)
}

func (w *RosterWorld) nodeOn(h *clustertest.Host, id string, c cluster.Config) *cluster.Node {
	w.T.Helper()
	c.ID, c.Logger = id, slog.New(slog.DiscardHandler)
	if w.Server != nil {
		c.Join = []string{w.Server.Self().GossipAddress}
	}
	n, err := cluster.Start(w.T.Context(), h.Configure(c))
	if err != nil {
		w.T.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	return n
}

// Process is a worker process.
type Process struct {
	w          *RosterWorld
	Node       *cluster.Node
	Host       *clustertest.Host
	Info       *messages.WorkerInfo
	draining   atomic.Bool
	Silent     atomic.Bool
	Superseded chan *messages.Superseded
}

// Worker starts a process of a worker that has not been admitted yet.
func (w *RosterWorld) Worker(id string) *Process {
	w.T.Helper()
	p := &Process{w: w, Host: w.network.Host(id), Superseded: make(chan *messages.Superseded, 100)}
	p.Node = w.nodeOn(p.Host, id, cluster.Config{Role: cluster.RoleWorker, Pool: "default"})
	self := p.Node.Self()
	p.Info = &messages.WorkerInfo{
		WorkerId: id, Incarnation: self.Incarnation, Pool: "default", Address: self.Address, Slots: 2, Host: "h", ProcessId: 7,
		ActorId: messages.WorkerActorID(id, self.Incarnation), StartedUs: time.Now().UnixMicro(),
		Workflows: []*messages.WorkflowDefinition{{Name: "build", Steps: []*messages.StepDefinition{{Name: "s1"}}}},
	}
	_, err := p.Node.System().Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *messages.Describe:
			if p.Silent.Load() {
				return
			}
			ctx.Respond(&messages.DescribeReply{Worker: p.Info, Draining: p.draining.Load()})
		case *messages.Superseded:
			p.Superseded <- m
		}
	}), p.Info.ActorId)
	if err != nil {
		w.T.Fatal(err)
	}
	return p
}

// Ready starts a process that is admitted.
func (w *RosterWorld) Ready(id string) *Process {
	w.T.Helper()
	p := w.Worker(id)
	p.Set(cluster.StateReady)
	return p
}

// Watched starts a process, and a run that has heard that it is up.
func (w *RosterWorld) Watched(id string) (*Process, *Watcher) {
	w.T.Helper()
	p, watcher := w.Worker(id), w.Watcher()
	w.Roster.Watch(id, p.Info.Incarnation, watcher.PID)
	p.Set(cluster.StateReady)
	watcher.Hears(time.Second, p, "up")
	return p, watcher
}

// Set shows the cluster a state.
func (p *Process) Set(s cluster.State) {
	p.w.T.Helper()
	p.Node.SetState(s)
}

// Watcher is an actor that hears of workers.
type Watcher struct {
	w    *RosterWorld
	PID  *actor.PID
	news chan *run.WorkerChanged
}

// Watcher starts an actor that hears of workers.
func (w *RosterWorld) Watcher() *Watcher {
	r := &Watcher{w: w, news: make(chan *run.WorkerChanged, 1000)}
	r.PID = w.Server.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if c, ok := ctx.Message().(*run.WorkerChanged); ok {
			r.news <- c
		}
	}))
	return r
}

// Hears waits for the next news: "up", "draining", or "gone: reason".
func (r *Watcher) Hears(within time.Duration, p *Process, want string) {
	r.w.T.Helper()
	r.HearsOf(within, p.Info.Incarnation, want)
}

// HearsOf is Hears for a process that has no actor.
func (r *Watcher) HearsOf(within time.Duration, incarnation, want string) {
	r.w.T.Helper()
	select {
	case c := <-r.news:
		got := c.State.String()
		if c.State == run.WorkerGone {
			got += ": " + c.Reason.Words()
		}
		if got != want || c.Worker.Incarnation != incarnation {
			r.w.T.Fatalf("heard %q of %s, want %q of %s", got, c.Worker.Incarnation, want, incarnation)
		}
		if c.State != run.WorkerGone && c.Info.GetIncarnation() != incarnation {
			r.w.T.Fatalf("%q comes with the info of %q", got, c.Info.GetIncarnation())
		}
	case <-time.After(within):
		r.w.T.Fatalf("did not hear %q within %v", want, within)
	}
}

// HearsNothing wants no news for a while.
func (r *Watcher) HearsNothing(for_ time.Duration) {
	r.w.T.Helper()
	select {
	case c := <-r.news:
		r.w.T.Fatalf("heard %v of %s: %s", c.State, c.Worker.Incarnation, c.Reason)
	case <-time.After(for_):
	}
}
