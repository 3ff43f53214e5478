package cluster_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// grains starts a server that activates echo actors, and counts activations.
func (w *world) grains(id string, activated *atomic.Int32, join ...string) (*cluster.Node, func()) {
	h := w.network.Host(id)
	var n *cluster.Node
	prepare := func(node *cluster.Node) error { n = node; return nil }
	w.start(h, cluster.Config{Role: cluster.RoleServer, ID: id, Join: join, Prepare: prepare, Kinds: []cluster.Kind{{
		Name: cluster.KindRun,
		Activate: func(identity string) (*actor.PID, error) {
			if identity == "later" && activated.Add(1) < 3 {
				return nil, messages.Errorf(messages.CodeUnavailable, "starting")
			}
			if strings.HasPrefix(identity, "bad") {
				return nil, messages.Errorf(messages.CodeUnknownRun, "run %s is unknown", identity)
			}
			pid, err := n.System().Root.SpawnNamed(actor.PropsFromFunc(echo(n)), "run/"+identity)
			if errors.Is(err, actor.ErrNameExists) {
				return pid, nil
			}
			activated.Add(1)
			return pid, err
		},
	}}})
	return n, h.Crash
}

func TestResolveAgreesAcrossNodes(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		var count atomic.Int32
		a, _ := w.grains("a", &count)
		b, _ := w.grains("b", &count, a.Self().GossipAddress)
		c, _ := w.worker("c", a.Self().GossipAddress)
		for _, n := range w.nodes {
			w.sees(n, time.Second, "a", "b", "c")
		}
		owners := map[string]int{}
		for _, id := range []string{"r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"} {
			owner, _ := c.View().OwnerOfRun(id)
			owners[owner.WorkerID]++
			for _, n := range []*cluster.Node{a, b, c, c} {
				pid, err := n.Resolve(t.Context(), cluster.KindRun, id)
				if err != nil || pid.Address != owner.Address || pid.Id != "run/"+id {
					t.Fatalf("%s resolves %s to %v, %v; owner %s", n.Self().Name, id, pid, err, owner.Name)
				}
			}
		}
		if count.Load() != 9 || len(owners) != 2 {
			t.Fatalf("%d activations on %v", count.Load(), owners)
		}
	})
}

func TestResolveReturnsTheErrorOfActivation(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		var count atomic.Int32
		a, _ := w.grains("a", &count)
		b, _ := w.worker("b", a.Self().GossipAddress)
		for _, n := range w.nodes {
			w.sees(n, time.Second, "a", "b")
			if _, err := n.Resolve(t.Context(), cluster.KindRun, "bad"); messages.CodeOf(err) != messages.CodeUnknownRun {
				t.Errorf("%s: %v", n.Self().Name, err)
			}
		}
		if _, err := b.Resolve(t.Context(), cluster.KindRun, "later"); err != nil {
			t.Errorf("an owner that is starting: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Resolve(ctx, "no-such-kind", "x")
		if messages.CodeOf(err) != messages.CodeUnavailable || !strings.Contains(err.Error(), a.Self().Name) {
			t.Errorf("unknown kind: %v", err)
		}
	})
}

// Asking a server that does not own the identity makes no second activation.
func TestOnlyTheOwnerActivates(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		var count atomic.Int32
		a, _ := w.grains("a", &count)
		b, _ := w.grains("b", &count, a.Self().GossipAddress)
		w.sees(a, time.Second, "a", "b")
		w.sees(b, time.Second, "a", "b")
		other := map[string]*cluster.Node{"a": b, "b": a}
		owner, _ := a.View().OwnerOfRun("r1")
		pid := actor.NewPID(other[owner.WorkerID].Self().Address, "limpet-activator")
		for _, n := range w.nodes {
			reply, err := n.Request(t.Context(), pid, &messages.Activate{Kind: cluster.KindRun, Identity: "r1"})
			if m, ok := reply.(*messages.ActivateReply); !ok || !m.NotOwner {
				t.Fatalf("%v, %v", reply, err)
			}
		}
		if count.Load() != 0 {
			t.Fatal("activated by a server that is not the owner")
		}
	})
}

func TestResolveWaitsForAServer(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		b, host := w.worker("b")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := b.Resolve(ctx, cluster.KindRun, "r1")
		if messages.CodeOf(err) != messages.CodeUnavailable || !strings.Contains(err.Error(), "no server") {
			t.Fatal(err)
		}
		var resolved atomic.Bool
		go func() {
			_, err := b.Resolve(t.Context(), cluster.KindRun, "r1")
			resolved.Store(err == nil)
		}()
		synctest.Wait()
		var count atomic.Int32
		a, _ := w.grains("a", &count, host.Gossip)
		w.sees(b, time.Second, "a", "b")
		w.sees(a, time.Second, "a", "b")
		time.Sleep(50 * time.Millisecond)
		if !resolved.Load() {
			t.Fatal("not resolved soon after the server came")
		}
	})
}

// A call goes on at the next owner as soon as the view says so, whether the
// owner crashed or hangs.
func TestCallSurvivesTheLossOfTheOwner(t *testing.T) {
	for _, how := range []string{"crash", "freeze"} {
		t.Run(how, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T, w *world) {
				var count atomic.Int32
				hosts := map[string]func(){}
				a, crashA := w.grains("a", &count)
				hosts["a"] = crashA
				for _, id := range []string{"b", "c"} {
					_, hosts[id] = w.grains(id, &count, a.Self().GossipAddress)
				}
				d, _ := w.worker("d", a.Self().GossipAddress)
				for _, n := range w.nodes {
					w.sees(n, time.Second, "a", "b", "c", "d")
				}
				if _, err := d.Call(t.Context(), cluster.KindRun, "r1", &messages.Activate{}); err != nil {
					t.Fatal(err)
				}
				owner, _ := d.View().OwnerOfRun("r1")
				if how == "crash" {
					hosts[owner.WorkerID]()
				} else {
					w.network.SplitAddress(owner.Address)
				}
				start := time.Now()
				reply, err := d.Call(t.Context(), cluster.KindRun, "r1", &messages.Activate{})
				took := time.Since(start)
				if err != nil || reply.(*messages.ActivateReply).Address == owner.Name {
					t.Fatalf("%v, %v", reply, err)
				}
				if took > 3*time.Second {
					t.Fatalf("took %v", took)
				}
				t.Logf("took %v", took)
			})
		})
	}
}

func TestCallNamesTheLastCause(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		var count atomic.Int32
		a, _ := w.grains("a", &count)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := a.Call(ctx, cluster.KindRun, "r1", &messages.LoadReport{})
		if messages.CodeOf(err) != messages.CodeUnavailable || !strings.Contains(err.Error(), "no answer in time") {
			t.Fatal(err)
		}
	})
}

func TestCallsEndWithTheNode(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.worker("a")
		go func() {
			time.Sleep(time.Second)
			_ = a.Stop(context.Background())
		}()
		start := time.Now()
		if _, err := a.Call(t.Context(), cluster.KindRun, "r1", &messages.Activate{}); messages.CodeOf(err) != messages.CodeUnavailable {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Fatalf("took %v", took)
		}
	})
}
