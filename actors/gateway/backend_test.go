package gateway

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// fakeBackend keeps started runs in memory and ends none by itself.
type fakeBackend struct {
	mu        sync.Mutex
	runs      map[string]*messages.RunStarted
	order     []string
	calls     int // of StartRuns
	workflows []definitions.Served
	entries   map[string][]*messages.NumberedEntry
	ended     map[string]bool
	changed   chan struct{}
	polls     []*messages.WatchRun
	// fail, if set, is returned by StartRuns; replyFail is the reply to runs
	// of that workflow.
	fail      error
	replyFail map[string]*messages.Failure
	panics    bool
	commands  []string
	filter    journal.Filter
	limit     int
	// goesOn is how often a run that has ended is read as one that goes on.
	goesOn int
	events journal.EventStore
	// logs are by run; each reading has one more of them.
	logs map[string][]*api.ReadLogResponse
}

func (e *fakeBackend) ReadLog(_ context.Context, runID string, after int64) ([]*api.ReadLogResponse, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.runs[runID]; !ok {
		return nil, false, messages.Errorf(messages.CodeUnknownRun, "no run %q", runID)
	}
	for _, c := range e.logs[runID] {
		if c.GetPlace() > after {
			return []*api.ReadLogResponse{c}, e.ended[runID], nil
		}
	}
	return nil, e.ended[runID], nil
}

func newFakeBackend(defs ...*messages.WorkflowDefinition) *fakeBackend {
	e := &fakeBackend{
		runs: map[string]*messages.RunStarted{}, entries: map[string][]*messages.NumberedEntry{},
		ended: map[string]bool{}, changed: make(chan struct{}), events: journal.NewMemory(),
	}
	for _, d := range defs {
		ready, err := definitions.NewDefinition(messages.HashDefinition(d), d)
		if err != nil {
			panic(err)
		}
		e.workflows = append(e.workflows, definitions.Served{Workflow: definitions.Workflow{Definition: ready}, Workers: 1})
	}
	return e
}

