package cluster_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// spawn starts an actor that gives what it receives, and its sender, to f.
func spawn(t *testing.T, n *cluster.Node, name string, f func(ctx actor.Context)) *actor.PID {
	t.Helper()
	pid, err := n.System().Root.SpawnNamed(actor.PropsFromFunc(f), name)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// echo answers Activate with the name of its node.
func echo(n *cluster.Node) func(actor.Context) {
	return func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.Activate); ok {
			ctx.Respond(&messages.ActivateReply{Address: n.Self().Name, ActorId: m.Identity})
		}
	}
}

func remotely(pid *actor.PID) *actor.PID { return actor.NewPID(pid.Address, pid.Id) }

func TestRequestAcrossNodes(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, _ := w.server("b")
		pid := spawn(t, b, "echo", echo(b))
		reply, err := a.Request(t.Context(), remotely(pid), &messages.Activate{Identity: "x"})
		want := &messages.ActivateReply{Address: b.Self().Name, ActorId: "x"}
		if err != nil || !proto.Equal(reply, want) {
			t.Fatalf("got %v, %v", reply, err)
		}
	})
}

// What ends with a node that is killed tells nobody: a crash would not either.
func TestAKilledNodeDeliversNothing(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, _ := w.server("b")
		heard := make(chan string, 2)
		mute := remotely(spawn(t, b, "mute", func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.Activate); ok {
				heard <- m.Identity
			}
		}))
		told := make(chan error)
		go func() {
			_, err := a.Request(context.WithoutCancel(t.Context()), mute, &messages.Activate{Identity: "asked"})
			a.System().Root.Send(mute, &messages.Activate{Identity: "told"})
			told <- err
		}()
		if got := <-heard; got != "asked" {
			t.Fatal(got)
		}
		a.Kill()
		if err := <-told; err == nil {
			t.Error("a killed node was answered")
		}
		time.Sleep(time.Second) // of fake time
		if len(heard) > 0 {
			t.Errorf("a killed node has said %q", <-heard)
		}
	})
}

func TestRequestToWhatIsNotThere(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, _ := w.server("b")
		for what, pid := range map[string]*actor.PID{
			"a missing actor of another node": actor.NewPID(b.Self().Address, "none"),
			"a missing actor of this node":    actor.NewPID(a.Self().Address, "none"),
			"an address without a node":       actor.NewPID("127.0.0.1:9", "none"),
		} {
			start := time.Now()
			_, err := a.Request(t.Context(), pid, &messages.Activate{})
			if messages.CodeOf(err) != messages.CodeUnavailable || time.Since(start) > time.Millisecond {
				t.Errorf("%s: after %v: %v", what, time.Since(start), err)
			}
		}
		silent := spawn(t, b, "silent", func(actor.Context) {})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Request(ctx, remotely(silent), &messages.Activate{}); messages.CodeOf(err) != messages.CodeDeadline {
			t.Errorf("an actor that does not answer: %v", err)
		}
	})
}

// Terminated comes at once when a process ends and at the verdict when it only
// hangs; and once.
func TestWatchAcrossNodes(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, hostB := w.worker("b", a.Self().GossipAddress)
		c, hostC := w.worker("c", a.Self().GossipAddress)
		w.sees(a, time.Second, "a", "b", "c")
		onB := spawn(t, b, "watched", func(actor.Context) {})
		onC := spawn(t, c, "watched", func(actor.Context) {})
		ending := spawn(t, c, "ending", func(actor.Context) {})
		var mu sync.Mutex
		got := map[string][]actor.TerminatedReason{}
		spawn(t, a, "watcher", func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Watch(remotely(onB))
				ctx.Watch(remotely(onC))
				ctx.Watch(remotely(ending))
				ctx.Watch(actor.NewPID(c.Self().Address, "missing"))
				ctx.Watch(actor.NewPID("127.0.0.1:9", "nowhere"))
			case *actor.Terminated:
				mu.Lock()
				defer mu.Unlock()
				got[m.Who.Address+"/"+m.Who.Id] = append(got[m.Who.Address+"/"+m.Who.Id], m.Why)
			}
		})
		expect := func(what, key string, why actor.TerminatedReason) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(got[key]) != 1 || got[key][0] != why {
				t.Fatalf("%s: Terminated of %s: %v", what, key, got[key])
			}
		}
		expect("an address without a node", "127.0.0.1:9/nowhere", actor.TerminatedReason_AddressTerminated)
		expect("a missing actor", c.Self().Address+"/missing", actor.TerminatedReason_NotFound)
		c.System().Root.Stop(ending)
		expect("an actor that ended", c.Self().Address+"/ending", actor.TerminatedReason_Stopped)
		hostB.Crash()
		expect("a crash", b.Self().Address+"/watched", actor.TerminatedReason_AddressTerminated)
		hostC.Freeze()
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		mu.Lock()
		early := len(got[c.Self().Address+"/watched"])
		mu.Unlock()
		if early != 0 {
			t.Fatal("a hanging process was terminated before the verdict")
		}
		w.sees(a, 3*time.Second, "a")
		expect("a verdict", c.Self().Address+"/watched", actor.TerminatedReason_AddressTerminated)
	})
}

