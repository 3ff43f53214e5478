package cluster

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// startNode starts a node on loopback that is stopped at the end of the test.
func startNode(t *testing.T, c Config) *Node {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	n, err := Start(t.Context(), Anything(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop(context.Background()) })
	return n
}

// await returns when a view of the node satisfies the condition.
func await(t *testing.T, n *Node, what string, condition func(*View) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := n.Await(ctx, condition); err != nil {
		t.Fatalf("%s did not see %s: %v", n.Self().Name, what, n.View().Members)
	}
}

func has(count int) func(*View) bool {
	return func(v *View) bool { return len(v.Members) == count }
}

// echoKind activates actors that answer Activate with their identity.
func echoKind(n **Node) Kind {
	return Kind{Name: KindPlacement, Activate: func(identity string) (*actor.PID, error) {
		props := actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*messages.Activate); ok {
				ctx.Respond(&messages.ActivateReply{Address: (*n).Self().Name, ActorId: ctx.Self().Id})
			}
		})
		pid, err := (*n).System().Root.SpawnNamed(props, "echo/"+identity)
		if err == actor.ErrNameExists {
			err = nil
		}
		return pid, err
	}}
}

func TestCallLocalAndRemote(t *testing.T) {
	var server *Node
	prepare := func(n *Node) error { server = n; return nil }
	startNode(t, Config{Role: RoleServer, ID: "s1", Prepare: prepare, Kinds: []Kind{echoKind(&server)}})
	worker := startNode(t, Config{Role: RoleWorker, ID: "w1", Join: []string{server.Self().GossipAddress}})
	for _, n := range []*Node{server, worker} {
		await(t, n, "both", has(2))
		reply, err := n.Call(t.Context(), KindPlacement, "default", &messages.Activate{})
		if err != nil {
			t.Fatal(err)
		}
		want := &messages.ActivateReply{Address: server.Self().Name, ActorId: "echo/default"}
		if !proto.Equal(reply, want) {
			t.Fatalf("%s got %v, want %v", n.Self().Name, reply, want)
		}
	}
}
