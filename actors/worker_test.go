package actors

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/slots"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

const workerTestPatience = 20 * time.Second

// workerServer is a server with actors that a test plays: runs, the host of
// runs and placement.
type workerServer struct {
	t    *testing.T
	node *cluster.Node
	// up is closed once node is set: the cluster may ask before.
	up chan struct{}
	// heard by run actors, by name: "reply" for the one that dispatches name,
	// else the run id.
	heard chan heardByRun
	loads chan *messages.LoadReport
	// register and answer play placement, a run, and the host; they return nil
	// for no answer.
	register func(*messages.Register) *messages.RegisterReply
	answer   func(actor.Context, proto.Message) proto.Message
}

type heardByRun struct {
	by  string
	msg proto.Message
}

func admit(*messages.Register) *messages.RegisterReply {
	return &messages.RegisterReply{Admitted: true}
}

func startWorkerServer(t *testing.T, join ...string) *workerServer {
	t.Helper()
	s := &workerServer{
		t: t, heard: make(chan heardByRun, 1000), loads: make(chan *messages.LoadReport, 1000),
		register: admit, answer: func(actor.Context, proto.Message) proto.Message { return nil },
	}
	s.start(cluster.Config{Join: join})
	return s
}

func (s *workerServer) start(c cluster.Config) {
	s.up = make(chan struct{})
	c.Role, c.ID, c.Logger = cluster.RoleServer, "s1", slog.New(slog.DiscardHandler)
	c.Kinds = []cluster.Kind{{Name: cluster.KindRun, Activate: s.spawn}, {Name: cluster.KindPlacement, Activate: s.spawn}}
	node, err := cluster.Start(s.t.Context(), c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.node = node
	close(s.up)
	for _, name := range []string{"reply", cluster.HostActor} {
		if _, err := s.spawn(name); err != nil {
			s.t.Fatal(err)
		}
	}
	s.t.Cleanup(func() { _ = node.Stop(context.Background()) })
}

func (s *workerServer) spawn(name string) (*actor.PID, error) {
	<-s.up
	pid, err := s.node.System().Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) { s.receive(ctx, name) }), name)
	if errors.Is(err, actor.ErrNameExists) {
		err = nil
	}
	return pid, err
}

func (s *workerServer) receive(ctx actor.Context, name string) {
	m, ok := ctx.Message().(proto.Message)
	if !ok {
		return
	}
	switch m := m.(type) {
	case *messages.Register:
		if reply := s.register(m); reply != nil {
			ctx.Respond(reply)
		}
		return
	case *messages.LoadReport:
		select {
		case s.loads <- m:
		default:
		}
	case *messages.Queued, *messages.Started, *messages.Result, *messages.Revoked, *messages.DispatchRefused, *messages.AttemptUnknown:
		s.heard <- heardByRun{name, m}
	}
	if reply := s.answer(ctx, m); reply != nil {
		ctx.Respond(reply)
	}
}

// next returns the next message of a type that a run hears.
func nextHeard[M proto.Message](s *workerServer) (M, string) {
	s.t.Helper()
	deadline := time.After(workerTestPatience)
	for {
		select {
		case h := <-s.heard:
			if m, ok := h.msg.(M); ok {
				return m, h.by
			}
		case <-deadline:
			s.t.Fatalf("no %T came", *new(M))
		}
	}
}

// workerUnderTest is a worker with its own node and one workflow "w".
type workerUnderTest struct {
	*Worker
	t      *testing.T
	server *workerServer
}

type workerTestConfig struct {
	slots     int32
	grace     time.Duration
	functions map[string]attempt.Function
	hooks     *WorkerHooks
}

func startTestWorker(t *testing.T, s *workerServer, c workerTestConfig) (*workerUnderTest, error) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	node, err := cluster.Start(t.Context(), cluster.Config{
		Role: cluster.RoleWorker, ID: "w1", Join: []string{s.node.Self().GossipAddress}, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Stop(context.Background()) })
	def := &messages.WorkflowDefinition{Name: "w"}
	for name := range c.functions {
		def.Steps = append(def.Steps, &messages.StepDefinition{Name: name})
	}
	ctx, cancel := context.WithTimeout(t.Context(), workerTestPatience)
	defer cancel()
	w, err := StartWorker(ctx, WorkerConfig{
		Node: node, Info: &messages.WorkerInfo{Slots: c.slots, Workflows: []*messages.WorkflowDefinition{def}},
		Functions: attempt.Functions{"w": c.functions}, Grace: c.grace, Hooks: c.hooks, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = w.Stop(ctx)
	})
	return &workerUnderTest{w, t, s}, nil
}

