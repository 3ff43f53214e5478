package sdk_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
)

// fakeAPI answers what its fields say, after a number of failures.
type fakeAPI struct {
	apiconnect.UnimplementedLimpetServiceHandler
	mu sync.Mutex
	// fail is returned by the next calls, one each.
	fail     []error
	starts   []*api.StartRunRequest
	batches  []int
	pushes   []*api.PushEventRequest
	waits    int
	run      *api.GetRunResponse
	secrets  []string
	watchErr error
	entries  []uint64
}

// arrive notes a call and returns the failure that it is to meet. The same call
// may be sent again while it is served.
func (f *fakeAPI) arrive(h http.Header, note func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	note()
	f.secrets = append(f.secrets, h.Get("Authorization"))
	if len(f.fail) == 0 {
		return nil
	}
	err := f.fail[0]
	f.fail = f.fail[1:]
	return err
}

func answer[T any](err error, msg *T) (*connect.Response[T], error) {
	if err != nil {
		return nil, api.ToConnect(err)
	}
	return connect.NewResponse(msg), nil
}

func (f *fakeAPI) StartRun(_ context.Context, r *connect.Request[api.StartRunRequest]) (*connect.Response[api.StartRunResponse], error) {
	err := f.arrive(r.Header(), func() { f.starts = append(f.starts, r.Msg) })
	return answer(err, &api.StartRunResponse{RunId: "r1", Existed: r.Msg.IdempotencyKey == "twice"})
}

func (f *fakeAPI) StartRuns(_ context.Context, r *connect.Request[api.StartRunsRequest]) (*connect.Response[api.StartRunsResponse], error) {
	err := f.arrive(r.Header(), func() { f.batches = append(f.batches, len(r.Msg.Runs)) })
	res := &api.StartRunsResponse{}
	for _, s := range r.Msg.Runs {
		res.Runs = append(res.Runs, &api.StartRunResponse{RunId: "run-" + string(s.Input[:min(len(s.Input), 5)]) + s.IdempotencyKey})
	}
	return answer(err, res)
}

func (f *fakeAPI) WaitRun(_ context.Context, r *connect.Request[api.WaitRunRequest]) (*connect.Response[api.WaitRunResponse], error) {
	var ended bool
	err := f.arrive(r.Header(), func() {
		f.waits++
		ended = f.waits > 2
	})
	return answer(err, &api.WaitRunResponse{Ended: ended, Run: f.run})
}

func (f *fakeAPI) GetRun(_ context.Context, r *connect.Request[api.GetRunRequest]) (*connect.Response[api.GetRunResponse], error) {
	return answer(f.arrive(r.Header(), func() {}), f.run)
}

func (f *fakeAPI) PushEvent(_ context.Context, r *connect.Request[api.PushEventRequest]) (*connect.Response[api.PushEventResponse], error) {
	err := f.arrive(r.Header(), func() { f.pushes = append(f.pushes, r.Msg) })
	return answer(err, &api.PushEventResponse{EventId: r.Msg.EventId, Runs: []*api.TriggeredRun{{RunId: "e1", Workflow: "w"}},
		Refused: []*api.RefusingWorkflow{{Workflow: "strict", Failure: &messages.Failure{Code: string(messages.CodeInvalidInput), Message: "no"}}}})
}

func (f *fakeAPI) WatchRun(_ context.Context, r *connect.Request[api.WatchRunRequest], s *connect.ServerStream[api.WatchRunResponse]) error {
	if err := f.arrive(r.Header(), func() {}); err != nil {
		return api.ToConnect(err)
	}
	for _, n := range f.entries {
		if n > r.Msg.AfterEntry {
			if err := s.Send(&api.WatchRunResponse{Entry: n}); err != nil || n%2 == 0 && f.watchErr != nil {
				return f.watchErr
			}
		}
	}
	return nil
}