// A connection that was begun while its packets were lost is begun anew as soon as
// the other side is heard of, not when its time is over.
func TestConnectionIsBegunAnewAfterACut(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, host := w.server("b", a.Self().GossipAddress)
		pid := remotely(spawn(t, b, "echo", echo(b)))
		w.sees(a, time.Second, "a", "b")
		w.network.Split(host)
		time.Sleep(20 * time.Second)
		a.System().Root.Send(pid, &messages.Activate{}) // begins to connect
		time.Sleep(100 * time.Millisecond)
		w.network.Heal()
		healed := time.Now()
		w.sees(a, 1200*time.Millisecond, "a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := a.Request(ctx, pid, &messages.Activate{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(healed); took > 1300*time.Millisecond {
			t.Errorf("answered %v after the cut", took)
		}
	})
}

// The ids of answers and spawned actors are new to each process, so that one
// that is restarted on an address does not get its predecessor's answers.
func TestGeneratedIDsAreNewToTheProcess(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, host := w.server("a")
		b, _ := w.server("b")
		asked := make(chan string, 1)
		slow := spawn(t, b, "slow", func(ctx actor.Context) {
			if _, ok := ctx.Message().(*messages.Activate); ok {
				asked <- ctx.Sender().Id
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = a.Request(ctx, remotely(slow), &messages.Activate{})
		host.Crash()
		again := w.start(host.Again(), cluster.Config{Role: cluster.RoleServer, ID: "a"})
		ids := map[string]bool{}
		for range 1000 {
			ids[again.System().ProcessRegistry.NextId()] = true
		}
		if late := <-asked; ids[late[len("answer"):]] {
			t.Fatalf("the new process uses the id of the old one's answer %s", late)
		}
	})
}

func TestMessagesArriveInOrder(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, _ := w.server("b")
		const count = 20_000
		var next uint64
		done := make(chan string, 1)
		pid := spawn(t, b, "count", func(ctx actor.Context) {
			m, ok := ctx.Message().(*messages.LoadReport)
			switch {
			case !ok:
			case m.Serial != next:
				done <- fmt.Sprintf("got %d, want %d", m.Serial, next)
			default:
				if next++; next == count {
					done <- ""
				}
			}
		})
		for i := range count {
			a.System().Root.Send(remotely(pid), &messages.LoadReport{Serial: uint64(i)})
		}
		if fault := <-done; fault != "" {
			t.Fatal(fault)
		}
	})
}

// Batches of large messages stay below the receiver's limit.
func TestLargeMessages(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, _ := w.server("a")
		b, _ := w.server("b")
		done := make(chan struct{}, 1)
		got := 0
		pid := spawn(t, b, "count", func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.HandedOff); ok && len(m.States[0].Data) == 3<<20 {
				if got++; got == 30 {
					close(done)
				}
			}
		})
		output := make([]byte, 3<<20)
		for range 30 {
			a.System().Root.Send(remotely(pid), &messages.HandedOff{RunId: "r", States: []*messages.HandedState{{Data: output}}})
		}
		<-done
		tooLarge := &messages.HandedOff{RunId: "r", States: []*messages.HandedState{{Data: make([]byte, 40<<20)}}}
		if _, err := a.Request(t.Context(), remotely(pid), tooLarge); messages.CodeOf(err) != messages.CodePayloadTooLarge {
			t.Fatalf("a message over the limit: %v", err)
		}
	})
}