func mustStartTestWorker(t *testing.T, s *workerServer, c workerTestConfig) *workerUnderTest {
	t.Helper()
	w, err := startTestWorker(t, s, c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *workerUnderTest) dispatch(run, step string, change ...func(*messages.Dispatch)) {
	d := &messages.Dispatch{
		RunId: run, Step: step, Attempt: 1, Workflow: "w", Input: []byte(`1`), ExecutionTimeoutMs: 60_000,
		ReplyAddress: w.server.node.Self().Address, ReplyActorId: "reply",
	}
	for _, f := range change {
		f(d)
	}
	w.send(d)
}

// remote is the worker's PID for another actor system: a PID remembers the
// process that it was first used for.
func (w *workerUnderTest) remote() *actor.PID { return actor.NewPID(w.pid.Address, w.pid.Id) }

func (w *workerUnderTest) send(m proto.Message) { w.server.node.System().Root.Send(w.remote(), m) }

func (w *workerUnderTest) ack(r *messages.Result) {
	w.send(&messages.ResultAck{RunId: r.RunId, Step: r.Step, Attempt: r.Attempt})
}

func (w *workerUnderTest) ended() error {
	w.t.Helper()
	select {
	case err := <-w.Done():
		return err
	case <-time.After(workerTestPatience):
		w.t.Fatal("the worker did not end")
		return nil
	}
}

type nonRetryable struct{}

func (nonRetryable) Error() string      { return "give up" }
func (nonRetryable) NonRetryable() bool { return true }

func TestWorkerReportsWhatFunctionsReturn(t *testing.T) {
	s := startWorkerServer(t)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 4, functions: map[string]attempt.Function{
		"echo":  func(_ context.Context, a *attempt.Attempt) ([]byte, error) { return a.Dispatch.Input, nil },
		"empty": func(context.Context, *attempt.Attempt) ([]byte, error) { return nil, nil },
		"error": func(context.Context, *attempt.Attempt) ([]byte, error) { return nil, errors.New("no luck") },
		"coded": func(context.Context, *attempt.Attempt) ([]byte, error) {
			return nil, messages.Errorf(messages.CodeChildNotSticky, "child")
		},
		"final":  func(context.Context, *attempt.Attempt) ([]byte, error) { return nil, nonRetryable{} },
		"panic":  func(context.Context, *attempt.Attempt) ([]byte, error) { panic("oh") },
		"goexit": func(context.Context, *attempt.Attempt) ([]byte, error) { runtime.Goexit(); return nil, nil },
		"large": func(context.Context, *attempt.Attempt) ([]byte, error) {
			return make([]byte, messages.PayloadBytesMax+1), nil
		},
		"long": func(context.Context, *attempt.Attempt) ([]byte, error) {
			return nil, errors.New(strings.Repeat("é", failureMessageBytesMax))
		},
	}})
	for _, c := range []struct {
		step, output, code, message string
		final                       bool
	}{
		{step: "echo", output: "1"},
		{step: "empty", output: "null"},
		{step: "error", code: "USER_ERROR", message: "no luck"},
		{step: "coded", code: "CHILD_NOT_STICKY", message: "child"},
		{step: "final", code: "USER_ERROR", message: "give up", final: true},
		{step: "panic", code: "STEP_PANICKED", message: `step "panic" panicked: oh`},
		{step: "goexit", code: "STEP_PANICKED", message: `step "goexit" ended its goroutine with runtime.Goexit`},
		{step: "large", code: "PAYLOAD_TOO_LARGE", message: "output of step large has 1048577 bytes", final: true},
		{step: "long", code: "USER_ERROR", message: "ééé"},
	} {
		w.dispatch("run-"+c.step, c.step)
		r, by := nextHeard[*messages.Result](s)
		w.ack(r)
		f := r.GetFailure()
		if by != "reply" || r.Step != c.step || string(r.GetOutput()) != c.output || f.GetCode() != c.code ||
			!strings.HasPrefix(f.GetMessage(), c.message) || f.GetFinal() != c.final {
			t.Errorf("%s: %s heard %.300v", c.step, by, r)
		}
		if (c.step == "panic") != strings.Contains(f.GetStack(), "worker_test.go") {
			t.Errorf("%s: stack %q", c.step, f.GetStack())
		}
		if r.WorkerId != "w1" || r.Incarnation != w.info.Incarnation || r.StartedUs == 0 {
			t.Errorf("%s: worker %q incarnation %q started %d", c.step, r.WorkerId, r.Incarnation, r.StartedUs)
		}
	}
	w.dispatch("run-gone", "gone")
	if m, _ := nextHeard[*messages.DispatchRefused](s); m.Reason != "step gone" {
		t.Errorf("refused: %v", m)
	}
}