func (f *fakeAPI) serve(t *testing.T) (address string) {
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewLimpetServiceHandler(f))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func client(t *testing.T, c sdk.ClientConfig) *sdk.Client {
	t.Helper()
	got, err := sdk.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// deadAddress is one that refuses connections.
func deadAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestNewClientReportsBadAddresses(t *testing.T) {
	_, err := sdk.NewClient(sdk.ClientConfig{Address: "nowhere", Addresses: []string{"127.0.0.1:1", "ftp://x", "https://limpet.example"}})
	if !errors.Is(err, sdk.ErrInvalidArgument) || !strings.Contains(err.Error(), `"nowhere"`) || !strings.Contains(err.Error(), `"ftp://x"`) {
		t.Error(err)
	}
	if _, err := sdk.NewClient(sdk.ClientConfig{}); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestStart(t *testing.T) {
	f := &fakeAPI{}
	c := client(t, sdk.ClientConfig{Address: f.serve(t), Secret: "s3cret"})
	w := sdk.NewWorkflow[point]("w")
	run, err := w.Start(t.Context(), c, point{3}, &sdk.StartOptions{Priority: sdk.Low, IdempotencyKey: "twice", Metadata: map[string]string{"a": "b"}})
	if err != nil || run.ID() != "r1" || !run.Existed {
		t.Fatal(run, err)
	}
	if s := f.starts[0]; s.Workflow != "w" || string(s.Input) != `{"x":3}` || s.Priority != 3 || s.IdempotencyKey != "twice" || s.Metadata["a"] != "b" {
		t.Errorf("request: %v", s)
	}
	if f.secrets[0] != "Bearer s3cret" {
		t.Errorf("authorization %q", f.secrets[0])
	}
}

func TestStartIsSentAgainUnderOneName(t *testing.T) {
	unavailable := messages.Errorf(messages.CodeUnavailable, "the owner of the run is moving")
	w := sdk.NewWorkflow[int]("w")
	f := &fakeAPI{fail: []error{unavailable}}
	c := client(t, sdk.ClientConfig{Address: f.serve(t)})
	if run, err := w.Start(t.Context(), c, 1); err != nil || len(f.starts) != 2 || run.Existed {
		t.Fatalf("without a key: %d starts, %v", len(f.starts), err)
	}
	if a, b := f.starts[0].GetRunId(), f.starts[1].GetRunId(); a != b || messages.CheckDrawnRunID(a) != nil {
		t.Errorf("a start without a key was sent as %q and again as %q", a, b)
	}
	f.fail = []error{unavailable, messages.Errorf(messages.CodeJournalConflict, "another activation went on")}
	if _, err := w.Start(t.Context(), c, 1, &sdk.StartOptions{IdempotencyKey: "k"}); err != nil || len(f.starts) != 5 || f.starts[4].GetRunId() != "" {
		t.Errorf("with a key: %d starts, %v", len(f.starts), err)
	}
	f.fail = []error{messages.Errorf(messages.CodeUnknownWorkflow, "no workflow %q", "w")}
	if _, err := w.Start(t.Context(), c, 1, &sdk.StartOptions{IdempotencyKey: "k"}); !errors.Is(err, sdk.ErrUnknownWorkflow) || len(f.starts) != 6 {
		t.Errorf("refused: %d starts, %v", len(f.starts), err)
	}
}

func TestStartGoesToAnAddressThatAnswers(t *testing.T) {
	f := &fakeAPI{}
	c := client(t, sdk.ClientConfig{Address: deadAddress(t), Addresses: []string{f.serve(t)}})
	w := sdk.NewWorkflow[int]("w")
	for range 2 {
		if _, err := w.Start(t.Context(), c, 1); err != nil {
			t.Fatal(err)
		}
	}
	once := client(t, sdk.ClientConfig{Address: deadAddress(t), RetryFor: sdk.Never})
	if _, err := w.Start(t.Context(), once, 1); !errors.Is(err, sdk.ErrUnavailable) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	dead := client(t, sdk.ClientConfig{Address: deadAddress(t)})
	if _, err := w.Start(ctx, dead, 1); err == nil {
		t.Error("a start reached nobody and succeeded")
	}
}

func TestStartMany(t *testing.T) {
	f := &fakeAPI{}
	c := client(t, sdk.ClientConfig{Address: f.serve(t)})
	w := sdk.NewWorkflow[int]("w")
	runs, err := w.StartMany(t.Context(), c, make([]int, messages.BulkRunsMax+5))
	if err != nil || len(runs) != messages.BulkRunsMax+5 || !slices.Equal(f.batches, []int{messages.BulkRunsMax, 5}) {
		t.Errorf("%d runs in calls of %v: %v", len(runs), f.batches, err)
	}
	runs, err = w.StartMany(t.Context(), c, []int{7, 8}, &sdk.StartManyOptions{IdempotencyKey: func(i int) string { return []string{"a", "b"}[i] }})
	if err != nil || runs[0].ID() != "run-7a" || runs[1].ID() != "run-8b" {
		t.Error(runs, err)
	}
	f.batches = nil
	big := sdk.NewWorkflow[string]("big")
	inputs := slices.Repeat([]string{strings.Repeat("x", 1<<20-2)}, 10)
	if runs, err = big.StartMany(t.Context(), c, inputs); err != nil || len(runs) != 10 || !slices.Equal(f.batches, []int{8, 2}) {
		t.Errorf("calls of %v, %v", f.batches, err)
	}
	if runs, err = w.StartMany(t.Context(), c, nil); err != nil || len(runs) != 0 {
		t.Error(runs, err)
	}
	f.fail = []error{nil, messages.Errorf(messages.CodeInvalidInput, "not an input")}
	if runs, err = w.StartMany(t.Context(), c, make([]int, messages.BulkRunsMax+5)); !errors.Is(err, sdk.ErrInvalidInput) || len(runs) != messages.BulkRunsMax {
		t.Errorf("%d runs, %v", len(runs), err)
	}
}

func TestResultOfARun(t *testing.T) {
	f := &fakeAPI{fail: []error{messages.Errorf(messages.CodeUnavailable, "moving")}}
	c := client(t, sdk.ClientConfig{Address: f.serve(t)})
	w := sdk.NewWorkflow[int]("w")
	load := sdk.AddStep(w, "load", noop[int])
	ask := sdk.AddStep(w, "ask", func(sdk.Context, int) (point, error) { return point{}, nil })
	run := c.Run("r1")

	f.run = &api.GetRunResponse{
		Run: &api.Run{RunId: "r1", Workflow: "w", Status: sdk.Succeeded},
		Steps: []*api.Step{
			{Name: "load", Phase: api.PhaseSucceeded, Output: []byte("{}")},
			{Name: "ask", Phase: api.PhaseSucceeded, Output: []byte(`{"x":4}`), Parents: []string{"load"}},
		},
	}
	out, err := ask.Result(t.Context(), run)
	var same point
	if errResult := run.Result(t.Context(), &same); err != nil || errResult != nil || out.X != 4 || same != out {
		t.Errorf("%v %v, %v %v", out, err, same, errResult)
	}
	if err := run.Wait(t.Context()); err != nil {
		t.Error(err)
	}

	f.run.Run.Status = sdk.Failed
	f.run.Run.Failure = &messages.Failure{Code: string(messages.CodeWorkerLost), Message: `step "ask": lost 5 times`}
	f.run.Steps[1].Phase, f.run.Steps[1].Output = api.PhaseFailed, nil
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrWorkerLost) {
		t.Error(err)
	}
	if _, err := ask.Result(t.Context(), run); !errors.Is(err, sdk.ErrWorkerLost) {
		t.Error(err)
	}
	if _, err := load.Result(t.Context(), run); err != nil {
		t.Error(err)
	}
}

func TestEndedEndsWithItsContext(t *testing.T) {
	f := &fakeAPI{waits: -1 << 30}
	c := client(t, sdk.ClientConfig{Address: f.serve(t)})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Run("r1").Ended(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestPushEventIsSentAgainUnderOneID(t *testing.T) {
	f := &fakeAPI{fail: []error{messages.Errorf(messages.CodeUnavailable, "moving")}}
	c := client(t, sdk.ClientConfig{Address: f.serve(t)})
	event, err := c.PushEvent(t.Context(), "user:create", point{1})
	if err != nil || len(event.Runs) != 1 || event.Runs[0].ID() != "e1" || event.Runs[0].Workflow != "w" {
		t.Fatal(event, err)
	}
	if len(f.pushes) != 2 || f.pushes[0].EventId == "" || f.pushes[0].EventId != f.pushes[1].EventId || event.ID != f.pushes[0].EventId {
		t.Errorf("pushes: %v", f.pushes)
	}
	if len(event.Refused) != 1 || event.Refused[0].Workflow != "strict" || messages.CodeOf(event.Refused[0].Err) != messages.CodeInvalidInput {
		t.Errorf("refused: %v", event.Refused)
	}
	if _, err := c.PushEvent(t.Context(), "user:create", nil, &sdk.EventOptions{ID: "mine"}); err != nil || f.pushes[2].EventId != "mine" {
		t.Error(f.pushes[2], err)
	}
}

func TestWatchGoesOnAfterABreak(t *testing.T) {
	f := &fakeAPI{
		entries: []uint64{1, 2, 3, 4, 5}, watchErr: connect.NewError(connect.CodeUnavailable, errors.New("restarting")),
		fail: []error{messages.Errorf(messages.CodeUnavailable, "not yet")},
	}
	c := client(t, sdk.ClientConfig{Address: f.serve(t)})
	var got []uint64
	for entry, err := range c.Run("r1").Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry.Entry)
	}
	if !slices.Equal(got, f.entries) {
		t.Errorf("entries %v", got)
	}
	for entry := range c.Run("r1").Watch(t.Context(), 2) {
		if entry.Entry != 3 {
			t.Errorf("entry %d after 2", entry.Entry)
		}
		break
	}
	f.fail = []error{messages.Errorf(messages.CodeUnknownRun, "no run r1")}
	for _, err := range c.Run("r1").Watch(t.Context(), 0) {
		if !errors.Is(err, sdk.ErrUnknownRun) {
			t.Error(err)
		}
	}
}

func TestCallsThatAServerDoesNotKnow(t *testing.T) {
	c := client(t, sdk.ClientConfig{Address: (&fakeAPI{}).serve(t)})
	if _, err := c.ListWorkers(t.Context()); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Error(err)
	}
}
