package cluster_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// onLoopback starts a node on real sockets.
func onLoopback(t *testing.T, c cluster.Config) *cluster.Node {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	n, err := cluster.Start(t.Context(), cluster.Anything(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop(context.Background()) })
	return n
}

func TestBadConfigurationIsRefused(t *testing.T) {
	long := strings.Repeat("x", 129)
	_, err := cluster.Start(t.Context(), cluster.Config{
		Role: "king", ID: long, Incarnation: "a~b", Pool: "two words", BindAddress: "nowhere", GossipAddress: "localhost:0", Join: []string{"nowhere"},
	})
	if messages.CodeOf(err) != messages.CodeInvalidArgument {
		t.Fatal(err)
	}
	for _, fault := range []string{`role "king"`, "id of 129 bytes", `incarnation "a~b": '~'`, `pool "two words": ' '`, `bind address "nowhere"`, `gossip address "localhost:0"`, `join address "nowhere"`} {
		if !strings.Contains(err.Error(), fault) {
			t.Errorf("%q is not in %v", fault, err)
		}
	}
}

// The longest names that are allowed fit into what memberlist gossips.
func TestLongestNamesFit(t *testing.T) {
	long := strings.Repeat("x", 128)
	a := onLoopback(t, cluster.Config{Role: cluster.RoleWorker, ID: long, Incarnation: long, Pool: long})
	b := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", Join: []string{a.Self().GossipAddress}})
	a.SetState(cluster.StateDraining)
	_, err := b.Await(t.Context(), func(v *cluster.View) bool {
		m, ok := v.Member(a.Self().Name)
		return ok && m.WorkerID == long && m.Incarnation == long && m.Pool == long && m.State == cluster.StateDraining
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBeyondLoopbackNeedsASecret(t *testing.T) {
	for _, c := range []cluster.Config{
		{BindAddress: "0.0.0.0:0", AdvertiseHost: "127.0.0.1"}, {BindAddress: ":0", AdvertiseHost: "127.0.0.1"},
		{GossipAddress: "0.0.0.0:0", AdvertiseHost: "127.0.0.1"}, {GossipAddress: "[::]:0", AdvertiseHost: "127.0.0.1"},
		{AdvertiseHost: "10.1.2.3"}, {BindAddress: "example.org:0"},
	} {
		c.Role, c.ID = cluster.RoleServer, "a"
		for _, secret := range []string{"", strings.Repeat("s", cluster.SecretBytesMin-1)} {
			c.Secret = secret
			if _, err := cluster.Start(t.Context(), c); messages.CodeOf(err) != messages.CodeSecretRequired {
				t.Errorf("%+v: %v", c, err)
			}
		}
	}
	c := cluster.Config{Role: cluster.RoleServer, ID: "a", Secret: "s", BindAddress: "0.0.0.0:0"}
	if _, err := cluster.Start(t.Context(), c); messages.CodeOf(err) != messages.CodeInvalidArgument || !strings.Contains(err.Error(), "advertise") {
		t.Errorf("an address that is not specific: %v", err)
	}
}

func TestAdvertisedAddresses(t *testing.T) {
	a := onLoopback(t, cluster.Config{
		Role: cluster.RoleServer, ID: "a", Secret: "a secret of this test", BindAddress: "0.0.0.0:0", GossipAddress: "0.0.0.0:0", AdvertiseHost: "127.0.0.1",
	})
	b := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", Secret: "a secret of this test", Join: []string{a.Self().GossipAddress}})
	for _, address := range []string{a.Self().Address, a.Self().GossipAddress} {
		if host, port, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" || port == "0" {
			t.Fatalf("advertises %s", address)
		}
	}
	pid := spawn(t, a, "echo", echo(a))
	answered(t, b, pid)
}

func TestAddressInUse(t *testing.T) {
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a"})
	for _, c := range []cluster.Config{{BindAddress: a.Self().Address}, {GossipAddress: a.Self().GossipAddress}} {
		c.Role, c.ID, c.Logger = cluster.RoleServer, "b", slog.New(slog.DiscardHandler)
		_, err := cluster.Start(t.Context(), c)
		if messages.CodeOf(err) != messages.CodeAddressInUse || !strings.Contains(err.Error(), c.BindAddress+c.GossipAddress) {
			t.Errorf("%v", err)
		}
	}
	// What the failed start had bound is free again.
	free := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "c"})
	c := cluster.Config{Role: cluster.RoleServer, ID: "c", BindAddress: free.Self().Address, GossipAddress: free.Self().GossipAddress}
	_ = free.Stop(t.Context())
	onLoopback(t, c)
}