// untilCanceled ends with its context and returns why it ended.
func untilCanceled(entered chan<- string) attempt.Function {
	return func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
		entered <- a.Dispatch.RunId
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

func TestWorkerCancelsContexts(t *testing.T) {
	s := startWorkerServer(t)
	entered := make(chan string, 10)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{"a": untilCanceled(entered)}})
	w.dispatch("r1", "a")
	<-entered
	w.send(&messages.CancelAttempt{RunId: "r1", Step: "a", Attempt: 1, Reason: "changed my mind", ReplyAddress: s.node.Self().Address, ReplyActorId: "reply"})
	r, _ := nextHeard[*messages.Result](s)
	if !r.Canceled || r.GetFailure().GetCode() != "CANCELED" || !strings.Contains(r.GetFailure().Message, "changed my mind") {
		t.Fatalf("canceled: %v", r)
	}
	w.ack(r)
	w.dispatch("r2", "a", func(d *messages.Dispatch) { d.ExecutionTimeoutMs = 150 })
	<-entered
	if m, _ := nextHeard[*messages.Started](s); m.RunId != "r2" {
		t.Fatalf("started: %v", m)
	}
	if r, _ = nextHeard[*messages.Result](s); r.GetFailure().GetCode() != "EXECUTION_TIMEOUT" || !strings.Contains(r.GetFailure().Message, "150ms") {
		t.Fatalf("timed out: %v", r)
	}
	w.ack(r)
}

// A result whose dispatcher is gone reaches whoever owns the run now, and a
// doubled Dispatch does not execute the step again.
func TestWorkerResendsToOwner(t *testing.T) {
	s := startWorkerServer(t)
	deaf := actor.PropsFromFunc(func(actor.Context) {})
	if _, err := s.node.System().Root.SpawnNamed(deaf, "deaf"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	calls := 0
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"a": func(context.Context, *attempt.Attempt) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			calls++
			return []byte("1"), nil
		}}})
	// Nothing says that this one is not there: the result is sent again.
	w.dispatch("r0", "a", func(d *messages.Dispatch) { d.ReplyActorId = "deaf" })
	if r, by := nextHeard[*messages.Result](s); by != "r0" {
		t.Fatalf("the result went to %q", by)
	} else {
		w.ack(r)
	}
	// This one is known not to be there.
	sent := time.Now()
	w.dispatch("r1", "a", func(d *messages.Dispatch) { d.ReplyActorId = "nobody" })
	r, by := nextHeard[*messages.Result](s)
	if by != "r1" {
		t.Fatalf("the result went to %q", by)
	}
	if took := time.Since(sent); took >= slots.ResendFirst {
		t.Fatalf("the result took %v", took)
	}
	w.dispatch("r1", "a", func(d *messages.Dispatch) { d.TakeUp = true })
	if _, by = nextHeard[*messages.Result](s); by != "reply" {
		t.Fatalf("the result went to %q", by)
	}
	w.ack(r)
	w.dispatch("r2", "a")
	if r, _ := nextHeard[*messages.Result](s); r.RunId != "r2" {
		t.Fatalf("heard %v", r)
	}
	mu.Lock()
	defer mu.Unlock()
	if calls != 3 {
		t.Fatalf("the function was called %d times", calls)
	}
}

func history(numbered ...*messages.Event) []*messages.NumberedEntry {
	var entries []*messages.NumberedEntry
	for i, ev := range numbered {
		entries = append(entries, &messages.NumberedEntry{Number: uint64(i + 1), Entry: &messages.Entry{Events: []*messages.Event{ev}}})
	}
	return entries
}

func childHistory(output string) []*messages.NumberedEntry {
	return history(
		&messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{}}},
		&messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "child", Output: []byte(output)}}},
		&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}},
	)
}

// spawning spawns a child, waits for it and returns the output of its step.
func spawning(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
	id, err := a.Engine.SpawnChild(ctx, &messages.SpawnChild{Workflow: "w", Key: "0", Sticky: true})
	if err != nil {
		return nil, err
	}
	end, outputs, err := a.Engine.AwaitRun(ctx, id)
	if err != nil {
		return nil, err
	}
	if end.Status != messages.RunStatus_RUN_STATUS_SUCCEEDED {
		return nil, messages.FromFailure(end.Failure)
	}
	return outputs["child"], nil
}