// What a peer sends cannot end the process: an unknown type is left out, as a
// newer version may send it, and a malformed batch ends its connection.
func TestBadBatches(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, host := w.server("a")
		got := make(chan string, 10)
		spawn(t, a, "target", func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.Activate); ok {
				got <- m.Identity
			}
		})
		stream := greeted(t, host.Configure(cluster.Config{}), a.Self().Address)
		good, _ := proto.Marshal(&messages.Activate{Identity: "good"})
		batch := func(types []string, envelopes ...*remote.MessageEnvelope) *remote.RemoteMessage {
			return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: &remote.MessageBatch{
				TypeNames: types, Targets: []*actor.PID{{Address: "any", Id: "target"}}, Envelopes: envelopes,
			}}}
		}
		err := stream.Send(batch([]string{"limpet.v9.Unknown", "limpet.v1.Activate"},
			&remote.MessageEnvelope{TypeId: 0, MessageData: []byte("?")},
			&remote.MessageEnvelope{TypeId: 1, MessageData: []byte{0xff}},
			&remote.MessageEnvelope{TypeId: 1, MessageData: good}))
		if err != nil {
			t.Fatal(err)
		}
		if m := <-got; m != "good" {
			t.Fatalf("got %q", m)
		}
		for what, bad := range map[string]*remote.MessageEnvelope{
			"type": {TypeId: 1}, "target": {Target: 7}, "sender": {Sender: 1}, "negative": {TypeId: -1}, "serializer": {SerializerId: 1},
		} {
			stream := greeted(t, host.Configure(cluster.Config{}), a.Self().Address)
			if err := stream.Send(batch([]string{"limpet.v1.Activate"}, bad)); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err == nil || err == io.EOF {
				t.Errorf("bad %s: %v", what, err)
			}
		}
		if _, err := a.Request(t.Context(), actor.NewPID(a.Self().Address, "none"), &messages.Activate{}); messages.CodeOf(err) != messages.CodeUnavailable {
			t.Fatal(err)
		}
	})
}

// What may not be is dropped before an actor sees it, and the connection stays.
func TestWhatMayNotBeIsDropped(t *testing.T) {
	onFakeTime(t, func(t *testing.T, w *world) {
		a, host := w.server("a")
		got := make(chan any, 10)
		spawn(t, a, "target", func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *messages.StartRuns, *messages.Result, *messages.CancelRun:
				got <- m
			}
		})
		stream := greeted(t, host.Configure(cluster.Config{}), a.Self().Address)
		send := func(to string, m proto.Message) {
			t.Helper()
			data, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			err = stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: &remote.MessageBatch{
				TypeNames: []string{string(m.ProtoReflect().Descriptor().FullName())}, Targets: []*actor.PID{{Address: "any", Id: to}},
				Envelopes: []*remote.MessageEnvelope{{MessageData: data}}}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		before := a.Refusals(cluster.RefusedUnreadable)
		for _, bad := range []proto.Message{
			&messages.StartRuns{Runs: []*messages.StartRun{{RunId: "r"}}},
			&messages.Result{RunId: "r", Step: "s", Attempt: 1, Outcome: &messages.Result_Output{Output: make([]byte, 30<<20)}},
			&messages.CancelRun{RunId: "r\x00"},
			&actor.Watch{},
			&actor.Unwatch{Watcher: &actor.PID{}},
			&actor.Terminated{},
		} {
			send("target", bad)
			send("nobody", bad)
		}
		good := &messages.CancelRun{RunId: "r", Reason: "enough"}
		send("target", good)
		if m := <-got; !proto.Equal(m.(proto.Message), good) {
			t.Errorf("it got %v", m)
		}
		if n := a.Refusals(cluster.RefusedUnreadable) - before; n != 12 {
			t.Errorf("%d messages were dropped, want 12", n)
		}
	})
}

