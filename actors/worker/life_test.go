package worker

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

func TestWorkerAdmission(t *testing.T) {
	s := startWorkerServer(t)
	var mu sync.Mutex
	asked := 0
	s.register = func(m *messages.Register) *messages.RegisterReply {
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked <= 2 {
			return &messages.RegisterReply{Wait: true, Message: "another process is being probed"}
		}
		return &messages.RegisterReply{Admitted: true}
	}
	waits, admitted := make(chan string, 10), make(chan struct{}, 10)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 3, hooks: &Hooks{
		Waiting:  func(message string) { waits <- message },
		Admitted: func() { admitted <- struct{}{} },
	}})
	<-admitted
	// The first questions may have had no answer in time.
	for m := <-waits; m != "another process is being probed"; m = <-waits {
		if len(waits) == 0 {
			t.Fatalf("waits for %q", m)
		}
	}
	if load := <-s.loads; load.WorkerId != "w1" || load.Slots != 3 || load.Pool != "default" {
		t.Errorf("load: %v", load)
	}
	// Placement that does not know the worker asks who it is.
	placement, err := s.node.Resolve(t.Context(), cluster.KindPlacement, "default")
	if err != nil {
		t.Fatal(err)
	}
	s.node.System().Root.RequestWithCustomSender(w.remote(), &messages.Describe{}, placement)
	<-admitted
	// So does one that gets a report of a worker that it does not know.
	s.node.System().Root.Send(w.remote(), &messages.RegisterReply{Wait: true})
	<-admitted
	// Its process was without a lease, and may have been given up.
	w.leaseChanged(cluster.LeaseChange{Term: 1})
	w.leaseChanged(cluster.LeaseChange{Held: true, Term: 2})
	<-admitted
	// A server asks who it is: that is all.
	reply, err := s.node.Request(t.Context(), w.remote(), &messages.Describe{})
	if d, ok := reply.(*messages.DescribeReply); !ok || d.Worker.WorkerId != "w1" || d.Worker.ActorId != w.pid.Id || d.Draining {
		t.Errorf("described: %v, %v", reply, err)
	}
}

func TestWorkerRefused(t *testing.T) {
	s := startWorkerServer(t)
	s.register = func(*messages.Register) *messages.RegisterReply {
		return &messages.RegisterReply{Refused: messages.ToFailure(messages.Errorf(messages.CodeWorkerIDTaken, "by 1.2.3.4"))}
	}
	_, err := startTestWorker(t, s, workerTestConfig{})
	if messages.CodeOf(err) != messages.CodeWorkerIDTaken || !strings.Contains(err.Error(), "1.2.3.4") {
		t.Fatalf("error %v", err)
	}
}

func TestWorkerNeedsFunctions(t *testing.T) {
	s := startWorkerServer(t)
	node, err := cluster.Start(t.Context(), cluster.Config{Role: cluster.RoleWorker, ID: "w1",
		Join: []string{s.node.Self().GossipAddress}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Stop(context.Background()) }()
	_, err = Start(t.Context(), Config{Node: node, Info: &messages.WorkerInfo{
		Workflows: []*messages.WorkflowDefinition{{Name: "w", Steps: []*messages.StepDefinition{{Name: "a"}}}}}})
	if messages.CodeOf(err) != messages.CodeInvalidDefinition {
		t.Fatalf("error %v", err)
	}
}

func TestWorkerSuperseded(t *testing.T) {
	s := startWorkerServer(t)
	entered := make(chan string, 1)
	canceled := make(chan error, 1)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{"a": untilCanceled(entered)},
		hooks: &Hooks{Canceled: func(_ *messages.Dispatch, cause error) { canceled <- cause }}})
	w.dispatch("r1", "a")
	<-entered
	w.send(&messages.Superseded{WorkerId: "w1", Incarnation: "another"})
	w.send(&messages.Superseded{WorkerId: "w1", Incarnation: w.info.Incarnation, ByAddress: "1.2.3.4:5"})
	if err := w.ended(); messages.CodeOf(err) != messages.CodeWorkerSuperseded || !strings.Contains(err.Error(), "1.2.3.4:5") {
		t.Fatalf("ended with %v", err)
	}
	if err := <-canceled; messages.CodeOf(err) != messages.CodeWorkerSuperseded {
		t.Fatalf("canceled because of %v", err)
	}
}

