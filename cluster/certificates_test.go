package cluster_test

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/authority"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

// pki is an authority, and the files of members that it signs.
type pki struct {
	t    *testing.T
	dir  string
	root authority.Pair
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{t: t, dir: t.TempDir()}
	p.anew()
	p.write("revoked", nil)
	return p
}

// anew makes another authority.
func (p *pki) anew() {
	p.t.Helper()
	root, err := authority.New("test", time.Hour)
	if err != nil {
		p.t.Fatal(err)
	}
	p.root = root
	p.write("ca.pem", root.Certificate)
}

func (p *pki) write(name string, data []byte) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// issue writes the files of a member.
func (p *pki) issue(name, uri string) cluster.IdentityFiles {
	p.t.Helper()
	of, err := identity.Parse(uri)
	if err != nil {
		p.t.Fatal(err)
	}
	a, err := authority.Read(p.root)
	if err != nil {
		p.t.Fatal(err)
	}
	pair, err := a.Issue(of, 30*time.Minute)
	if err != nil {
		p.t.Fatal(err)
	}
	return cluster.IdentityFiles{
		CA: filepath.Join(p.dir, "ca.pem"), Revoked: filepath.Join(p.dir, "revoked"),
		Certificate: p.write(name+".pem", pair.Certificate), Key: p.write(name+".key", pair.Key),
	}
}

func (w *world) member(p *pki, role cluster.Role, id, uri string, join ...string) (*cluster.Node, *clustertest.Host) {
	h := w.network.Host(id)
	return w.start(h, cluster.Config{Role: role, ID: id, Join: join, Identity: p.issue(id, uri)}), h
}

// ask says whether an actor of another node answers.
func (w *world) ask(from, to *cluster.Node) error {
	w.t.Helper()
	_, err := from.Request(w.t.Context(), actor.NewPID(to.Self().Address, "echo"), &messages.Activate{})
	return err
}