// lines collects log records.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestJoinFailsWithTheCause(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	var said lines
	_, err = cluster.Start(t.Context(), cluster.Config{
		Role: cluster.RoleWorker, ID: "w", Join: []string{address}, JoinTimeout: 300 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&said, nil)),
	})
	if messages.CodeOf(err) != messages.CodeJoinFailed || !strings.Contains(err.Error(), "join "+address+": connection refused") {
		t.Fatal(err)
	}
	if strings.Count(said.String(), "join "+address+": connection refused; trying again") != 1 {
		t.Fatalf("it is not said once: %s", said.String())
	}
}

// A seed that is something else is said to be what it is, once while it lasts.
func TestJoinSaysWhatASeedIs(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"alive":true}`) }))
	defer api.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	server := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "s", GossipAddress: "127.0.0.1:0"})
	for address, want := range map[string]string{
		api.Listener.Addr().String():    "the API of a limpet server is there",
		other.Listener.Addr().String():  "a web server is there",
		secure.Listener.Addr().String(): "a server that speaks TLS is there",
		server.Self().Address:           "servers and workers talk to each other",
	} {
		for _, secret := range []string{"", "a secret of the cluster"} {
			var said lines
			_, err := cluster.Start(t.Context(), cluster.Config{
				Role: cluster.RoleWorker, ID: "w", Join: []string{address}, Secret: secret, JoinTimeout: time.Second, Logger: slog.New(slog.NewTextHandler(&said, nil)),
			})
			if messages.CodeOf(err) != messages.CodeJoinFailed || !strings.Contains(err.Error(), "join "+address+": ") || !strings.Contains(err.Error(), want+"; join the address of a server's gossip") {
				t.Errorf("%v, want %s", err, want)
			}
			if strings.Count(said.String(), "; trying again") != 1 {
				t.Errorf("%s: said %q", want, said.String())
			}
		}
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := cluster.Start(ctx, cluster.Config{
		Role: cluster.RoleWorker, ID: "w", Join: []string{"127.0.0.1:1"}, JoinTimeout: -1, Logger: slog.New(slog.DiscardHandler),
	})
	if messages.CodeOf(err) != messages.CodeJoinFailed {
		t.Fatal(err)
	}
}

func TestSecret(t *testing.T) {
	const secret, other = "correct-horse-battery-staple-0123", "another-secret-altogether-987654"
	var said lines
	logger := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a", Secret: secret, Logger: logger})
	b := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", Secret: secret, Logger: logger, Join: []string{a.Self().GossipAddress}})
	pid := spawn(t, a, "echo", echo(a))
	answered(t, b, pid)
	for what, wrong := range map[string]string{"another secret": other, "no secret": ""} {
		_, err := cluster.Start(t.Context(), cluster.Config{
			Role: cluster.RoleWorker, ID: "w", Secret: wrong, Join: []string{a.Self().GossipAddress}, JoinTimeout: 300 * time.Millisecond, Logger: logger,
		})
		if messages.CodeOf(err) != messages.CodeJoinFailed || !strings.Contains(err.Error(), "secret") {
			t.Errorf("%s joins: %v", what, err)
		}
		alone := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "alone", Secret: wrong, Logger: logger})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := alone.Request(ctx, remotely(pid), &messages.Activate{}); messages.CodeOf(err) != messages.CodeUnavailable {
			t.Errorf("%s sends: %v", what, err)
		}
		back := spawn(t, alone, "echo", echo(alone))
		if _, err := a.Request(ctx, actor.NewPID(back.Address, back.Id), &messages.Activate{}); messages.CodeOf(err) != messages.CodeUnavailable {
			t.Errorf("a sends to who has %s: %v", what, err)
		}
	}
	if got := len(a.View().Members); got != 2 {
		t.Errorf("%d members", got)
	}
	for _, s := range []string{secret, other} {
		if strings.Contains(said.String(), s) {
			t.Error("the log holds a secret")
		}
	}
}

// A panic of what a message reaches ends its connection, not the process.
func TestPanicInDelivery(t *testing.T) {
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a"})
	b := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b"})
	pid, _ := a.System().ProcessRegistry.Add(panicking{}, "panicking")
	good := spawn(t, a, "echo", echo(a))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.Request(ctx, remotely(pid), &messages.Activate{}); err == nil {
		t.Fatal("an answer")
	}
	answered(t, b, good)
}

type panicking struct{}

func (panicking) SendUserMessage(*actor.PID, any)   { panic("user") }
func (panicking) SendSystemMessage(*actor.PID, any) { panic("system") }
func (panicking) Stop(*actor.PID)                   {}

func TestStopIsQuickAndRepeatable(t *testing.T) {
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a"})
	b := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", Join: []string{a.Self().GossipAddress}})
	both := func(v *cluster.View) bool { return len(v.Members) == 2 }
	if _, err := a.Await(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("Stop took %v", time.Since(start))
	if _, err := a.Await(t.Context(), func(v *cluster.View) bool { return len(v.Members) == 1 }); err != nil {
		t.Fatal(err)
	}
	t.Logf("seen after %v", time.Since(start))
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestIPv6(t *testing.T) {
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("no IPv6 here: %v", err)
		return
	}
	_ = listener.Close()
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a", BindAddress: "[::1]:0", GossipAddress: "[::1]:0"})
	b := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", BindAddress: "[::1]:0", GossipAddress: "[::1]:0", Join: []string{a.Self().GossipAddress}})
	pid := spawn(t, a, "echo", echo(a))
	answered(t, b, pid)
	if got := len(b.View().Members); got != 2 {
		t.Fatalf("%d members", got)
	}
}

// A port that another member had gets packets that were meant for that one,
// from the moment it is bound.
func TestPacketsComeWhileANodeStarts(t *testing.T) {
	gossip := freeAddress(t)
	from, err := net.Dial("udp", gossip)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	packet := gossipPacket(cluster.LeaseAskMessage("w~1", "another server~1"), 255)
	started, flooding := make(chan struct{}), sync.WaitGroup{}
	defer flooding.Wait()
	defer close(started)
	flooding.Go(func() {
		for {
			select {
			case <-started:
				return
			default:
				_, _ = from.Write(packet) // refused while nobody listens
			}
		}
	})
	for range 100 {
		n, err := cluster.Start(t.Context(), cluster.Config{
			Role: cluster.RoleServer, ID: "s", GossipAddress: gossip, Logger: slog.New(slog.DiscardHandler),
		})
		if messages.CodeOf(err) == messages.CodeAddressInUse {
			continue // by another test's connection, for a moment
		} else if err != nil {
			t.Fatal(err)
		}
		n.Kill()
	}
}

// What is known of a member changes while it is sent to.
func TestMembersChangeWhileTheyAreSentTo(t *testing.T) {
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a"})
	b := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", Join: []string{a.Self().GossipAddress}})
	_, err := a.Await(t.Context(), func(v *cluster.View) bool {
		_, there := v.Member(b.Self().Name)
		return there
	})
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan error)
	go func() {
		for i := range 6 {
			b.SetState([]cluster.State{cluster.StateDraining, cluster.StateReady}[i%2])
		}
		close(changed)
	}()
	for {
		select {
		case err := <-changed:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			a.TellToLook("nobody~1")
		}
	}
}

// answered asks until there is an answer: a message may be lost with its
// connection, and nobody says so.
func answered(t *testing.T, from *cluster.Node, pid *actor.PID) {
	t.Helper()
	var err error
	for range 10 {
		try, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		_, err = from.Request(try, remotely(pid), &messages.Activate{})
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatal(err)
}

// freeAddress is one that was free for TCP and UDP a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := udp.LocalAddr().String()
		_ = udp.Close()
		if tcp, err := net.Listen("tcp", address); err == nil {
			_ = tcp.Close()
			return address
		}
	}
}

// gossipPacket is memberlist's packet with a delegate's message, so often.
func gossipPacket(message []byte, times byte) []byte {
	const compound, toDelegate = 7, 8
	packet := []byte{compound, times}
	for range times {
		packet = binary.BigEndian.AppendUint16(packet, uint16(1+len(message)))
	}
	for range times {
		packet = append(append(packet, toDelegate), message...)
	}
	return packet
}
