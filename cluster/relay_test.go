package cluster_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/messages"
)

// detourWithin is the longest that a question and its answer wait for another way (W6):
// for 0.6 s nothing is answered, then the direct way has 0.3 s, and so has that of the
// answer. What is more is for the way itself.
const detourWithin = (600+300+300)*time.Millisecond + 10*time.Millisecond

// quartet is a worker and three servers.
type quartet struct {
	*world
	owner, other, third, worker *cluster.Node
	hosts                       map[*cluster.Node]*clustertest.Host
}

func newQuartet(w *world) *quartet {
	q := &quartet{world: w, hosts: map[*cluster.Node]*clustertest.Host{}}
	take := func(n *cluster.Node, h *clustertest.Host) *cluster.Node {
		q.hosts[n] = h
		return n
	}
	q.owner = take(w.server("owner"))
	seed := q.owner.Self().GossipAddress
	q.other, q.third, q.worker = take(w.server("other", seed)), take(w.server("third", seed)), take(w.worker("worker", seed))
	q.worker.SetState(cluster.StateReady)
	for _, n := range w.nodes {
		w.sees(n, 2*time.Second, "other", "owner", "third", "worker")
	}
	return q
}

func (q *quartet) cut(from, to *cluster.Node) { q.network.SplitOneWay(q.hosts[from], q.hosts[to]) }

// asks returns how long it takes until an echo of another node has answered.
func (q *quartet) asks(n *cluster.Node, echo *actor.PID) time.Duration {
	q.t.Helper()
	ctx, cancel := context.WithTimeout(q.t.Context(), 10*time.Second)
	defer cancel()
	began := time.Now()
	if _, err := n.Request(ctx, remotely(echo), &messages.Activate{}); err != nil {
		q.t.Fatalf("%s: after %v: %v", n.Self().WorkerID, time.Since(began), err)
	}
	return time.Since(began)
}

// A cut between two nodes that both reach another server holds their messages up
// for a moment, and costs neither its place or its lease.
func TestACutBetweenTwoNodes(t *testing.T) {
	type nodes = func(*quartet) (a, b *cluster.Node)
	pairs := map[string]nodes{
		"worker and server": func(q *quartet) (a, b *cluster.Node) { return q.worker, q.owner },
		"two servers":       func(q *quartet) (a, b *cluster.Node) { return q.other, q.owner },
	}
	for what, of := range pairs {
		for _, ways := range []string{"both", "there", "back"} {
			for _, met := range []string{"connected", "idle", "strangers"} {
				t.Run(what+", "+ways+", "+met, func(t *testing.T) {
					onFakeTime(t, func(t *testing.T, w *world) {
						q := newQuartet(w)
						a, b := of(q)
						q.rideOut(a, b, ways, met)
					})
				})
			}
		}
	}
}

func (q *quartet) rideOut(a, b *cluster.Node, ways, met string) {
	q.t.Helper()
	onA, onB := spawn(q.t, a, "echo", echo(a)), spawn(q.t, b, "echo", echo(b))
	if met != "strangers" {
		q.asks(a, onB)
		q.asks(b, onA)
	}
	if met == "idle" {
		// All is answered, so that nothing is to be asked about.
		time.Sleep(2 * time.Second)
	}
	var lost []bool
	q.worker.OnLease(func(is cluster.LeaseChange) { lost = append(lost, !is.Held) })
	before := map[*cluster.Node]uint64{a: a.View().Version, b: b.View().Version}
	if ways != "back" {
		q.cut(a, b)
	}
	if ways != "there" {
		q.cut(b, a)
	}
	for _, way := range []struct {
		from *cluster.Node
		to   *actor.PID
	}{{a, onB}, {b, onA}} {
		if took := q.asks(way.from, way.to); took > detourWithin {
			q.t.Errorf("%s was answered after %v", way.from.Self().WorkerID, took)
		}
	}
	for range 20 {
		time.Sleep(time.Second)
		if took := max(q.asks(a, onB), q.asks(b, onA)); took > 0 {
			q.t.Fatalf("an answer took %v once there was another way", took)
		}
	}
	if slices.Contains(lost, true) {
		q.t.Error("the worker has lost its lease")
	}
	for n, version := range before {
		if n.View().Version != version {
			q.t.Errorf("%s has another view: %v", n.Self().WorkerID, viewIDs(n.View()))
		}
	}
	q.network.Heal()
	time.Sleep(2 * time.Second)
	for _, n := range q.nodes {
		if n.Detours() != 0 {
			q.t.Errorf("%s still sends by another server", n.Self().WorkerID)
		}
	}
	if took := max(q.asks(a, onB), q.asks(b, onA)); took > 0 {
		q.t.Errorf("an answer took %v after the cut", took)
	}
}

