package cluster_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/limpetrun/limpet/cluster"
)

// nameServer is asked for addresses, if it is set. The resolver stays: nodes that
// have stopped may still look something up.
var nameServer atomic.Pointer[string]

func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if own := nameServer.Load(); own != nil {
			network, address = "udp", *own
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
}

// serveNames answers each question for an address with those in the list, for
// the whole process, until the test ends.
func serveNames(t *testing.T, addresses *atomic.Pointer[[]string]) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served, own := make(chan struct{}), conn.LocalAddr().String()
	nameServer.Store(&own)
	t.Cleanup(func() {
		nameServer.Store(nil)
		_ = conn.Close()
		<-served
	})
	go func() {
		defer close(served)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := answerName(buffer[:n], *addresses.Load()); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
}

func answerName(question []byte, addresses []string) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true}, Questions: m.Questions}
	for _, a := range addresses {
		if q.Type == dnsmessage.TypeA {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(a).To4())},
			})
		}
	}
	data, _ := answer.Pack()
	return data
}

// A name to join stands for all its addresses, and is looked up each time: the
// servers behind it may all have been replaced.
func TestNamesAreLookedUpAgain(t *testing.T) {
	var addresses atomic.Pointer[[]string]
	addresses.Store(&[]string{"127.0.0.9", "127.0.0.1"}) // nobody is at the first
	serveNames(t, &addresses)
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a"})
	_, port, err := net.SplitHostPort(a.Self().GossipAddress)
	if err != nil {
		t.Fatal(err)
	}
	w := onLoopback(t, cluster.Config{Role: cluster.RoleWorker, ID: "w", Join: []string{"limpet-servers:" + port}})
	if names := serversInView(w); !slices.Equal(names, []string{"a"}) {
		t.Fatalf("the worker joined %v", names)
	}
	b := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", GossipAddress: "127.0.0.2:" + port})
	addresses.Store(&[]string{"127.0.0.2"})
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Await(t.Context(), func(v *cluster.View) bool {
		return slices.ContainsFunc(v.Members, func(m cluster.Member) bool { return m.WorkerID == "w" })
	}); err != nil {
		t.Error(err)
	}
}

func serversInView(n *cluster.Node) []string {
	var ids []string
	for _, m := range n.View().Members {
		if m.Role == cluster.RoleServer {
			id, _, _ := strings.Cut(m.Name, "~")
			ids = append(ids, id)
		}
	}
	return ids
}

// A node of every address advertises the address of its host's name, and the
// first server of a list joins itself.
func TestEveryAddressWithAName(t *testing.T) {
	a := onLoopback(t, cluster.Config{
		Role: cluster.RoleServer, ID: "a", Secret: "a secret of this test", BindAddress: ":0", GossipAddress: ":0", AdvertiseHost: "localhost",
	})
	for address, want := range map[string]string{a.Self().Address: "localhost", a.Self().GossipAddress: "127.0.0.1"} {
		if host, port, err := net.SplitHostPort(address); err != nil || host != want || port == "0" {
			t.Errorf("advertises %s", address)
		}
	}
	address := a.Self().GossipAddress
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a", GossipAddress: address, Join: []string{"127.0.0.9:1", address}})
	second := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", Join: []string{"127.0.0.9:1", address}})
	if names := serversInView(second); len(names) != 2 || first.Self().GossipAddress != address {
		t.Errorf("the second server sees %v", names)
	}
}