// With one slot, a parent that waits for its child on the same worker completes.
func TestWorkerFreesSlotForChild(t *testing.T) {
	s := startWorkerServer(t)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"parent": spawning,
		"child":  func(context.Context, *attempt.Attempt) ([]byte, error) { return []byte(`"from the child"`), nil },
	}})
	hard := func(d *messages.Dispatch) { d.Sticky, d.Epoch = messages.Sticky_STICKY_HARD, 1 }
	watches := make(chan *actor.PID, 10)
	s.answer = func(ctx actor.Context, m proto.Message) proto.Message {
		switch m := m.(type) {
		case *messages.SpawnChild:
			if m.RunId != "p" || m.Step != "parent" || m.Attempt != 1 || m.Epoch != 1 {
				return &messages.SpawnChildReply{Error: &messages.Failure{Code: "INTERNAL", Message: m.String()}}
			}
			w.dispatch("c", "child", hard)
			return &messages.SpawnChildReply{ChildRun: "c"}
		case *messages.WatchRun:
			watches <- ctx.Sender()
		}
		return nil
	}
	w.dispatch("p", "parent", hard)
	r, _ := nextHeard[*messages.Result](s)
	if r.RunId != "c" {
		t.Fatalf("the child should have run first: %v", r)
	}
	w.ack(r)
	s.node.System().Root.Send(<-watches, &messages.WatchRunReply{Entries: childHistory(string(r.GetOutput())), Ended: true})
	if r, _ = nextHeard[*messages.Result](s); r.RunId != "p" || string(r.GetOutput()) != `"from the child"` {
		t.Fatalf("parent: %v", r)
	}
}

func TestWorkerReturnsSpawnErrors(t *testing.T) {
	s := startWorkerServer(t)
	s.answer = func(_ actor.Context, m proto.Message) proto.Message {
		if _, ok := m.(*messages.SpawnChild); ok {
			return &messages.SpawnChildReply{Error: messages.ToFailure(messages.Errorf(messages.CodeChildNotOnWorker, "w1 has no such"))}
		}
		return nil
	}
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{"parent": spawning}})
	w.dispatch("p", "parent")
	if r, _ := nextHeard[*messages.Result](s); r.GetFailure().GetCode() != "CHILD_NOT_ON_WORKER" {
		t.Fatalf("parent: %v", r)
	}
}

// A wait for a child survives the loss of the server that it asked.
func TestWorkerAwaitSurvivesServer(t *testing.T) {
	s := startWorkerServer(t)
	watched := make(chan struct{}, 10)
	s.answer = func(_ actor.Context, m proto.Message) proto.Message {
		switch m.(type) {
		case *messages.SpawnChild:
			return &messages.SpawnChildReply{ChildRun: "c"}
		case *messages.WatchRun:
			watched <- struct{}{}
		}
		return nil
	}
	registered := make(chan struct{}, 10)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{"parent": spawning},
		hooks: &WorkerHooks{Admitted: func() { registered <- struct{}{} }}})
	<-registered
	w.dispatch("p", "parent")
	<-watched
	s.node.Kill()
	second := &workerServer{t: t, heard: s.heard, loads: s.loads, register: admit}
	second.answer = func(_ actor.Context, m proto.Message) proto.Message {
		if m, ok := m.(*messages.WatchRun); ok && m.RunId == "c" {
			return &messages.WatchRunReply{Entries: childHistory("7"), Ended: true}
		}
		return nil
	}
	second.start(cluster.Config{Join: []string{w.node.Self().GossipAddress}})
	if r, by := nextHeard[*messages.Result](second); string(r.GetOutput()) != "7" || by != "p" {
		t.Fatalf("%s heard %v", by, r)
	}
	<-registered
}

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
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 3, hooks: &WorkerHooks{
		Waiting:  func(message string) { waits <- message },
		Admitted: func() { admitted <- struct{}{} },
	}})
	<-admitted
	if m := <-waits; m != "another process is being probed" {
		t.Errorf("waits for %q", m)
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
	_, err = StartWorker(t.Context(), WorkerConfig{Node: node, Info: &messages.WorkerInfo{
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
		hooks: &WorkerHooks{Canceled: func(_ *messages.Dispatch, cause error) { canceled <- cause }}})
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
		hooks: &WorkerHooks{Admitted: func() { admitted <- struct{}{} }}})
	<-admitted
	w.dispatch("hard", "a", func(d *messages.Dispatch) { d.Sticky, d.Epoch = messages.Sticky_STICKY_HARD, 1 })
	w.dispatch("soft", "a", func(d *messages.Dispatch) { d.Sticky, d.Epoch = messages.Sticky_STICKY_SOFT, 1 })
	<-entered
	<-entered
	s.node.System().Root.Send(actor.NewPID(w.pid.Address, "limpet-activator"),
		&messages.DeclaredGone{Name: w.node.Self().Name, By: s.node.Self().Name})
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
	if m, _ := nextHeard[*messages.DispatchRefused](s); m.Reason != "draining" {
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
	if state := w.node.Self().State; state != cluster.StateDraining {
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