// What was sent just before it is found out that there is a cut is sent again.
func TestNothingIsLostByACut(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		q := newQuartet(w)
		var mu sync.Mutex
		got := map[uint64]int{}
		var order []uint64
		pid := remotely(spawn(t, q.worker, "count", func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.LoadReport); ok {
				mu.Lock()
				defer mu.Unlock()
				if got[m.Serial]++; got[m.Serial] == 1 {
					order = append(order, m.Serial)
				}
			}
		}))
		serial := uint64(0)
		send := func(d time.Duration) {
			for range d / (10 * time.Millisecond) {
				q.owner.System().Root.Send(pid, &messages.LoadReport{Serial: serial})
				serial++
				time.Sleep(10 * time.Millisecond)
			}
		}
		for range 3 {
			send(time.Second)
			q.cut(q.owner, q.worker)
			send(4 * time.Second)
			q.cut(q.worker, q.owner)
			send(4 * time.Second)
			w.network.Heal()
			send(4 * time.Second)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(got) != int(serial) {
			t.Errorf("%d of %d messages came", len(got), serial)
		}
		if !slices.IsSorted(order) {
			t.Error("what came first did not come in order")
		}
	})
}

// Who is frozen has no cut: what waits for it is there when it goes on, once.
func TestWhatIsFrozenHasNoDetour(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		q := newQuartet(w)
		got := make(chan uint64, 10)
		pid := remotely(spawn(t, q.worker, "count", func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.LoadReport); ok {
				got <- m.Serial
			}
		}))
		send := func(serial uint64) { q.owner.System().Root.Send(pid, &messages.LoadReport{Serial: serial}) }
		send(0)
		synctest.Wait()
		late, _ := w.server("late", q.owner.Self().GossipAddress)
		w.sees(late, 2*time.Second, "late", "other", "owner", "third", "worker")
		q.hosts[q.worker].Freeze()
		send(1)
		// By a connection that is there, and by one that is to be made.
		late.System().Root.Send(actor.NewPID(q.worker.Self().Address, "none"), &messages.Activate{})
		for range 130 {
			time.Sleep(10 * time.Millisecond)
			if n := q.owner.Relaying() + q.other.Relaying() + q.third.Relaying(); n > 0 {
				t.Fatalf("%d servers are asked to pass on to a process that has too much to do", n)
			}
		}
		send(2)
		if q.owner.Detours() != 0 {
			t.Error("there is a detour")
		}
		q.hosts[q.worker].Thaw()
		time.Sleep(time.Second)
		for want := range uint64(3) {
			if serial := <-got; serial != want {
				t.Fatalf("got %d, want %d", serial, want)
			}
		}
		if len(got) > 0 || q.owner.Detours() != 0 {
			t.Errorf("%d more came, %d detours", len(got), q.owner.Detours())
		}
	})
}

// The server by which messages go may die: they go by another one then.
func TestTheServerOfADetourDies(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		q := newQuartet(w)
		pid := spawn(t, q.owner, "echo", echo(q.owner))
		q.cut(q.worker, q.owner)
		for range 2 {
			q.asks(q.worker, pid)
		}
		passesOn := q.other
		if passesOn.Relaying() == 0 {
			passesOn = q.third
		}
		q.hosts[passesOn].Crash()
		if took := q.asks(q.worker, pid); took > detourWithin {
			t.Errorf("answered after %v", took)
		}
	})
}

// A server passes on to members alone, in one hop, and so much at most.
func TestWhatIsNotPassedOn(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		q := newQuartet(w)
		ask := func(through, to *cluster.Node, headers ...string) error {
			t.Helper()
			ctx := metadata.AppendToOutgoingContext(t.Context(), headers...)
			stream := rawStreamOf(ctx, t, q.hosts[q.other].Configure(cluster.Config{}), through.Self().Address)
			err := stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{}}})
			if err != nil {
				t.Fatal(err)
			}
			m, err := stream.Recv()
			if err == nil && m.GetConnectResponse().GetMemberId() != to.Self().Name {
				t.Errorf("%s answered", m.GetConnectResponse().GetMemberId())
			}
			return err
		}
		worker := q.worker.Self().Address
		if err := ask(q.owner, q.worker, "limpet-relay-to", worker); err != nil {
			t.Errorf("a server does not pass on to a member: %v", err)
		}
		for what, err := range map[string]error{
			"a worker":             ask(q.worker, q.owner, "limpet-relay-to", q.owner.Self().Address),
			"to who is no member":  ask(q.owner, q.worker, "limpet-relay-to", "127.0.0.1:9"),
			"what was passed on":   ask(q.owner, q.worker, "limpet-relay-to", worker, "limpet-relayed-by", q.third.Self().Name),
			"to the server itself": ask(q.owner, q.owner, "limpet-relay-to", q.owner.Self().Address),
		} {
			if status.Code(err) != codes.NotFound {
				t.Errorf("%s: %v", what, err)
			}
		}
		for range messages.RelaysMax - 1 {
			if err := ask(q.owner, q.worker, "limpet-relay-to", worker); err != nil {
				t.Fatal(err)
			}
		}
		if err := ask(q.owner, q.worker, "limpet-relay-to", worker); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more than RelaysMax: %v", err)
		}
	})
}