// Who connects may send what its role may, to the actors that are for it, and in its own
// name. What a system does within itself nobody may do from outside.
func TestMembersSendWhatTheyMay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var network clustertest.Network
		host := network.Host("a")
		a, err := cluster.Start(t.Context(), host.Configure(cluster.Config{Role: cluster.RoleServer, ID: "a", Logger: slog.New(slog.DiscardHandler)}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = a.Stop(context.Background())
			time.Sleep(time.Minute)
		}()
		got := make(chan proto.Message, 10)
		for _, name := range []string{cluster.HostActor, "$run"} {
			spawn(t, a, name, func(ctx actor.Context) {
				if m, ok := ctx.Message().(proto.Message); ok {
					got <- m
				}
			})
		}
		refused := [cluster.Refusals]uint64{}
		send := func(role cluster.Role, to string, m proto.Message, why int) {
			t.Helper()
			stream := rawStream(t, host.Configure(cluster.Config{}), a.Self().Address, "limpet-role", string(role))
			greet(t, stream, "w1~i1", "10.0.0.1:7081")
			data, err := proto.Marshal(m)
			if err == nil {
				err = stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: &remote.MessageBatch{
					TypeNames: []string{string(m.ProtoReflect().Descriptor().FullName())}, Targets: []*actor.PID{{Address: "any", Id: to}},
					Envelopes: []*remote.MessageEnvelope{{MessageData: data}}}}})
			}
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if why >= 0 {
				refused[why]++
			}
			for is := range refused {
				if n := a.Refusals(cluster.Refusal(is)); n != refused[is] {
					t.Errorf("%s sends %T to %s: %d refused as %v, want %d", role, m, to, n, cluster.Refusal(is), refused[is])
				}
			}
			if arrived := len(got) > 0; arrived != (why < 0) {
				t.Errorf("%s sends %T to %s: it arrived: %v", role, m, to, arrived)
			}
		}
		const taken = -1
		server, worker := cluster.RoleServer, cluster.RoleWorker
		send(worker, "limpet-activator", &actor.Stop{}, int(cluster.RefusedDenied))
		send(server, cluster.HostActor, &actor.PoisonPill{}, int(cluster.RefusedDenied))
		send(worker, cluster.HostActor, &messages.StartRuns{}, int(cluster.RefusedDenied))
		send(worker, "$run", &messages.CancelRun{RunId: "r"}, int(cluster.RefusedDenied))
		send(server, cluster.HostActor, &messages.CancelRun{RunId: "r"}, int(cluster.RefusedDenied))
		result := &messages.Result{RunId: "r", Step: "s", Attempt: 1, WorkerId: "w2", Incarnation: "i1", Outcome: &messages.Result_Output{Output: []byte("1")}}
		send(worker, "$run", result, int(cluster.RefusedForeign))
		result.WorkerId, result.Incarnation = "w1", "i0"
		send(worker, "$run", result, int(cluster.RefusedForeign))
		send(worker, cluster.HostActor, &actor.Terminated{Who: &actor.PID{Address: "10.0.0.2:7081", Id: "worker/w2/i1"}}, int(cluster.RefusedForeign))

		result.Incarnation = "i1"
		send(worker, "$run", result, taken)
		<-got
		send(server, "$run", &messages.CancelRun{RunId: "r"}, taken)
		<-got
		send(worker, "$run", &messages.Started{RunId: "r", Step: "s", Attempt: 1, FromWorker: "w2"}, taken)
		if m, ok := (<-got).(*messages.Started); !ok || m.FromWorker != "w1" {
			t.Errorf("whom it is from is not said by the connection: %v", m)
		}

		for what, name := range map[string]string{"no role": "", "an unknown role": "god"} {
			stream := rawStream(t, host.Configure(cluster.Config{}), a.Self().Address, "limpet-role", name)
			if err := stream.Send(introduction("w1~i1", "10.0.0.1:7081")); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := a.Refusals(cluster.RefusedMember); n != 2 {
			t.Errorf("%d processes were refused, want 2", n)
		}
	})
}

// rawStream speaks to a node's remoting as another implementation would.
func rawStream(t *testing.T, c cluster.Config, address string, headers ...string) remote.Remoting_ReceiveClient {
	t.Helper()
	return rawStreamOf(metadata.AppendToOutgoingContext(t.Context(), headers...), t, c, address)
}

// greeted is a rawStream of a server.
func greeted(t *testing.T, c cluster.Config, address string) remote.Remoting_ReceiveClient {
	t.Helper()
	stream := rawStream(t, c, address, "limpet-role", "server")
	greet(t, stream, "raw~1", "127.0.0.1:9")
	return stream
}

// introduction says who begins a stream.
func introduction(name, address string) *remote.RemoteMessage {
	return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{
		ConnectionType: &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{SystemId: name, Address: address}}}}}
}

// greet says so, and takes the answer.
func greet(t *testing.T, stream remote.Remoting_ReceiveClient, name, address string) {
	t.Helper()
	err := stream.Send(introduction(name, address))
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func rawStreamOf(ctx context.Context, t *testing.T, c cluster.Config, address string) remote.Remoting_ReceiveClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(c.Dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	stream, err := remote.NewRemotingClient(conn).Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}
