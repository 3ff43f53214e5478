// Package node assembles a server, the only place where its parts meet:
// membership, journal, runs, placement, roster and gateway.
//
// Data flow: Config → Start → Server; Stop takes the parts down in the
// opposite order.
//
// Imports access, server, places, gateway, metrics, tracing, definitions, clock, journal, placement,
// cluster, messages.
package node

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/clock"
	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/gateway"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/metrics"
	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/actors/server/places"
	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// DefaultRetention is how long finished runs are kept.
const DefaultRetention = 7 * 24 * time.Hour

// DefaultUnservedAfter is how long no worker may serve a workflow until events
// leave it out.
const DefaultUnservedAfter = 24 * time.Hour

// Config of a server. Store is required; zero fields take the defaults.
type Config struct {
	// ID of the server, stable across restarts. Default "server/" and the
	// host's name.
	ID string
	// Store holds the journal. The caller closes it after Stop. As many commits
	// are under way at one time as its method Commits says; one if it has none.
	Store journal.Store
	// APIListen is the address of the API. Default 127.0.0.1:7080; port 0
	// takes a free one.
	APIListen string
	// Bind and Gossip are the addresses of remoting and membership. Default
	// 127.0.0.1 with free ports.
	Bind, Gossip string
	// AdvertiseHost is how others reach Bind and Gossip; default their host.
	AdvertiseHost string
	// Join is gossip addresses of members to join.
	Join []string
	// Secret is required to listen beyond loopback.
	Secret string
	// Identity of the server among members; empty for none.
	Identity cluster.IdentityFiles
	// Preset of the membership's timing. Default cluster.LocalConfig.
	Preset cluster.Preset
	// Retention of finished runs. Default DefaultRetention; negative keeps
	// them for ever.
	Retention time.Duration
	// UnservedAfter is how long no worker may serve a workflow until events start
	// none of its runs, while a server is there; the same on all servers. Default
	// DefaultUnservedAfter; negative: for ever.
	UnservedAfter time.Duration
	// EventsKept is how long events are kept for calls that look back, the same on all
	// servers. Default server.DefaultEventsKept; negative keeps them for ever.
	EventsKept time.Duration
	// StreamBytesMax is how much the steps of a run may write to streams, in bytes, the
	// same on all servers. Default messages.StreamBytesMax; negative is no limit.
	StreamBytesMax int64
	// Placement holds the rules of placement, the same on all servers.
	Placement placement.Config
	// Local is the clock of this machine. Defaults to time.Now. A test may move it on,
	// and then calls Server.ClockMoved.
	Local func() time.Time
	// Pages makes the pages for people, at /ui/ of the API: see gateway.Config. nil:
	// there are none.
	Pages func(context.Context, apiconnect.LimpetServiceClient, access.Doors) http.Handler
	// Profiles is the address at which net/http/pprof serves, of loopback; empty:
	// nowhere.
	Profiles string
	// Traces makes the spans of runs; the caller stops it after Stop. nil: none.
	Traces *tracing.Provider
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.ID == "" {
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "localhost"
		}
		c.ID = "server/" + host
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Retention == 0 {
		c.Retention = DefaultRetention
	}
	if c.UnservedAfter == 0 {
		c.UnservedAfter = DefaultUnservedAfter
	}
	return c
}

// Validate returns what is wrong with the settings, but for the store and what
// only starting can tell: INVALID_ARGUMENT, SECRET_REQUIRED. Start calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	if err := gateway.CheckListen(c.APIListen, c.Secret); err != nil {
		return err
	}
	if c.Profiles != "" {
		if err := gateway.CheckProfiles(c.Profiles); err != nil {
			return err
		}
	}
	return c.membership().Validate()
}

// membership is what the settings say of the node.
func (c Config) membership() cluster.Config {
	return cluster.Config{
		Role: cluster.RoleServer, ID: c.ID, BindAddress: c.Bind, GossipAddress: c.Gossip, AdvertiseHost: c.AdvertiseHost,
		Join: c.Join, Secret: c.Secret, Identity: c.Identity, Preset: c.Preset, Logger: c.Logger,
	}
}

// Server is a running server.
type Server struct {
	node      *cluster.Node
	committer *journal.Committer
	roster    *server.Roster
	host      *server.Host
	api       *gateway.Server
	journal   *journalHealth
	clock     *clock.Clock
	metrics   *metrics.Server
	profiles  *gateway.Beside
	log       *slog.Logger
	// rest ends the giving back of memory, and returns when it has ended.
	rest func()
}

// Start starts a server and returns once it serves. Errors carry a code:
// ADDRESS_IN_USE, SECRET_REQUIRED, JOIN_FAILED, STORE_MISMATCH, SERVER_ID_TAKEN,
// INVALID_ARGUMENT, JOURNAL_UNAVAILABLE; nothing is left running then.
func Start(ctx context.Context, c Config) (_ *Server, err error) {
	c = c.withDefaults()
	if c.Store == nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "a server needs a store for its journal")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	counts := metrics.NewServer()
	s := &Server{log: c.Logger, metrics: counts, journal: &journalHealth{store: c.Store, metrics: counts}}
	defer func() {
		if err != nil {
			stopCtx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = s.Stop(stopCtx)
		}
	}()
	// Nobody hears of a server that cannot listen.
	listener, err := gateway.Listen(ctx, c.APIListen, c.Secret)
	if err != nil {
		return nil, err
	}
	if c.Profiles != "" {
		if s.profiles, err = gateway.StartProfiles(ctx, c.Profiles, c.Secret); err != nil {
			_ = listener.Close()
			return nil, err
		}
		c.Logger.Info("profiles are served", "at", "http://"+s.profiles.Address()+"/debug/pprof/")
	}
	s.clock = clock.New(clock.Config{Store: c.Store, Local: c.Local, Logger: c.Logger})
	if err := s.clock.Begin(ctx); err != nil {
		_ = listener.Close()
		return nil, err
	}
	if s.node, err = cluster.Start(ctx, s.clusterConfig(c)); err != nil {
		_ = listener.Close()
		return nil, err
	}
	s.api = gateway.Serve(listener, s.host.Engine(), gateway.Config{
		ID: c.ID, Listen: c.APIListen, Secret: c.Secret, Member: s.member, Journal: s.journal.check, Times: s.clock, Logger: c.Logger,
		Metrics: s.metrics.Handler(), Called: s.metrics.Called, Pages: c.Pages, Access: c.Store, Tracer: c.Traces.Tracer(),
	})
	s.givesBack()
	c.Logger.Info("server is up", "id", c.ID, "api", s.api.Address(), "gossip", s.node.Self().GossipAddress, "actors", s.node.Self().Address)
	return s, nil
}

