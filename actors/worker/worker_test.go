package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/local"
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
	answer   atomic.Pointer[workerAnswer]
	// acked are the results that the test has acknowledged.
	acked map[resultKey]bool
}

type workerAnswer func(actor.Context, proto.Message) proto.Message

// answers may come after the first messages.
func (s *workerServer) answers(f workerAnswer) { s.answer.Store(&f) }

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
		register: admit, acked: map[resultKey]bool{},
	}
	s.answers(func(actor.Context, proto.Message) proto.Message { return nil })
	s.start(cluster.Config{Join: join})
	return s
}

func (s *workerServer) start(c cluster.Config) {
	s.up = make(chan struct{})
	c.Role, c.ID, c.Logger, c.Preset = cluster.RoleServer, "s1", slog.New(slog.DiscardHandler), longLeases()
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
	case *messages.Queued, *messages.Started, *messages.Result, *messages.Revoked, *messages.DispatchRefused, *messages.AttemptUnknown,
		*messages.HandedOff:
		s.heard <- heardByRun{name, m}
	}
	if reply := (*s.answer.Load())(ctx, m); reply != nil {
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
			// A result is sent again until its acknowledgement has arrived.
			r, result := h.msg.(*messages.Result)
			if m, ok := h.msg.(M); ok && !(result && s.acked[resultKey{r.RunId, r.Step, r.Attempt}]) {
				return m, h.by
			}
		case <-deadline:
			s.t.Fatalf("no %T came", *new(M))
		}
	}
}

// longLeases outlast any wait of a busy machine: a worker whose lease has ended
// drops what comes under the one before.
func longLeases() cluster.Preset {
	p := cluster.LocalConfig()
	p.LeaseFor = time.Minute
	return p
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
	endIfHeld time.Duration
	functions map[string]attempt.Function
	hooks     *Hooks
	logger    *slog.Logger
	locals    map[string]*attempt.Local
	limits    local.Config
}

