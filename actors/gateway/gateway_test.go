package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ask = &messages.WorkflowDefinition{
	Name: "ask", Sticky: messages.Sticky_STICKY_SOFT, Priority: 1, OnEvents: []string{"user:create", "corpus:*"},
	Steps:       []*messages.StepDefinition{{Name: "load"}},
	InputSchema: `{"type":"object","properties":{"dir":{"type":"string"}},"required":["dir"],"additionalProperties":false}`,
}

var free = &messages.WorkflowDefinition{Name: "free", Pool: "gpu", OnEvents: []string{"user:*"}, Steps: []*messages.StepDefinition{{Name: "go"}}}

// serve starts a gateway before the engine on a free port.
func serve(t *testing.T, e Backend, c Config) *Server {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := Start(t.Context(), e, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if err, open := <-s.Done(); open {
			t.Errorf("Done: %v", err)
		}
	})
	return s
}

func client(t *testing.T, s *Server, options ...connect.ClientOption) apiconnect.LimpetServiceClient {
	t.Helper()
	transport := &http.Transport{Protocols: protocols()}
	if len(options) > 0 { // gRPC needs HTTP/2
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return apiconnect.NewLimpetServiceClient(&http.Client{Transport: transport}, "http://"+s.Address(), options...)
}

func codeOf(err error) messages.Code { return messages.CodeOf(api.FromConnect(err)) }

func TestStartRunStoresACheckedRun(t *testing.T) {
	e := newFakeBackend(ask, free)
	c := client(t, serve(t, e, Config{}))
	resp, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{
		Workflow: "ask", Input: []byte(" {\"dir\": \"/src\"}\n"), Metadata: map[string]string{"by": "me"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := &messages.RunStarted{
		Workflow: "ask", DefinitionHash: messages.HashDefinition(ask), Input: []byte(`{"dir":"/src"}`),
		Priority: 1, Pool: "default", Sticky: messages.Sticky_STICKY_SOFT, Trigger: "api", Metadata: map[string]string{"by": "me"},
	}
	if got := e.runs[resp.Msg.GetRunId()]; !proto.Equal(got, want) {
		t.Errorf("stored %v\nwant   %v", got, want)
	}
	resp, err = c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free", Priority: 3}))
	if err != nil {
		t.Fatal(err)
	}
	got := e.runs[resp.Msg.GetRunId()]
	if string(got.GetInput()) != "null" || got.GetPriority() != 3 || got.GetPool() != "gpu" {
		t.Errorf("stored %v", got)
	}
}

func TestBadInputIsRefusedAndNothingIsStored(t *testing.T) {
	start := func(r *api.StartRunRequest) *api.StartRunsRequest {
		return &api.StartRunsRequest{Runs: []*api.StartRunRequest{r}}
	}
	good := &api.StartRunRequest{Workflow: "ask", Input: []byte(`{"dir":"x"}`)}
	metadata := map[string]string{}
	for i := range messages.MetadataMax + 1 {
		metadata[fmt.Sprint("k", i)] = ""
	}
	for _, tc := range []struct {
		name string
		req  *api.StartRunsRequest
		code messages.Code
		want string
	}{
		{"unknown workflow", start(&api.StartRunRequest{Workflow: "asq"}), messages.CodeUnknownWorkflow, `"asq"`},
		{"no workflow", start(&api.StartRunRequest{}), messages.CodeInvalidArgument, "workflow is empty"},
		{"bad name", start(&api.StartRunRequest{Workflow: "a b"}), messages.CodeInvalidArgument, "position 2"},
		{"not JSON", start(&api.StartRunRequest{Workflow: "ask", Input: []byte("{\"dir\":\n nope}")}), messages.CodeInvalidInput, "line 2 column 3"},
		{"two values", start(&api.StartRunRequest{Workflow: "free", Input: []byte(`1 2`)}), messages.CodeInvalidInput, "line 1 column 3"},
		{"not UTF-8", start(&api.StartRunRequest{Workflow: "free", Input: []byte("\"\xff\"")}), messages.CodeInvalidInput, "UTF-8"},
		{"wrong type", start(&api.StartRunRequest{Workflow: "ask", Input: []byte(`{"dir":7}`)}), messages.CodeInvalidInput, "$.dir: want string, got integer"},
		{"unknown field", start(&api.StartRunRequest{Workflow: "ask", Input: []byte(`{"dir":"x","dirr":1}`)}), messages.CodeInvalidInput, `unknown ["dirr"]`},
		{"no input", start(&api.StartRunRequest{Workflow: "ask"}), messages.CodeInvalidInput, "no input was given"},
		{"too large", start(&api.StartRunRequest{Workflow: "free", Input: make([]byte, messages.PayloadBytesMax+1)}), messages.CodePayloadTooLarge,
			"the input has 1048577 bytes (1.00 MiB), more than PayloadBytesMax = 1048576"},
		{"priority", start(&api.StartRunRequest{Workflow: "free", Priority: 4}), messages.CodeInvalidArgument, "priority"},
		{"two faults at once", start(&api.StartRunRequest{Workflow: "", Priority: 4}), messages.CodeInvalidArgument, "workflow is empty; priority"},
		{"key", start(&api.StartRunRequest{Workflow: "free", IdempotencyKey: "a\nb"}), messages.CodeInvalidArgument, "not printable"},
		{"long key", start(&api.StartRunRequest{Workflow: "free", IdempotencyKey: strings.Repeat("k", 257)}), messages.CodeInvalidArgument, "KeyBytesMax = 256"},
		{"metadata key", start(&api.StartRunRequest{Workflow: "free", Metadata: map[string]string{"a b": ""}}), messages.CodeInvalidArgument, "metadata key"},
		{"metadata size", start(&api.StartRunRequest{Workflow: "free", Metadata: map[string]string{"a": strings.Repeat("x", 20_000)}}), messages.CodeLimitExceeded, "MetadataBytesMax"},
		{"metadata entries", start(&api.StartRunRequest{Workflow: "free", Metadata: metadata}), messages.CodeLimitExceeded, "MetadataMax = 64"},
		{"last of a bulk", &api.StartRunsRequest{Runs: []*api.StartRunRequest{good, good, {Workflow: "ask", Input: []byte(`[]`)}}}, messages.CodeInvalidInput, "runs[2]: "},
		{"one key, two inputs", &api.StartRunsRequest{Runs: []*api.StartRunRequest{
			{Workflow: "free", Input: []byte("1"), IdempotencyKey: "k"}, {Workflow: "free", Input: []byte("2"), IdempotencyKey: "k"},
		}}, messages.CodeIdempotencyMismatch, "runs[1]: "},
		{"bulk over the limit", &api.StartRunsRequest{Runs: make([]*api.StartRunRequest, messages.BulkRunsMax+1)}, messages.CodeLimitExceeded, "BulkRunsMax = 10000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newFakeBackend(ask, free)
			c := client(t, serve(t, e, Config{}))
			for i := range tc.req.Runs { // a nil element cannot be sent
				if tc.req.Runs[i] == nil {
					tc.req.Runs[i] = &api.StartRunRequest{Workflow: "free"}
				}
			}
			_, err := c.StartRuns(t.Context(), connect.NewRequest(tc.req))
			if codeOf(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v (%s), want %s with %q", err, codeOf(err), tc.code, tc.want)
			}
			if e.calls != 0 {
				t.Error("the engine was called")
			}
			var ce *connect.Error
			if !errors.As(err, &ce) || len(ce.Details()) != 1 {
				t.Errorf("error without a detail: %v", err)
			}
		})
	}
}

func TestIdempotencyKeyNamesOneRun(t *testing.T) {
	e := newFakeBackend(ask, free)
	c := client(t, serve(t, e, Config{}))
	start := func(input string) (*api.StartRunResponse, error) {
		resp, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free", Input: []byte(input), IdempotencyKey: "order 7"}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	first, err := start(`{"a":1}`)
	if err != nil || first.GetExisted() {
		t.Fatal(first, err)
	}
	again, err := start(`{ "a": 1 }`)
	if err != nil || !again.GetExisted() || again.GetRunId() != first.GetRunId() {
		t.Errorf("again: %v, %v; first %v", again, err, first)
	}
	if _, err := start(`{"a":2}`); codeOf(err) != messages.CodeIdempotencyMismatch {
		t.Errorf("other input: %v", err)
	}
	bulk, err := c.StartRuns(t.Context(), connect.NewRequest(&api.StartRunsRequest{Runs: []*api.StartRunRequest{
		{Workflow: "free", IdempotencyKey: "new"}, {Workflow: "free"}, {Workflow: "free", IdempotencyKey: "new"},
	}}))
	if err != nil {
		t.Fatal(err)
	}
	if r := bulk.Msg.GetRuns(); r[0].GetRunId() != r[2].GetRunId() || r[0].GetRunId() == r[1].GetRunId() || len(e.runs) != 3 {
		t.Errorf("bulk: %v, %d runs", r, len(e.runs))
	}
}

// pusher pushes events.
func pusher(t *testing.T, c apiconnect.LimpetServiceClient) func(key, payload, id string) (*api.PushEventResponse, error) {
	return func(key, payload, id string) (*api.PushEventResponse, error) {
		resp, err := c.PushEvent(t.Context(), connect.NewRequest(&api.PushEventRequest{Key: key, Payload: []byte(payload), EventId: id}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
}

func TestPushEventStartsOneRunOfEachWorkflow(t *testing.T) {
	e := newFakeBackend(free, ask)
	c := client(t, serve(t, e, Config{}))
	push := pusher(t, c)
	first, err := push("user:create", `{"dir":"x"}`, "")
	if err != nil || first.GetEventId() == "" || len(first.GetRuns()) != 2 {
		t.Fatal(first, err)
	}
	if first.Runs[0].GetWorkflow() != "ask" || e.runs[first.Runs[0].GetRunId()].GetTrigger() != "event:user:create" {
		t.Errorf("first run: %v", e.runs[first.Runs[0].GetRunId()])
	}
	again, err := push("user:create", `{"dir":"x"}`, first.GetEventId())
	if err != nil || !again.Runs[0].GetExisted() || again.Runs[0].GetRunId() != first.Runs[0].GetRunId() || len(e.runs) != 2 {
		t.Errorf("again: %v, %v", again, err)
	}
	if other, err := push("user:create", `{"dir":"x"}`, ""); err != nil || other.GetEventId() == first.GetEventId() || len(e.runs) != 4 {
		t.Errorf("another push without an id: %v, %v", other, err)
	}
	if none, err := push("nobody", `1`, "e1"); err != nil || len(none.GetRuns()) != 0 {
		t.Errorf("a key that nobody wants: %v, %v", none, err)
	}
}

// The schema of a workflow refuses its own run, and no other's.
func TestPushEventJudgesEachWorkflowAlone(t *testing.T) {
	e := newFakeBackend(free, ask)
	push := pusher(t, client(t, serve(t, e, Config{})))
	pushed, err := push("user:create", `{"dir":1}`, "") // fits free, not ask
	if err != nil || len(pushed.GetRuns()) != 1 || len(pushed.GetRefused()) != 1 || len(e.runs) != 1 {
		t.Fatalf("pushed %v: %v", pushed, err)
	}
	started, refused := pushed.GetRuns()[0], pushed.GetRefused()[0]
	if started.GetWorkflow() != "free" || refused.GetWorkflow() != "ask" || refused.GetFailure().GetCode() != string(messages.CodeInvalidInput) ||
		!strings.Contains(refused.GetFailure().GetMessage(), "dir") {
		t.Errorf("started %v, refused %v", started, refused)
	}
}

func TestPushEventIsCheckedBeforeAnythingStarts(t *testing.T) {
	e := newFakeBackend(free, ask)
	push := pusher(t, client(t, serve(t, e, Config{})))
	for _, tc := range []struct {
		key, payload, id string
		code             messages.Code
	}{
		{"", `1`, "", messages.CodeInvalidArgument},
		{"user:*", `1`, "", messages.CodeInvalidArgument},
		{"nobody", `{`, "", messages.CodeInvalidInput},
		{"user:x", `1`, "a\tb", messages.CodeInvalidArgument},
	} {
		if _, err := push(tc.key, tc.payload, tc.id); codeOf(err) != tc.code {
			t.Errorf("push %q %s: %v", tc.key, tc.payload, err)
		}
	}
	if e.calls != 0 {
		t.Error("the engine was called for a bad event")
	}
	e.replyFail = map[string]*messages.Failure{"free": {Code: string(messages.CodeUnavailable), Message: "owner gone"}}
	if _, err := push("user:y", `1`, ""); codeOf(err) != messages.CodeUnavailable || !strings.Contains(err.Error(), "push again with this event id") {
		t.Errorf("engine failed: %v", err)
	}
}

// TestABadPayloadIsNamed at each door that takes one: it is no input.
func TestABadPayloadIsNamed(t *testing.T) {
	c := client(t, serve(t, newFakeBackend(free), Config{}))
	large := []byte(`"` + strings.Repeat("x", messages.PayloadBytesMax) + `"`)
	for text, payload := range map[string][]byte{" is not JSON: line 1 column 1: ": []byte("{"), " is not JSON: it is not UTF-8": []byte("\"\xff\""), " has 1048578 bytes": large} {
		_, signal := c.SignalRun(t.Context(), connect.NewRequest(&api.SignalRunRequest{RunId: "r1", Name: "ok", Payload: payload}))
		_, start := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free", IdempotencyKey: "k", SignalName: "ok", SignalPayload: payload}))
		_, event := c.PushEvent(t.Context(), connect.NewRequest(&api.PushEventRequest{Key: "user:x", Payload: payload}))
		_, query := c.AskRun(t.Context(), connect.NewRequest(&api.AskRunRequest{RunId: "r1", Query: "look", Arg: payload}))
		for err, what := range map[error]string{query: `the argument of query "look"`, signal: `the payload of signal "ok"`, start: `the payload of signal "ok"`, event: `the payload of event "user:x"`} {
			if err == nil || !strings.Contains(err.Error(), what+text) {
				t.Errorf("got %v, want %q", err, what+text)
			}
		}
	}
}

func TestWatchStreamsUntilTheEnd(t *testing.T) {
	e := newFakeBackend(free)
	s := serve(t, e, Config{})
	for name, options := range map[string][]connect.ClientOption{"connect": nil, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()}} {
		t.Run(name, func(t *testing.T) {
			c := client(t, s, options...)
			started, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"}))
			if err != nil {
				t.Fatal(err)
			}
			id := started.Msg.GetRunId()
			for i := range 4 {
				e.append(id, &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Attempt: int32(i)}}}, false)
			}
			stream, err := c.WatchRun(t.Context(), connect.NewRequest(&api.WatchRunRequest{RunId: id, AfterEntry: 1}))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			want := uint64(2)
			for stream.Receive() {
				if stream.Msg().GetEntry() != want || len(stream.Msg().GetEvents()) != 1 || stream.Msg().GetAt() == nil {
					t.Errorf("got %v, want entry %d", stream.Msg(), want)
				}
				if want == 5 { // all that there is; now the run ends
					e.append(id, &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{}}}, true)
				}
				want++
			}
			if stream.Err() != nil || want != 7 {
				t.Errorf("stream ended before entry %d: %v", want, stream.Err())
			}
		})
	}
	stream, err := client(t, s).WatchRun(t.Context(), connect.NewRequest(&api.WatchRunRequest{RunId: "none"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if stream.Receive() || codeOf(stream.Err()) != messages.CodeUnknownRun {
		t.Errorf("watch of an unknown run: %v", stream.Err())
	}
}

func TestWaitRun(t *testing.T) {
	e := newFakeBackend(free)
	c := client(t, serve(t, e, Config{}))
	started, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"}))
	if err != nil {
		t.Fatal(err)
	}
	id := started.Msg.GetRunId()
	wait := func(id string, d time.Duration) (*api.WaitRunResponse, error) {
		resp, err := c.WaitRun(t.Context(), connect.NewRequest(&api.WaitRunRequest{RunId: id, Wait: durationpb.New(d)}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	if r, err := wait(id, time.Millisecond); err != nil || r.GetEnded() || r.GetRun().GetRun().GetRunId() != id {
		t.Errorf("wait that is over: %v, %v", r, err)
	}
	done := make(chan error, 1)
	go func() {
		r, err := wait(id, time.Minute)
		if err == nil && !r.GetEnded() {
			err = fmt.Errorf("not ended: %v", r)
		}
		done <- err
	}()
	e.append(id, &messages.Event{}, true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for d, id := range map[time.Duration]string{-1: id, waitMax + 1: id} {
		if _, err := wait(id, d); codeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("wait %s: %v", d, err)
		}
	}
	if _, err := wait("none", 1); codeOf(err) != messages.CodeUnknownRun {
		t.Errorf("unknown run: %v", err)
	}
}

// A run that was replayed between its end and the reading of it is waited for
// anew: a wait never says that a run has ended and shows one that goes on.
func TestWaitRunDoesNotContradictItself(t *testing.T) {
	e := newFakeBackend(free)
	c := client(t, serve(t, e, Config{}))
	started, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"}))
	if err != nil {
		t.Fatal(err)
	}
	id := started.Msg.GetRunId()
	e.append(id, &messages.Event{}, true)
	e.mu.Lock()
	e.goesOn = 2
	e.mu.Unlock()
	r, err := c.WaitRun(t.Context(), connect.NewRequest(&api.WaitRunRequest{RunId: id, Wait: durationpb.New(time.Minute)}))
	if err != nil || !r.Msg.GetEnded() || r.Msg.GetRun().GetRun().GetStatus() != messages.RunStatus_RUN_STATUS_SUCCEEDED {
		t.Errorf("%v, %v", r, err)
	}
	e.mu.Lock()
	e.goesOn = math.MaxInt
	e.mu.Unlock()
	r, err = c.WaitRun(t.Context(), connect.NewRequest(&api.WaitRunRequest{RunId: id, Wait: durationpb.New(50 * time.Millisecond)}))
	if err != nil || r.Msg.GetEnded() {
		t.Errorf("%v, %v", r, err)
	}
}

func TestStopEndsLongPolls(t *testing.T) {
	e := newFakeBackend(free)
	s, err := Start(t.Context(), e, Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, s)
	started, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"}))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.WatchRun(t.Context(), connect.NewRequest(&api.WatchRunRequest{RunId: started.Msg.GetRunId()}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if stream.Receive() || codeOf(stream.Err()) != messages.CodeUnavailable {
		t.Errorf("stream after the stop: %v", stream.Err())
	}
	if _, open := <-s.Done(); open {
		t.Error("Done gave an error after Stop")
	}
}

func TestListRuns(t *testing.T) {
	e := newFakeBackend(ask, free)
	c := client(t, serve(t, e, Config{}), connect.WithGRPC())
	ctx := t.Context()
	list, err := c.ListRuns(ctx, connect.NewRequest(&api.ListRunsRequest{
		Workflow: "ask", Statuses: []messages.RunStatus{messages.RunStatus_RUN_STATUS_RUNNING}, WorkerId: "gpu-1", CreatedAfter: timestamppb.New(time.Unix(9, 0)),
		Roots: true, Metadata: map[string]string{"tenant": "a"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if e.limit != 50 || e.filter.Workflow != "ask" || e.filter.BoundWorker != "gpu-1" || !e.filter.Roots || e.filter.Metadata["tenant"] != "a" || !e.filter.CreatedAfter.Equal(time.Unix(9, 0)) || !e.filter.CreatedBefore.IsZero() {
		t.Errorf("filter %+v, limit %d", e.filter, e.limit)
	}
	if r := list.Msg.GetRuns()[0]; r.GetWaitingFor() != `worker "gpu-1" to come back` || r.GetFinishedAt() != nil || list.Msg.GetNextPageToken() != "next" {
		t.Errorf("listed %v", list.Msg)
	}
	for _, bad := range []*api.ListRunsRequest{
		{PageSize: 1001}, {PageSize: -1}, {Workflow: "a b"}, {Statuses: []messages.RunStatus{0}}, {Statuses: []messages.RunStatus{99}},
		{WorkerId: "gpu-1", Statuses: []messages.RunStatus{messages.RunStatus_RUN_STATUS_RUNNING, messages.RunStatus_RUN_STATUS_FAILED}},
		{PageToken: "x"}, {Roots: true, ParentRun: "r"}, {Metadata: map[string]string{"a b": "c"}}, {CreatedAfter: &timestamppb.Timestamp{Nanos: -1}},
	} {
		if _, err := c.ListRuns(ctx, connect.NewRequest(bad)); codeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("list %v: %v", bad, err)
		}
	}
}

func TestCommands(t *testing.T) {
	e := newFakeBackend(ask, free)
	c := client(t, serve(t, e, Config{}), connect.WithGRPC())
	ctx := t.Context()
	e.runs["r1"], e.runs["r2"], e.ended["r2"] = &messages.RunStarted{}, &messages.RunStarted{}, true
	_, cancel := c.CancelRun(ctx, connect.NewRequest(&api.CancelRunRequest{RunId: "r1", Reason: "enough"}))
	_, replay := c.ReplayRun(ctx, connect.NewRequest(&api.ReplayRunRequest{RunId: "r2", Steps: []string{"load"}}))
	_, signal := c.SignalRun(ctx, connect.NewRequest(&api.SignalRunRequest{RunId: "r1", Name: "ok", MessageId: "m1", Payload: []byte("{ }")}))
	_, empty := c.SignalRun(ctx, connect.NewRequest(&api.SignalRunRequest{RunId: "r1", Name: "ok", MessageId: "m2"}))
	if err := errors.Join(cancel, replay, signal, empty); err != nil || fmt.Sprint(e.commands) != "[cancel enough replay [load] signal ok m1 {} signal ok m2 null]" {
		t.Errorf("commands %v: %v", e.commands, err)
	}
	_, unknown := c.CancelRun(ctx, connect.NewRequest(&api.CancelRunRequest{RunId: "none"}))
	_, running := c.ReplayRun(ctx, connect.NewRequest(&api.ReplayRunRequest{RunId: "r1"}))
	_, badID := c.GetRun(ctx, connect.NewRequest(&api.GetRunRequest{RunId: ""}))
	_, longReason := c.CancelRun(ctx, connect.NewRequest(&api.CancelRunRequest{RunId: "r1", Reason: strings.Repeat("x", 2000)}))
	_, badStep := c.ReplayRun(ctx, connect.NewRequest(&api.ReplayRunRequest{RunId: "r2", Steps: []string{""}}))
	for want, err := range map[messages.Code]error{
		messages.CodeUnknownRun: unknown, messages.CodeRunNotFinished: running, messages.CodeInvalidArgument: badID, messages.CodeLimitExceeded: longReason,
	} {
		if codeOf(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for want, req := range map[messages.Code]*api.SignalRunRequest{
		messages.CodeUnknownRun: {RunId: "none", Name: "ok"}, messages.CodeInvalidArgument: {RunId: "r1"}, messages.CodeInvalidInput: {RunId: "r1", Name: "ok", Payload: []byte("{")},
		messages.CodePayloadTooLarge: {RunId: "r1", Name: "ok", Payload: []byte(`"` + strings.Repeat("x", messages.PayloadBytesMax) + `"`)},
	} {
		if _, err := c.SignalRun(ctx, connect.NewRequest(req)); codeOf(err) != want {
			t.Errorf("signal: got %v, want %s", err, want)
		}
	}
	within := func(d time.Duration) *api.AskRunRequest {
		return &api.AskRunRequest{RunId: "r1", Query: "look", Arg: []byte("{ }"), Timeout: durationpb.New(d)}
	}
	e.commands = nil
	answer, err := c.AskRun(ctx, connect.NewRequest(within(0)))
	_, longer := c.AskRun(ctx, connect.NewRequest(within(time.Minute)))
	_, unset := c.AskRun(ctx, connect.NewRequest(&api.AskRunRequest{RunId: "r1", Query: "look"}))
	if err := errors.Join(err, longer, unset); err != nil || fmt.Sprint(e.commands) != "[ask look {} 5s ask look {} 1m0s ask look null 5s]" {
		t.Errorf("asked %v: %v", e.commands, err)
	}
	if string(answer.Msg.GetAnswer()) != `{"page":3}` || answer.Msg.GetEntry() != 2 {
		t.Errorf("answer %v", answer.Msg)
	}
	for _, bad := range []*api.AskRunRequest{{Query: "look"}, {RunId: "r1"}, {RunId: "r1", Query: "a b"}, within(-1), within(time.Microsecond), within(61 * time.Second)} {
		if _, err := c.AskRun(ctx, connect.NewRequest(bad)); codeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("ask %v: %v", bad, err)
		}
	}
	withSignal := func(change func(*api.StartRunRequest)) *api.StartRunRequest {
		r := &api.StartRunRequest{Workflow: "free", IdempotencyKey: "k", SignalName: "ok", SignalPayload: []byte("1")}
		change(r)
		return r
	}
	for want, req := range map[messages.Code]*api.StartRunRequest{
		"":                           withSignal(func(*api.StartRunRequest) {}),
		messages.CodeInvalidArgument: withSignal(func(r *api.StartRunRequest) { r.IdempotencyKey = "" }),
		messages.CodeInvalidInput:    withSignal(func(r *api.StartRunRequest) { r.SignalPayload = []byte("{") }),
	} {
		if _, err := c.StartRun(ctx, connect.NewRequest(req)); codeOf(err) != want {
			t.Errorf("start with a signal: got %v, want %q", err, want)
		}
	}
	if _, err := c.StartRun(ctx, connect.NewRequest(withSignal(func(r *api.StartRunRequest) { r.SignalName = "" }))); codeOf(err) != messages.CodeInvalidArgument {
		t.Errorf("a signal without a name: %v", err)
	}
	if _, err := c.StartRuns(ctx, connect.NewRequest(&api.StartRunsRequest{Runs: []*api.StartRunRequest{withSignal(func(*api.StartRunRequest) {})}})); codeOf(err) != messages.CodeInvalidArgument {
		t.Errorf("a signal in a bulk call: %v", err)
	}
	if codeOf(badStep) != messages.CodeInvalidArgument {
		t.Errorf("empty step: %v", badStep)
	}
}

func TestListings(t *testing.T) {
	c := client(t, serve(t, newFakeBackend(ask, free), Config{}), connect.WithGRPC())
	ctx := t.Context()
	workers, err1 := c.ListWorkers(ctx, connect.NewRequest(&api.ListWorkersRequest{}))
	members, err2 := c.ListMembers(ctx, connect.NewRequest(&api.ListMembersRequest{}))
	workflows, err3 := c.ListWorkflows(ctx, connect.NewRequest(&api.ListWorkflowsRequest{}))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if len(workers.Msg.GetWorkers()) != 1 || len(members.Msg.GetMembers()) != 1 || len(workflows.Msg.GetWorkflows()) != 2 {
		t.Error("a listing is not whole")
	}
}

// What an error says of the inside of a server is for its log.
func TestNobodyIsToldOfTheInside(t *testing.T) {
	e := newFakeBackend(free)
	var log strings.Builder
	c := client(t, serve(t, e, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	inside := "/var/lib/limpet/journal.db of limpet@db.internal:5432"
	for code := range discreetTexts {
		coded := messages.Errorf(code, "journal %s: no", inside)
		for _, fail := range []error{coded, fmt.Errorf("started: %w", coded), messages.Errorf(code, "not known: %w", coded)} {
			e.fail = fail
			_, start := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"}))
			_, bulk := c.StartRuns(t.Context(), connect.NewRequest(&api.StartRunsRequest{Runs: []*api.StartRunRequest{{Workflow: "free"}}}))
			_, list := c.ListRuns(t.Context(), connect.NewRequest(&api.ListRunsRequest{}))
			_, event := c.PushEvent(t.Context(), connect.NewRequest(&api.PushEventRequest{Key: "k"}))
			for what, err := range map[string]error{"start": start, "bulk": bulk, "list": list, "event": event} {
				if err != nil && (codeOf(err) != code || strings.Contains(err.Error(), "journal.db") || strings.Contains(err.Error(), "db.internal")) {
					t.Errorf("%s: %v, want %s and nothing of the inside", what, err, code)
				}
			}
			if start == nil {
				t.Errorf("%s: nothing failed", code)
			}
		}
		if code != messages.CodeJournalUnavailable && !strings.Contains(log.String(), inside) {
			t.Errorf("%s: the log lacks it: %s", code, log.String())
		}
		log.Reset()
	}
}

func TestEngineErrorsKeepTheirCodes(t *testing.T) {
	e := newFakeBackend(free)
	var log strings.Builder
	c := client(t, serve(t, e, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	e.fail = messages.Errorf(messages.CodeJournalUnavailable, "disk full")
	if _, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"})); codeOf(err) != messages.CodeJournalUnavailable {
		t.Error(err)
	}
	if log.Len() > 0 {
		t.Errorf("logged an expected error: %s", log.String())
	}
	e.fail = errors.New("not of the catalogue")
	if _, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"})); codeOf(err) != messages.CodeInternal {
		t.Error(err)
	}
	e.panics = true
	if _, err := c.GetRun(t.Context(), connect.NewRequest(&api.GetRunRequest{RunId: "r"})); codeOf(err) != messages.CodeInternal {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "the engine broke") || !strings.Contains(log.String(), "not of the catalogue") {
		t.Errorf("log: %s", log.String())
	}
}

// post is what curl does.
func post(t *testing.T, s *Server, procedure, body string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+s.Address()+"/limpet.api.v1.LimpetService/"+procedure, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
		if k == "Host" {
			req.Host = v
		}
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestPlainJSON(t *testing.T) {
	e := newFakeBackend(ask, free)
	s := serve(t, e, Config{})
	input := base64.StdEncoding.EncodeToString([]byte(`{"dir":"x"}`))
	status, body := post(t, s, "StartRun", `{"workflow":"ask","input":"`+input+`"}`, nil)
	if status != 200 || !strings.Contains(body, `"runId":"`) {
		t.Errorf("%d %s", status, body)
	}
	for _, tc := range []struct{ procedure, body string }{
		{"StartRun", `{"workflow":"ask", "input": {"dir":"x"}, "idempotencyKey":"a"}`},
		{"StartRuns", `{"runs":[{"workflow":"ask","input":"` + input + `"},{"workflow":"ask","input":{"dir":"x"}}]}`},
		{"PushEvent", `{"key":"corpus:new","payload":{"dir":"x"}}`},
		{"PushEvent", `{"key":"corpus:new","payload":"` + input + `"}`},
	} {
		before := len(e.order)
		status, body = post(t, s, tc.procedure, tc.body, map[string]string{"Content-Type": "application/json; charset=utf-8"})
		if status != 200 || len(e.order) == before || string(e.runs[e.order[len(e.order)-1]].GetInput()) != `{"dir":"x"}` {
			t.Errorf("%s %s: %d %s", tc.procedure, tc.body, status, body)
		}
	}
	for body, want := range map[string]string{`7`: "7", `[1, 2]`: "[1,2]", `null`: "null", `false`: "false"} {
		if status, text := post(t, s, "StartRun", `{"workflow":"free","input":`+body+`}`, nil); status != 200 || string(e.runs[e.order[len(e.order)-1]].GetInput()) != want {
			t.Errorf("input %s: %d %s", body, status, text)
		}
	}
	if status, body = post(t, s, "StartRun", `{"workflow":"free","input":"not base64!"}`, nil); status != 400 {
		t.Errorf("a string that is not base64: %d %s", status, body)
	}
	status, body = post(t, s, "StartRun", `{"workflow":"nope"}`, nil)
	if status != 404 || !strings.Contains(body, `"code":"not_found"`) || !strings.Contains(body, "UNKNOWN_WORKFLOW") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ = post(t, s, "StartRun", `{"workflow":`, nil); status != 400 {
		t.Errorf("broken JSON: %d", status)
	}
}

func TestWhoMayCall(t *testing.T) {
	e := newFakeBackend(free)
	open := serve(t, e, Config{})
	secret := serve(t, e, Config{Secret: "s3cret"})
	body := `{"workflow":"free"}`
	for _, tc := range []struct {
		name   string
		s      *Server
		header map[string]string
		status int
	}{
		{"loopback", open, nil, 200},
		{"localhost", open, map[string]string{"Host": "localhost:7080"}, 200},
		{"a page that points its name here", open, map[string]string{"Host": "evil.example:7080"}, 401},
		{"a page of another origin", open, map[string]string{"Origin": "https://evil.example"}, 401},
		{"a page of another site", open, map[string]string{"Sec-Fetch-Site": "cross-site"}, 401},
		{"no secret", secret, nil, 401},
		{"wrong secret", secret, map[string]string{"Authorization": "Bearer s3cre"}, 401},
		{"secret", secret, map[string]string{"Authorization": "Bearer s3cret"}, 200},
	} {
		before := len(e.runs)
		status, text := post(t, tc.s, "StartRun", body, tc.header)
		if status != tc.status || (status == 401) != strings.Contains(text, "unauthenticated") {
			t.Errorf("%s: %d %s", tc.name, status, text)
		}
		if tc.status != 200 && len(e.runs) != before {
			t.Errorf("%s: a run was stored", tc.name)
		}
	}
	if _, err := client(t, secret, connect.WithGRPC()).ListWorkers(t.Context(), connect.NewRequest(&api.ListWorkersRequest{})); codeOf(err) != messages.CodeUnauthenticated {
		t.Errorf("gRPC without the secret: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for listen, want := range map[string]messages.Code{
		taken.Addr().String(): messages.CodeAddressInUse,
		"0.0.0.0:0":           messages.CodeSecretRequired,
		":0":                  messages.CodeSecretRequired,
		"nonsense":            messages.CodeInvalidArgument,
		"127.0.0.1:99999":     messages.CodeInvalidArgument,
	} {
		for _, secret := range []string{"", "fifteen bytes.."} {
			if _, err := Start(t.Context(), newFakeBackend(), Config{Listen: listen, Secret: secret}); messages.CodeOf(err) != want {
				t.Errorf("%s: %v, want %s", listen, err, want)
			}
		}
	}
}

// TestServerThatDies: what a client sees of a stream that breaks off is
// UNAVAILABLE, so that it asks again.
func TestServerThatDies(t *testing.T) {
	for name, options := range map[string][]connect.ClientOption{"connect": nil, "grpc": {connect.WithGRPC()}} {
		e := newFakeBackend(free)
		s, err := Start(t.Context(), e, Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		c := client(t, s, options...)
		started, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"}))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := c.WatchRun(t.Context(), connect.NewRequest(&api.WatchRunRequest{RunId: started.Msg.GetRunId()}))
		if err != nil {
			t.Fatal(err)
		}
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		_ = s.http.Close() // as a SIGKILL does
		if stream.Receive() || codeOf(stream.Err()) != messages.CodeUnavailable {
			t.Errorf("%s: the broken stream: %v", name, stream.Err())
		}
		_ = stream.Close()
		if _, err := c.GetRun(t.Context(), connect.NewRequest(&api.GetRunRequest{RunId: "x"})); codeOf(err) != messages.CodeUnavailable {
			t.Errorf("%s: a call to nobody: %v", name, err)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
