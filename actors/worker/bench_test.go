package worker

import (
	"context"
	"log/slog"
	"strconv"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// BenchmarkWorkerAttempt is one attempt of an empty function, from another
// node and back, with 64 under way: Dispatch, Result, ResultAck.
func BenchmarkWorkerAttempt(b *testing.B) {
	logger := slog.New(slog.DiscardHandler)
	var server *cluster.Node
	up := make(chan struct{})
	placement := cluster.Kind{Name: cluster.KindPlacement, Activate: func(name string) (*actor.PID, error) {
		<-up
		return server.System().Root.SpawnPrefix(actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*messages.Register); ok {
				ctx.Respond(&messages.RegisterReply{Admitted: true})
			}
		}), name), nil
	}}
	server, err := cluster.Start(b.Context(), cluster.Config{Role: cluster.RoleServer, ID: "s1", Logger: logger, Kinds: []cluster.Kind{placement}})
	if err != nil {
		b.Fatal(err)
	}
	close(up)
	defer func() { _ = server.Stop(context.Background()) }()
	node, err := cluster.Start(b.Context(), cluster.Config{Role: cluster.RoleWorker, ID: "w1", Logger: logger, Join: []string{server.Self().GossipAddress}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = node.Stop(context.Background()) }()
	w, err := Start(b.Context(), Config{
		Node: node, Logger: logger, Grace: -1,
		Info: &messages.WorkerInfo{Slots: 100, Workflows: []*messages.WorkflowDefinition{{Name: "w", Steps: []*messages.StepDefinition{{Name: "a"}}}}},
		Functions: attempt.Functions{"w": {"a": func(context.Context, *attempt.Attempt) ([]byte, error) {
			return []byte(`{"ok":true}`), nil
		}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = w.Stop(context.Background()) }()
	root, pid := server.System().Root, actor.NewPID(w.pid.Address, w.pid.Id)
	results := make(chan *messages.Result, 64)
	run := root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if r, ok := ctx.Message().(*messages.Result); ok {
			results <- r
		}
	}))
	sent := 0
	send := func() {
		sent++
		root.Send(pid, &messages.Dispatch{
			RunId: strconv.Itoa(sent), Step: "a", Attempt: 1, Workflow: "w", Input: []byte(`{"n":1}`),
			ReplyAddress: run.Address, ReplyActorId: run.Id,
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range 64 {
		send()
	}
	for done := 0; done < b.N; done++ {
		r := <-results
		root.Send(pid, &messages.ResultAck{RunId: r.RunId, Step: r.Step, Attempt: r.Attempt})
		send()
	}
	b.StopTimer()
}
