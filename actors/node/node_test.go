package node_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/actors/pool"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

func config(store journal.Store) node.Config {
	return node.Config{ID: "s1", Store: store, APIListen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
}

// askedStore tells of each append.
type askedStore struct {
	*journaltest.Faulty
	asked chan struct{}
}

func (s *askedStore) Append(ctx context.Context, batch []journal.Append) []error {
	s.asked <- struct{}{}
	return s.Faulty.Append(ctx, batch)
}

// leaksNothing checks at the end of the test that nothing was left running.
func leaksNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before,
			// These end by themselves.
			goleak.IgnoreAnyFunction(reflect.TypeFor[pool.Pool]().PkgPath()+".(*Pool).loop"),
			goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"))
	})
}

func TestServerThatCannotStartLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	address := taken.Addr().String()
	// The journal of a server that others would see.
	heard := &heartbeatsCounted{Store: journal.NewMemory()}
	for _, tc := range []struct {
		name   string
		change func(*node.Config)
		want   messages.Code
	}{
		{"no store", func(c *node.Config) { c.Store = nil }, messages.CodeInvalidArgument},
		{"API address in use", func(c *node.Config) { c.APIListen = address }, messages.CodeAddressInUse},
		{"actor address in use", func(c *node.Config) { c.Bind = address }, messages.CodeAddressInUse},
		{"gossip address in use", func(c *node.Config) { c.Gossip = address }, messages.CodeAddressInUse},
		{"beyond loopback with a short secret", func(c *node.Config) { c.APIListen, c.Secret = "0.0.0.0:0", "fifteen bytes.." }, messages.CodeSecretRequired},
		{"an id that is none", func(c *node.Config) { c.ID = "a b" }, messages.CodeInvalidArgument},
		{"beyond loopback without a secret", func(c *node.Config) { c.APIListen = "0.0.0.0:0" }, messages.CodeSecretRequired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			leaksNothing(t)
			c := config(heard)
			tc.change(&c)
			s, err := node.Start(t.Context(), c)
			if s != nil || messages.CodeOf(err) != tc.want {
				t.Fatalf("%v, want %s", err, tc.want)
			}
			if n := heard.n.Load(); n > 0 {
				t.Errorf("it has written %d heartbeats, and so taken part", n)
			}
		})
	}
}

// heartbeatsCounted counts the heartbeats of servers that go so far.
type heartbeatsCounted struct {
	journal.Store
	n atomic.Int32
}

func (h *heartbeatsCounted) Heartbeat(ctx context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error) {
	h.n.Add(1)
	return h.Store.Heartbeat(ctx, server, data)
}

// A server is stopped while the journal is out of reach: it stops in time, the
// caller is told that nothing is known, and the next server knows.
func TestStopWithAnAppendInFlight(t *testing.T) {
	leaksNothing(t)
	store := &askedStore{journaltest.NewFaulty(journaltest.FaultyConfig{}), make(chan struct{}, 100)}
	def := &messages.WorkflowDefinition{Name: "build", Steps: []*messages.StepDefinition{{Name: "work"}}}
	data, err := proto.Marshal(def)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.PutDefinition(t.Context(), journal.Definition{Hash: messages.HashDefinition(def), Name: def.Name, Data: data, RegisteredAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s, err := node.Start(t.Context(), config(store))
	if err != nil {
		t.Fatal(err)
	}
	never, appending := make(chan struct{}), make(chan error, 1)
	store.Script(journaltest.Fault{Until: never})
	start := func(address string) error {
		client := apiconnect.NewLimpetServiceClient(http.DefaultClient, "http://"+address)
		_, err := client.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "build", IdempotencyKey: "k"}))
		return err
	}
	go func() { appending <- start(s.APIAddress()) }()
	<-store.asked
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := s.Stop(ctx); err == nil {
		t.Error("the stop says that all went well")
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if err := <-appending; err == nil {
		t.Error("the start says that the run is durable")
	}
	if s, err = node.Start(t.Context(), config(store)); err != nil {
		t.Fatal(err)
	}
	if err := start(s.APIAddress()); err != nil {
		t.Errorf("the start on the next server: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}
