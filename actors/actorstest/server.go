package actorstest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/actors/server/places"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
)

// Server is a server without an API.
type Server struct {
	Node      *cluster.Node
	Network   *clustertest.Host
	committer *journal.Committer
	Roster    *server.Roster
	Host      *server.Host
	Places    *places.Places
	// Recovered gets the number of runs that the host has brought back, each time.
	Recovered chan int
	// Store is the server's way to the store of all.
	Store    *HookedStore
	stopOnce sync.Once
}

// Server starts a server that has recovered when this returns.
func (w *World) Server(id string) *Server {
	w.T.Helper()
	s := w.StartServer(id, w.Network.Host(id), server.HostConfig{})
	select {
	case <-s.Recovered:
	case <-time.After(10 * time.Second):
		w.T.Fatalf("server %s did not recover", id)
	}
	return s
}

// StartServer starts a server. Its host has a configuration of its own; what it
// needs is filled in.
func (w *World) StartServer(id string, on *clustertest.Host, c server.HostConfig) *Server {
	w.T.Helper()
	s := &Server{Network: on, Recovered: make(chan int, 100), Store: &HookedStore{Store: w.Store}}
	config := cluster.Config{
		Role: cluster.RoleServer, ID: id, Logger: slog.New(slog.DiscardHandler), Heartbeats: s.Store,
		Kinds: []cluster.Kind{
			{Name: cluster.KindRun, Activate: func(id string) (*actor.PID, error) { return s.Host.Activate(id) }},
			{Name: cluster.KindPlacement, Activate: func(pool string) (*actor.PID, error) { return s.Places.Activate(pool) }},
		},
		Prepare: func(node *cluster.Node) error {
			s.Node = node
			w.prepare(s, c)
			return s.Host.Start()
		},
	}
	if w.First != nil {
		config.Join = []string{w.First.Node.Self().GossipAddress}
	}
	if _, err := cluster.Start(w.T.Context(), on.Configure(config)); err != nil {
		w.T.Fatal(err)
	}
	if w.First == nil {
		w.First = s
	}
	w.Stops = append(w.Stops, s.Stop)
	return s
}

// prepare makes the parts of the server.
func (w *World) prepare(s *Server, c server.HostConfig) {
	log := slog.New(slog.DiscardHandler)
	s.committer = journal.NewCommitter(s.Store, w.Committer)
	s.Roster = server.NewRoster(server.RosterConfig{Node: s.Node})
	known := definitions.New(s.Store)
	c.Node, c.Store, c.Committer, c.Roster, c.Definitions, c.Logger = s.Node, s.Store, s.committer, s.Roster, known, log
	c.Hooks.Recovered = func(runs int, _ time.Duration) { s.Recovered <- runs }
	s.Host = server.NewHost(c)
	s.Places = places.New(places.Deps{Node: s.Node, Roster: s.Roster, Store: s.Store, Definitions: known, Logger: log})
}

// CutStore says whether this server alone reaches no store.
func (s *Server) CutStore(cut bool) {
	if !cut {
		s.Store.Before(nil)
		return
	}
	s.Store.Before(func(string, string) error { return ErrJournalDown })
}

// Stop takes the server down in the order of a real one.
func (s *Server) Stop() {
	s.stopOnce.Do(func() {
		s.Host.Stop()
		_ = s.committer.Close(context.Background())
		s.Roster.Stop()
		_ = s.Node.Stop(context.Background())
	})
}

// Retire takes the server down like a real one that is stopped.
func (s *Server) Retire(ctx context.Context) {
	s.Host.Leave(ctx)
	s.Stop()
}

// Kill ends the server without a word: its host forgets what it was about to
// write.
func (s *Server) Kill() {
	s.Network.Crash()
	s.stopOnce.Do(func() {
		s.Node.Kill()
		s.Host.Stop()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.committer.Close(ctx)
		s.Roster.Stop()
	})
}

// Settled waits until the servers see each other and have recovered.
func (w *World) Settled(servers ...*Server) {
	w.T.Helper()
	for _, s := range servers {
		if _, err := s.Node.Await(w.T.Context(), func(v *cluster.View) bool { return len(v.Servers()) == len(servers) }); err != nil {
			w.T.Fatal(err)
		}
	}
	time.Sleep(time.Second)
}