func startTestWorker(t *testing.T, s *workerServer, c workerTestConfig) (*workerUnderTest, error) {
	t.Helper()
	logger := c.logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	node, err := cluster.Start(t.Context(), cluster.Config{
		Role: cluster.RoleWorker, ID: "w1", Join: []string{s.node.Self().GossipAddress}, Logger: logger, Preset: longLeases(),
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
	w, err := Start(ctx, Config{
		Node: node, Info: &messages.WorkerInfo{Slots: c.slots, Workflows: []*messages.WorkflowDefinition{def}},
		Functions: attempt.Functions{"w": c.functions}, Grace: c.grace, EndIfHeldFor: c.endIfHeld, Hooks: c.hooks, Logger: logger,
		Locals: attempt.Locals{"w": c.locals}, LocalLimits: c.limits,
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
	w.server.acked[resultKey{r.RunId, r.Step, r.Attempt}] = true
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
			return nil, errors.New(strings.Repeat("é", messages.FailureMessageBytesMax))
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
	if m, _ := nextHeard[*messages.DispatchRefused](s); m.Reason != messages.Reason_REASON_STEP_GONE {
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
	w.send(&messages.CancelAttempt{RunId: "r1", Step: "a", Attempt: 1, Reason: messages.Reason_REASON_RUN_CANCELED, Text: "changed my mind", ReplyAddress: s.node.Self().Address, ReplyActorId: "reply"})
	r, _ := nextHeard[*messages.Result](s)
	if !r.Canceled || r.GetFailure().GetCode() != "CANCELED" || !strings.Contains(r.GetFailure().Message, "changed my mind") {
		t.Fatalf("canceled: %v", r)
	}
	w.ack(r)
	w.dispatch("r2", "a", func(d *messages.Dispatch) { d.ExecutionTimeoutMs = 1500 })
	<-entered
	if m, _ := nextHeard[*messages.Started](s); m.RunId != "r2" {
		t.Fatalf("started: %v", m)
	}
	if r, _ = nextHeard[*messages.Result](s); r.GetFailure().GetCode() != "EXECUTION_TIMEOUT" || !strings.Contains(r.GetFailure().Message, "1.5s") {
		t.Fatalf("timed out: %v", r)
	}
	w.ack(r)
}

// A step that may be what ends the process is called once the word has gone out
// that it begins.
func TestWorkerSaysThatASuspectBegins(t *testing.T) {
	s := startWorkerServer(t)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"a": func(context.Context, *attempt.Attempt) ([]byte, error) {
			return fmt.Append(nil, time.Now().UnixMicro()), nil
		}}})
	w.dispatch("r1", "a", func(d *messages.Dispatch) { d.Suspect = true })
	started, _ := nextHeard[*messages.Started](s)
	r, _ := nextHeard[*messages.Result](s)
	called, err := strconv.ParseInt(string(r.GetOutput()), 10, 64)
	if err != nil {
		t.Fatalf("result: %v", r)
	}
	if after := time.Duration(called-started.StartedUs) * time.Microsecond; after < slots.SuspectNotice {
		t.Fatalf("the function was called %v after its start was told, that should be at least %v", after, slots.SuspectNotice)
	}
	w.ack(r)
}

// lockedText is a log that is read while others may write to it.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A function that does not return holds its slot: those that are queued and the
// reports say so, and the log; and the worker ends in order when that lasts.
func TestWorkerEndsBecauseASlotIsHeld(t *testing.T) {
	s := startWorkerServer(t)
	var log lockedText
	release := make(chan struct{})
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, grace: time.Minute, endIfHeld: 100 * time.Millisecond,
		logger: slog.New(slog.NewTextHandler(&log, nil)), functions: map[string]attempt.Function{
			"a": func(context.Context, *attempt.Attempt) ([]byte, error) {
				<-release
				return nil, nil
			}}})
	t.Cleanup(func() {
		close(release)
		w.functions.Wait()
	})
	w.dispatch("r1", "a", func(d *messages.Dispatch) { d.ExecutionTimeoutMs = 50 })
	r, _ := nextHeard[*messages.Result](s)
	if r.GetFailure().GetCode() != "EXECUTION_TIMEOUT" {
		t.Fatalf("result: %v", r)
	}
	w.ack(r)
	if err := w.ended(); messages.CodeOf(err) != messages.CodeSlotHeld || !strings.Contains(err.Error(), `step "a" of run r1, attempt 1`) {
		t.Fatalf("the worker ended with %v", err)
	}
	if load := w.LastLoad(); load.HeldSlots != 1 || load.HeldMs < 100 {
		t.Errorf("reported %v", load)
	}
	for _, line := range []string{"has not returned although its context has ended", "has held its slot for too long"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log lacks %q:\n%s", line, log.String())
		}
	}
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
	// These are known not to be there: it does not wait until it is sent again,
	// but this process may have to.
	tries := 0
	for took := slots.ResendFirst; took >= slots.ResendFirst; tries++ {
		if tries == 10 {
			t.Fatalf("the result took %v", took)
		}
		run, sent := fmt.Sprint("nobody", tries), time.Now()
		w.dispatch(run, "a", func(d *messages.Dispatch) { d.ReplyActorId = "nobody" })
		r, by := nextHeard[*messages.Result](s)
		if by != run {
			t.Fatalf("the result went to %q", by)
		}
		took = time.Since(sent)
		w.ack(r)
	}
	w.dispatch("r1", "a", func(d *messages.Dispatch) { d.ReplyActorId = "deaf" })
	r, by := nextHeard[*messages.Result](s)
	if by != "r1" {
		t.Fatalf("the result went to %q", by)
	}
	w.dispatch("r1", "a", func(d *messages.Dispatch) { d.TakeUp = true })
	for by == "r1" {
		_, by = nextHeard[*messages.Result](s)
	}
	if by != "reply" {
		t.Fatalf("the result went to %q", by)
	}
	w.ack(r)
	w.dispatch("r2", "a")
	if r, _ := nextHeard[*messages.Result](s); r.RunId != "r2" {
		t.Fatalf("heard %v", r)
	}
	mu.Lock()
	defer mu.Unlock()
	if calls != 3+tries {
		t.Fatalf("the function was called %d times", calls)
	}
}