// A process that had been declared gone and is back ends what was lost with it,
// keeps what HARD runs have waited for, and registers again.
func TestWorkerDeclaredGone(t *testing.T) {
	s := startWorkerServer(t)
	entered, admitted := make(chan string, 10), make(chan struct{}, 10)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 2, functions: map[string]attempt.Function{"a": untilCanceled(entered)},
		hooks: &Hooks{Admitted: func() { admitted <- struct{}{} }}})
	<-admitted
	w.dispatch("hard", "a", func(d *messages.Dispatch) { d.Sticky, d.Epoch = messages.Sticky_STICKY_HARD, 1 })
	w.dispatch("soft", "a", func(d *messages.Dispatch) { d.Sticky, d.Epoch = messages.Sticky_STICKY_SOFT, 1 })
	<-entered
	<-entered
	s.node.System().Root.Send(actor.NewPID(w.pid.Address, "limpet-activator"),
		&messages.DeclaredGone{Name: w.node.Self().Name, By: s.node.Self().Name, ByRole: string(cluster.RoleServer)})
	r, _ := nextHeard[*messages.Result](s)
	if r.RunId != "soft" || !r.Canceled || r.GetFailure().GetCode() != "WORKER_LOST" {
		t.Fatalf("heard %v", r)
	}
	<-admitted
	w.dispatch("hard", "a", func(d *messages.Dispatch) {
		d.Sticky, d.Epoch, d.TakeUp = messages.Sticky_STICKY_HARD, 1, true
	})
	if m, _ := nextHeard[*messages.Started](s); m.RunId != "hard" {
		t.Fatalf("heard %v", m)
	}
}

func TestWorkerDrains(t *testing.T) {
	s := startWorkerServer(t)
	entered, release := make(chan string, 10), make(chan struct{})
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 2, functions: map[string]attempt.Function{
		"a": func(_ context.Context, a *attempt.Attempt) ([]byte, error) {
			entered <- a.Dispatch.RunId
			<-release
			return nil, nil
		}}})
	w.dispatch("r1", "a")
	<-entered
	w.Drain()
	w.dispatch("r2", "a")
	if m, _ := nextHeard[*messages.DispatchRefused](s); m.Reason != messages.Reason_REASON_WORKER_DRAINING {
		t.Fatalf("refused: %v", m)
	}
	w.dispatch("r3", "a", func(d *messages.Dispatch) { d.Sticky, d.Epoch = messages.Sticky_STICKY_HARD, 1 })
	<-entered
	close(release)
	for range 2 {
		r, _ := nextHeard[*messages.Result](s)
		w.ack(r)
	}
	if err := w.ended(); err != nil {
		t.Fatalf("ended with %v", err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatalf("stopped with %v", err)
	}
	if state := w.node.Self().State; state != cluster.StateLeaving {
		t.Fatalf("the cluster sees it %s", state)
	}
}

func TestWorkerGraceEnds(t *testing.T) {
	s := startWorkerServer(t)
	entered := make(chan string, 10)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, grace: 50 * time.Millisecond,
		functions: map[string]attempt.Function{"a": untilCanceled(entered)}})
	w.dispatch("r1", "a")
	<-entered
	if err := w.Stop(t.Context()); messages.CodeOf(err) != messages.CodeWorkerLost {
		t.Fatalf("stopped with %v", err)
	}
}

// A placement that the worker does not take for the pool's gets reports when it
// asks, for a while.
func TestWorkerReportsToWhoAsks(t *testing.T) {
	s := startWorkerServer(t)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 2})
	<-s.loads
	reports := make(chan *messages.LoadReport, 100)
	other := s.node.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.LoadReport); ok {
			reports <- m
		}
	}))
	s.node.System().Root.RequestWithCustomSender(w.remote(), &messages.ReportLoad{}, other)
	first := <-reports
	if first.WorkerId != "w1" || first.Slots != 2 {
		t.Errorf("load: %v", first)
	}
	// The heartbeat comes too, and to the pool's placement as before.
	for next := first; next.Serial <= first.Serial; {
		next = <-reports
	}
	<-s.loads
}

// A placement that is new does not wait for the next heartbeat.
func TestWorkerReportsWhenItIsAdmittedAgain(t *testing.T) {
	s := startWorkerServer(t)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 2})
	load := <-s.loads
	for range 3 {
		begin := time.Now()
		for same := false; !same; {
			w.reporter.registerAgain()
			next := <-s.loads
			// Not a heartbeat, which may come at the same time.
			same = next.Serial == load.Serial
			load = next
			if time.Since(begin) > workerTestPatience {
				t.Fatal("no report came with the admission")
			}
		}
	}
}