// clusterConfig is the node's part of the configuration. The parts of the
// server are made before anybody can know of the node, so that what it
// activates is there when it is asked for.
func (s *Server) clusterConfig(c Config) cluster.Config {
	var placements *places.Places
	m := c.membership()
	m.Heartbeats, m.Store = c.Store, c.Store.Identity()
	m.Kinds = []cluster.Kind{
		{Name: cluster.KindRun, Activate: func(id string) (*actor.PID, error) { return s.host.Activate(id) }},
		{Name: cluster.KindPlacement, Activate: func(pool string) (*actor.PID, error) { return placements.Activate(pool) }},
	}
	m.Prepare = func(node *cluster.Node) error {
		placements = s.prepare(c, node)
		s.measure(node, placements, c.Traces)
		return s.host.Start()
	}
	return m
}

// prepare makes the parts of the server and returns what places runs.
func (s *Server) prepare(c Config, node *cluster.Node) *places.Places {
	s.committer = journal.NewCommitter(c.Store, journal.CommitterConfig{InFlight: commitsInFlight(c.Store), Hooks: s.journal.hooks(c.Logger)})
	s.roster = server.NewRoster(server.RosterConfig{Node: node, Clock: s.clock, Logger: c.Logger})
	known := definitions.New(c.Store)
	s.host = server.NewHost(server.HostConfig{
		Node: node, Store: c.Store, Committer: s.committer, Roster: s.roster, Definitions: known,
		Retention: c.Retention, UnservedAfter: c.UnservedAfter, EventsKept: c.EventsKept, StreamBytesMax: c.StreamBytesMax, Clock: s.clock, Logger: c.Logger,
		Hooks: server.HostHooks{Committed: s.committed(c.Traces), Recovered: s.metrics.TakenUp},
	})
	return places.New(places.Deps{
		Node: node, Roster: s.roster, Store: c.Store, Definitions: known, Clock: s.clock, Config: c.Placement, Logger: c.Logger,
	})
}

// commitsInFlight is what the store says, or one.
func commitsInFlight(store journal.Store) int {
	if s, ok := store.(interface{ Commits() int }); ok {
		return s.Commits()
	}
	return 1
}

// leaveWithin bounds how long a server that stops waits for the others to take
// its runs up.
const leaveWithin = 8 * time.Second

// Stop takes the server down. With other servers there it first hands its runs
// over, while the API goes on to answer and passes on what is theirs now; it
// only says that it is not ready any more. Then the API ends, so that nothing
// new comes in, then the runs, which go on elsewhere or at the next start, then
// the membership.
func (s *Server) Stop(ctx context.Context) error {
	s.profiles.Stop()
	var first error
	up := s.api != nil // else there is nothing to tell of
	phase := func(what string, stop func() error) {
		began := time.Now()
		err := stop()
		if up {
			s.log.Info(what, "took", time.Since(began).Round(time.Millisecond), "complete", err == nil)
		}
		if first == nil {
			first = err
		}
	}
	if s.api != nil {
		s.api.NotReady("the server is leaving")
		leave, cancel := context.WithTimeout(ctx, leaveWithin)
		s.host.Leave(leave)
		cancel()
		phase("the API has ended", func() error { return s.api.Stop(ctx) })
	}
	if s.rest != nil {
		s.rest()
	}
	if s.host != nil {
		phase("no run is in memory any more", func() error { s.host.Stop(); return nil })
	}
	if s.committer != nil {
		phase("the last entries are in the journal", func() error { return s.committer.Close(ctx) })
	}
	if s.roster != nil {
		s.roster.Stop()
	}
	if s.node != nil {
		phase("the server has left the cluster", func() error { return s.node.Stop(ctx) })
	}
	return first
}

// ClockMoved says that Config.Local was moved on.
func (s *Server) ClockMoved() { s.clock.Moved() }

// Now is the time by which runs wait.
func (s *Server) Now() time.Time { return s.clock.Now() }

// Rest says whether nothing but time goes on with this server's runs: see
// server.Host.Rest.
func (s *Server) Rest() (run.Rest, error) { return s.host.Rest() }

// APIAddress is where the API listens, host:port.
func (s *Server) APIAddress() string { return s.api.Address() }

// GossipAddress is what other members may join.
func (s *Server) GossipAddress() string { return s.node.Self().GossipAddress }

// Done tells when the server cannot serve any more, and why.
func (s *Server) Done() <-chan error { return s.api.Done() }

// ActiveRuns is the number of runs in memory.
func (s *Server) ActiveRuns() int { return s.host.ActiveRuns() }

// ClockSteps is how often the wall clock of the store's machine was set since the
// server started.
func (s *Server) ClockSteps() int { return s.clock.Steps() }

// Node is the server's membership.
func (s *Server) Node() *cluster.Node { return s.node }