func (e *fakeBackend) StartRuns(_ context.Context, runs []*messages.StartRun) ([]*messages.StartRunReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls++
	if e.fail != nil {
		return nil, e.fail
	}
	var replies []*messages.StartRunReply
	for _, r := range runs {
		reply := &messages.StartRunReply{Error: e.replyFail[r.GetStart().GetWorkflow()]}
		if old, ok := e.runs[r.GetRunId()]; ok {
			reply.Existed = true
			if !bytes.Equal(old.GetInput(), r.GetStart().GetInput()) {
				reply.Error = messages.ToFailure(messages.Errorf(messages.CodeIdempotencyMismatch, "run %s has another input", r.GetRunId()))
			}
		} else if reply.Error == nil {
			e.runs[r.GetRunId()] = r.GetStart()
			e.order = append(e.order, r.GetRunId())
			e.appendLocked(r.GetRunId(), &messages.Event{Kind: &messages.Event_RunStarted{RunStarted: r.GetStart()}})
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

// append adds an entry to a run; end also ends it.
func (e *fakeBackend) append(runID string, event *messages.Event, end bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended[runID] = end
	e.appendLocked(runID, event)
}

func (e *fakeBackend) appendLocked(runID string, event *messages.Event) {
	e.entries[runID] = append(e.entries[runID], &messages.NumberedEntry{
		Number: uint64(len(e.entries[runID]) + 1),
		Entry:  &messages.Entry{AtUs: 1_700_000_000_000_000, Events: []*messages.Event{event}},
	})
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *fakeBackend) WatchRun(ctx context.Context, w *messages.WatchRun) (*messages.WatchRunReply, error) {
	over := time.NewTimer(time.Duration(w.GetWaitMs()) * time.Millisecond)
	defer over.Stop()
	e.mu.Lock()
	e.polls = append(e.polls, w)
	e.mu.Unlock()
	for waited := false; ; {
		e.mu.Lock()
		if _, ok := e.runs[w.GetRunId()]; !ok {
			e.mu.Unlock()
			return &messages.WatchRunReply{Error: messages.ToFailure(messages.Errorf(messages.CodeUnknownRun, "no run %q", w.GetRunId()))}, nil
		}
		reply := &messages.WatchRunReply{Ended: e.ended[w.GetRunId()]}
		for _, n := range e.entries[w.GetRunId()] {
			if n.GetNumber() > w.GetAfter() && len(reply.Entries) < 2 {
				reply.Entries = append(reply.Entries, n)
			}
		}
		changed := e.changed
		e.mu.Unlock()
		if reply.Ended || waited || !w.GetUntilEnded() && len(reply.Entries) > 0 {
			return reply, nil
		}
		select {
		case <-ctx.Done():
			return reply, nil
		case <-over.C:
			waited = true
		case <-changed:
		}
	}
}

// CountRuns counts two runs that have failed, of two workflows, and more than can be
// counted that run.
func (e *fakeBackend) CountRuns(_ context.Context, f journal.Filter, limit int) ([]journal.GroupCount, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.filter, e.limit = f, limit
	return []journal.GroupCount{
		{Workflow: "ask", Status: messages.RunStatus_RUN_STATUS_RUNNING, Rows: limit, More: true}, {Workflow: "ask", Status: messages.RunStatus_RUN_STATUS_FAILED, Rows: 1},
		{Workflow: "tell", Status: messages.RunStatus_RUN_STATUS_RUNNING, Rows: 7}, {Workflow: "tell", Status: messages.RunStatus_RUN_STATUS_FAILED, Rows: 1},
	}, nil
}

// WorkerAttempts gives one, of a page that tells what was asked for.
func (e *fakeBackend) WorkerAttempts(_ context.Context, workerID string, from, to time.Time, limit int, token string) ([]*api.Attempt, string, error) {
	return []*api.Attempt{{RunId: token, WorkerId: workerID, SentAt: api.Moment(from), EndedAt: api.Moment(to), Number: int32(limit)}}, "next", nil
}

// Watch tells of one thing, which says what was asked for, and then ends.
func (e *fakeBackend) Watch(_ context.Context, topics []string, position string, each func(*api.WatchResponse) error) error {
	return each(&api.WatchResponse{Position: position + "+", Topic: topics[0], Text: fmt.Sprint(topics)})
}

func (e *fakeBackend) WorkerEvents(workerID string) []*api.WorkerEvent {
	return []*api.WorkerEvent{{Kind: "joined", Text: workerID}}
}

func (e *fakeBackend) Attempts(ctx context.Context, runID string) (*api.ListAttemptsResponse, error) {
	if _, err := e.LoadRun(ctx, runID); err != nil {
		return nil, err
	}
	return &api.ListAttemptsResponse{Attempts: []*api.Attempt{{Step: "a", Number: 1}}}, nil
}

func (e *fakeBackend) LoadRun(_ context.Context, runID string) (*api.GetRunResponse, error) {
	if e.panics {
		panic("the engine broke")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	start, ok := e.runs[runID]
	if !ok {
		return nil, messages.Errorf(messages.CodeUnknownRun, "no run %q", runID)
	}
	status := messages.RunStatus_RUN_STATUS_RUNNING
	if e.ended[runID] && e.goesOn == 0 {
		status = messages.RunStatus_RUN_STATUS_SUCCEEDED
	}
	e.goesOn = max(0, e.goesOn-1)
	return &api.GetRunResponse{Run: &api.Run{RunId: runID, Workflow: start.GetWorkflow(), Pool: start.GetPool(), Input: start.GetInput(), Status: status}}, nil
}

func (e *fakeBackend) CancelRun(_ context.Context, msg *messages.CancelRun) error {
	return e.command("cancel", msg.RunId, msg.Reason)
}

func (e *fakeBackend) SignalRun(_ context.Context, msg *messages.SignalRun) error {
	return e.command("signal", msg.RunId, fmt.Sprintf("%s %s %s", msg.Name, msg.MessageId, msg.Payload))
}

func (e *fakeBackend) AskRun(_ context.Context, runID, query string, arg []byte, within time.Duration) (*api.AskRunResponse, error) {
	if err := e.command("ask", runID, fmt.Sprintf("%s %s %v", query, arg, within)); err != nil {
		return nil, err
	}
	return &api.AskRunResponse{Answer: []byte(`{"page":3}`), WorkerId: "w1", Epoch: 1, Entry: 2}, nil
}

func (e *fakeBackend) ReadStream(_ context.Context, m *messages.ReadStream) (*messages.ReadStreamReply, error) {
	if err := e.command("stream", m.RunId, fmt.Sprintf("%s %d.%d %v", m.Stream, m.Section, m.Number, m.Follow)); err != nil {
		return nil, err
	}
	if m.Section > 2 {
		return &messages.ReadStreamReply{Ended: true}, nil
	}
	if m.Section == 2 {
		return &messages.ReadStreamReply{Pieces: []*messages.StreamPieces{{Section: 3, First: 1, Pieces: [][]byte{{0}}, Step: "a", Attempt: 2}}}, nil
	}
	return &messages.ReadStreamReply{Pieces: []*messages.StreamPieces{
		{Section: 1, First: 1, Pieces: [][]byte{[]byte("x"), []byte("y")}, Step: "a", Attempt: 1}, {Section: 2, First: 1, Pieces: [][]byte{[]byte("z")}, Step: "a", Attempt: 2}}}, nil
}

func (e *fakeBackend) ReplayRun(_ context.Context, runID string, steps []string, _ string) error {
	return e.command("replay", runID, fmt.Sprint(steps))
}

func (e *fakeBackend) command(name, runID, detail string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.runs[runID]; !ok {
		return messages.Errorf(messages.CodeUnknownRun, "no run %q", runID)
	}
	if name == "replay" && !e.ended[runID] {
		return messages.Errorf(messages.CodeRunNotFinished, "run %s is running", runID)
	}
	e.commands = append(e.commands, name+" "+detail)
	return nil
}

func (e *fakeBackend) ListRuns(_ context.Context, f journal.Filter, limit int, token string) ([]*api.Run, string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.filter, e.limit = f, limit
	if token != "" {
		return nil, "", messages.Errorf(messages.CodeInvalidArgument, "page token %q was not made here", token)
	}
	return []*api.Run{projection.Listed(&journal.Row{
		RunID: "r1", Workflow: "ask", Status: messages.RunStatus_RUN_STATUS_RUNNING, Sticky: messages.Sticky_STICKY_HARD,
		BoundWorker: "gpu-1", Epoch: 2, Dormant: true, WakeOnUp: "gpu-1", CreatedAt: time.Unix(1_700_000_000, 0),
	})}, "next", nil
}

func (e *fakeBackend) Workflow(_ context.Context, name string) (definitions.Workflow, error) {
	for _, d := range e.workflows {
		if d.Def.GetName() == name {
			return d.Workflow, nil
		}
	}
	return definitions.Workflow{}, messages.Errorf(messages.CodeUnknownWorkflow, "no workflow %q", name)
}

func (e *fakeBackend) Workflows(context.Context) ([]definitions.Served, error) {
	return e.workflows, nil
}

func (e *fakeBackend) Versions(ctx context.Context, name string) ([]*api.WorkflowVersion, error) {
	w, err := e.Workflow(ctx, name)
	if err != nil {
		return nil, err
	}
	return []*api.WorkflowVersion{{Hash: w.Hash, Current: true}}, nil
}

func (e *fakeBackend) UseVersion(_ context.Context, name, hash string) (definitions.Served, error) {
	return e.change(name, func(w *definitions.Served) {
		e.commands = append(e.commands, "use", name, hash)
		w.ChosenAt = time.Unix(1_700_000_000, 0)
	})
}

func (e *fakeBackend) RetireWorkflow(_ context.Context, name string) (definitions.Served, error) {
	return e.change(name, func(w *definitions.Served) { w.RetiredAt = time.Unix(1_700_000_000, 0) })
}

func (e *fakeBackend) RestoreWorkflow(_ context.Context, name string) (definitions.Served, error) {
	return e.change(name, func(w *definitions.Served) { w.RetiredAt = time.Time{} })
}

func (e *fakeBackend) change(name string, f func(*definitions.Served)) (definitions.Served, error) {
	for i := range e.workflows {
		if w := &e.workflows[i]; w.Def.GetName() == name {
			f(w)
			return *w, nil
		}
	}
	return definitions.Served{}, messages.Errorf(messages.CodeUnknownWorkflow, "no workflow %q", name)
}

func (e *fakeBackend) Workers(context.Context) []*api.Worker {
	return []*api.Worker{{WorkerId: "gpu-1", State: api.WorkerUp}}
}

func (e *fakeBackend) DrainWorker(_ context.Context, id string, deadline time.Duration) (*api.Worker, error) {
	if id != "gpu-1" {
		return nil, messages.Errorf(messages.CodeUnknownWorker, "no worker %q", id)
	}
	e.commands = append(e.commands, fmt.Sprintf("drain %s %v", id, deadline))
	return &api.Worker{WorkerId: id, State: api.WorkerDraining}, nil
}

func (e *fakeBackend) UndrainWorker(_ context.Context, id string) (*api.Worker, error) {
	if id != "gpu-1" {
		return nil, messages.Errorf(messages.CodeWorkerEnding, "worker %q is about to end", id)
	}
	e.commands = append(e.commands, "undrain "+id)
	return &api.Worker{WorkerId: id, State: api.WorkerUp}, nil
}

func (e *fakeBackend) Members(context.Context) []*api.Member {
	return []*api.Member{{Name: "server~1", Role: api.RoleServer, ThisServer: true}}
}

// PublishEvent keeps events in a store in memory. An event with a key that ends with
// ":awaited" decides two waits.
func (e *fakeBackend) PublishEvent(ctx context.Context, event journal.Event) (func(context.Context) (int, []*api.FailedCondition), error) {
	event.At = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := e.events.Publish(ctx, []journal.Event{event})[0]; err != nil {
		return nil, err
	}
	return func(context.Context) (int, []*api.FailedCondition) {
		if !strings.HasSuffix(event.Key, ":awaited") {
			return 0, nil
		}
		return 2, []*api.FailedCondition{{RunId: "r1", Step: "s", Call: "c #0", Condition: "payload.x", Message: "no such key: x"}}
	}, nil
}

func (e *fakeBackend) Events(ctx context.Context, f journal.EventFilter, after uint64, limit int) ([]journal.Event, error) {
	return e.events.Events(ctx, f, after, limit)
}