// With an authority a member is what its certificate says. Who has the gossip's key and no
// certificate, or that of another one, is in no view, and nobody listens to it.
func TestMembersAreWhatTheirCertificatesSay(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		p := newPKI(t)
		a, host := w.member(p, cluster.RoleServer, "a", "limpet://server/a")
		seed := a.Self().GossipAddress
		b, _ := w.member(p, cluster.RoleServer, "b", "limpet://server/*", seed)
		gpu, _ := w.member(p, cluster.RoleWorker, "gpu-1", "limpet://worker/gpu-*", seed)
		spawn(t, a, "echo", echo(a))
		gpu.SetState(cluster.StateReady)
		w.allSee(5*time.Second, "a", "b", "gpu-1")
		if err := w.ask(gpu, a); err != nil {
			t.Fatal(err)
		}

		// They gossip as they like.
		plain := w.start(w.network.Host("c"), cluster.Config{Role: cluster.RoleServer, ID: "c", Join: []string{seed}})
		if err := w.ask(plain, a); err == nil {
			t.Error("who has no certificate is answered")
		}
		time.Sleep(5 * time.Second)
		w.sees(a, time.Second, "a", "b", "gpu-1")
		w.sees(b, time.Second, "a", "b", "gpu-1")

		_, err := cluster.Start(t.Context(), w.network.Host("d").Configure(cluster.Config{Role: cluster.RoleServer, ID: "d", Logger: slog.New(slog.DiscardHandler),
			Identity: p.issue("d", "limpet://worker/d")}))
		if messages.CodeOf(err) != messages.CodeCertificateRefused {
			t.Errorf("a worker's certificate in a server: %v", err)
		}
		before := a.Refusals(cluster.RefusedMember)
		claims := func(of cluster.IdentityFiles, role, name string, headers ...string) error {
			t.Helper()
			pair, err := tls.LoadX509KeyPair(of.Certificate, of.Key)
			if err != nil {
				t.Fatal(err)
			}
			creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
			conn, err := grpc.NewClient("passthrough:///"+a.Self().Address, grpc.WithTransportCredentials(creds), grpc.WithContextDialer(host.Configure(cluster.Config{}).Dial))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			stream, err := remote.NewRemotingClient(conn).Receive(metadata.AppendToOutgoingContext(t.Context(), append(headers, "limpet-role", role)...))
			if err == nil {
				err = stream.Send(introduction(name, "127.0.0.1:9"))
			}
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}
		cpu, s2 := p.issue("cpu", "limpet://worker/cpu-1"), p.issue("s2", "limpet://server/s2")
		for what, err := range map[string]error{
			"a worker in another one's name":    claims(cpu, "worker", "gpu-1~i"),
			"a worker that says it is a server": claims(cpu, "server", "cpu-1~i"),
			"a server in another one's name":    claims(s2, "server", "a~i"),
			"a server that says it is a worker": claims(s2, "worker", "s2~i"),
			"a worker that passes on":           claims(cpu, "worker", "gpu-1~i", "limpet-relayed-by", "cpu-1~i"),
		} {
			if status.Code(err) != codes.Unauthenticated {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := a.Refusals(cluster.RefusedMember) - before; n != 5 {
			t.Errorf("%d were refused, want 5", n)
		}
		for what, err := range map[string]error{
			"itself":                  claims(cpu, "worker", "cpu-1~i"),
			"a server that passes on": claims(s2, "worker", "gpu-1~i", "limpet-relayed-by", "s2~i"),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// The authority is changed, and a member's certificate, while all goes on: first the
// bundle has both, then come certificates of the new one, then the old root goes. What
// cannot be used is refused, and what was there stays.
func TestCertificatesAreChangedWhileRunning(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		p := newPKI(t)
		a, _ := w.member(p, cluster.RoleServer, "a", "limpet://server/a")
		b, _ := w.member(p, cluster.RoleServer, "b", "limpet://server/b", a.Self().GossipAddress)
		spawn(t, a, "echo", echo(a))
		w.allSee(5*time.Second, "a", "b")
		works := func(when string) {
			t.Helper()
			time.Sleep(3 * time.Second)
			w.allSee(time.Second, "a", "b")
			if err := w.ask(b, a); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
		}
		works("at first")

		old := p.root
		for what, broken := range map[string]func(){
			"half a bundle":        func() { p.write("ca.pem", old.Certificate[:100]) },
			"a key of another one": func() { p.write("b.key", old.Key) },
			"an unknown root":      func() { p.anew() },
			"a list that is none":  func() { p.write("revoked", []byte("?")) },
		} {
			before := b.IdentityFailures()
			files := map[string][]byte{}
			for _, name := range []string{"ca.pem", "b.key", "revoked"} {
				data, err := os.ReadFile(filepath.Join(p.dir, name))
				if err != nil {
					t.Fatal(err)
				}
				files[name] = data
			}
			broken()
			works(what)
			if n := b.IdentityFailures() - before; n != 1 {
				t.Errorf("%s: noticed %d times", what, n)
			}
			for name, data := range files {
				p.write(name, data)
			}
			works("after " + what)
		}

		p.anew()
		fresh := p.root
		p.write("ca.pem", append(append([]byte{}, old.Certificate...), fresh.Certificate...))
		works("both roots")
		p.issue("a", "limpet://server/a")
		works("one certificate of the new root")
		p.issue("b", "limpet://server/b")
		works("both of the new root")
		p.write("ca.pem", fresh.Certificate)
		works("the new root alone")
	})
}

// Who is revoked is cut off within seconds, and does not come back.
func TestRevoked(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		p := newPKI(t)
		a, _ := w.member(p, cluster.RoleServer, "a", "limpet://server/a")
		one, _ := w.member(p, cluster.RoleWorker, "gpu-1", "limpet://worker/gpu-*", a.Self().GossipAddress)
		two, _ := w.member(p, cluster.RoleWorker, "gpu-2", "limpet://worker/gpu-*", a.Self().GossipAddress)
		spawn(t, a, "echo", echo(a))
		w.sees(a, 5*time.Second, "a", "gpu-1", "gpu-2")
		for _, n := range []*cluster.Node{one, two} {
			if err := w.ask(n, a); err != nil {
				t.Fatal(err)
			}
		}
		p.write("revoked", []byte("limpet://worker/gpu-1 # stolen\n"))
		time.Sleep(10 * time.Second)
		before := a.Refusals(cluster.RefusedMember)
		if v := a.View(); slices.ContainsFunc(v.Members, func(m cluster.Member) bool { return m.WorkerID == "gpu-1" }) {
			t.Errorf("who is revoked is in the view: %v", viewIDs(v))
		}
		if err := w.ask(one, a); err == nil {
			t.Error("who is revoked is answered")
		}
		if a.Refusals(cluster.RefusedMember) == before {
			t.Error("nobody counted it")
		}
		if err := w.ask(two, a); err != nil {
			t.Errorf("another one of the same certificate: %v", err)
		}
	})
}
