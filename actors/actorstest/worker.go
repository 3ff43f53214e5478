package actorstest

import (
	"context"
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/messages"
)

// Worker is a worker that can be killed.
type Worker struct {
	*worker.Worker
	Node    *cluster.Node
	Network *clustertest.Host
}

// Worker starts a worker that serves the definitions.
func (w *World) Worker(id string, defs ...*messages.WorkflowDefinition) *Worker {
	w.T.Helper()
	return w.WorkerOn(id, w.Network.Host(id), defs...)
}

// WorkerOn starts it on a host.
func (w *World) WorkerOn(id string, on *clustertest.Host, defs ...*messages.WorkflowDefinition) *Worker {
	w.T.Helper()
	return w.WorkerWith(id, on, 4, defs...)
}

// WorkerWith starts it on a host, with so many slots.
func (w *World) WorkerWith(id string, on *clustertest.Host, slots int32, defs ...*messages.WorkflowDefinition) *Worker {
	w.T.Helper()
	log := slog.New(slog.DiscardHandler)
	node, err := cluster.Start(w.T.Context(), on.Configure(cluster.Config{Role: cluster.RoleWorker, ID: id, Pool: "default",
		State: cluster.StateJoining, Logger: log, Join: []string{w.First.Node.Self().GossipAddress}}))
	if err != nil {
		w.T.Fatal(err)
	}
	w.Stops = append(w.Stops, node.Kill)
	worker, err := worker.Start(w.T.Context(), worker.Config{Node: node, Logger: log, Grace: -1, Functions: w.Functions, Locals: w.Locals,
		Info: &messages.WorkerInfo{Slots: slots, Workflows: defs}})
	if err != nil {
		w.T.Fatal(err)
	}
	p := &Worker{worker, node, on}
	w.Stops = append(w.Stops, p.Kill)
	return p
}

// Ref names the worker's process and its actor.
func (p *Worker) Ref() *messages.WorkerRef {
	self := p.Node.Self()
	return &messages.WorkerRef{WorkerId: self.WorkerID, Incarnation: self.Incarnation, Address: self.Address,
		ActorId: messages.WorkerActorID(self.WorkerID, self.Incarnation)}
}

// PID of the worker's actor.
func (p *Worker) PID() *actor.PID {
	ref := p.Ref()
	return actor.NewPID(ref.Address, ref.ActorId)
}

// Kill ends the process without a word to anyone.
func (p *Worker) Kill() {
	p.Node.Kill()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.Stop(ctx)
}
