package gateway

import (
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Runs are counted by status, of all workflows or of each, no further than to a limit.
func TestCountRuns(t *testing.T) {
	fake := newFakeBackend()
	c := client(t, serve(t, fake, Config{}))
	count := func(r *api.CountRunsRequest) (text string) {
		t.Helper()
		resp, err := c.CountRuns(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range resp.Msg.GetCounts() {
			text += fmt.Sprint(s.GetWorkflow(), " ", s.GetStatus(), " ", s.GetRuns(), " ", s.GetMore(), "\n")
		}
		return text
	}
	want := " RUN_STATUS_RUNNING 10000 true\n RUN_STATUS_FAILED 2 false\n"
	if got := count(&api.CountRunsRequest{Workflow: "ask", WorkerId: "w1", Metadata: map[string]string{"a": "b"}}); got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
	if fake.limit != messages.RunsCountedMax || fake.filter.Workflow != "ask" || fake.filter.BoundWorker != "w1" || fake.filter.Metadata["a"] != "b" {
		t.Errorf("by %+v, up to %d", fake.filter, fake.limit)
	}
	want = "ask RUN_STATUS_RUNNING 10000 true\nask RUN_STATUS_FAILED 1 false\ntell RUN_STATUS_RUNNING 7 false\ntell RUN_STATUS_FAILED 1 false\n"
	if got := count(&api.CountRunsRequest{ByWorkflow: true}); got != want {
		t.Errorf("by workflow %s, want %s", got, want)
	}
	if _, err := c.CountRuns(t.Context(), connect.NewRequest(&api.CountRunsRequest{Workflow: "a b"})); codeOf(err) != messages.CodeInvalidArgument {
		t.Errorf("of what is no name: %v", err)
	}
}

// The attempts of a worker are asked for by a time and in pages.
func TestListAttemptsOfAWorker(t *testing.T) {
	c := client(t, serve(t, newFakeBackend(), Config{}))
	from, to := time.UnixMicro(5_000_000), time.UnixMicro(9_000_000)
	resp, err := c.ListAttempts(t.Context(), connect.NewRequest(&api.ListAttemptsRequest{WorkerId: "w1", From: api.Moment(from), To: api.Moment(to), PageSize: 7, PageToken: "p"}))
	if err != nil {
		t.Fatal(err)
	}
	a := resp.Msg.GetAttempts()[0]
	if a.GetWorkerId() != "w1" || !a.GetSentAt().AsTime().Equal(from) || !a.GetEndedAt().AsTime().Equal(to) || a.GetNumber() != 7 || a.GetRunId() != "p" || resp.Msg.GetNextPageToken() != "next" {
		t.Errorf("asked for %v", resp.Msg)
	}
	for _, wrong := range []*api.ListAttemptsRequest{
		{}, {RunId: "r", WorkerId: "w"}, {RunId: "r", PageSize: 1}, {RunId: "r", From: api.Moment(from)}, {WorkerId: "a b"}, {WorkerId: "w", PageSize: 1001},
		{WorkerId: "w", From: api.Moment(to), To: api.Moment(from)}, {WorkerId: "w", From: &timestamppb.Timestamp{Nanos: -1}},
	} {
		if _, err := c.ListAttempts(t.Context(), connect.NewRequest(wrong)); codeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}

// The attempts of a run are those of the backend, and one that is not there has none.
func TestListAttempts(t *testing.T) {
	fake := newFakeBackend(ask)
	c := client(t, serve(t, fake, Config{}))
	started, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "ask", Input: []byte(`{"dir":"x"}`)}))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.ListAttempts(t.Context(), connect.NewRequest(&api.ListAttemptsRequest{RunId: started.Msg.GetRunId()}))
	if err != nil || len(resp.Msg.GetAttempts()) != 1 {
		t.Errorf("%v %v", resp, err)
	}
	for id, want := range map[string]messages.Code{"": messages.CodeInvalidArgument, "none": messages.CodeUnknownRun} {
		if _, err := c.ListAttempts(t.Context(), connect.NewRequest(&api.ListAttemptsRequest{RunId: id})); codeOf(err) != want {
			t.Errorf("of %q: %v", id, err)
		}
	}
}

// What happens in the cluster is streamed by topics and from a position.
func TestWatch(t *testing.T) {
	c := client(t, serve(t, newFakeBackend(), Config{}))
	stream, err := c.Watch(t.Context(), connect.NewRequest(&api.WatchRequest{Topics: []string{"workers", "runs"}, Position: "p"}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for stream.Receive() {
		if m := stream.Msg(); m.GetTopic() != "" {
			got = append(got, m.GetPosition()+" "+m.GetTopic()+" "+m.GetText())
		}
	}
	if err := stream.Err(); err != nil || len(got) != 1 || got[0] != "p+ workers [workers runs]" {
		t.Errorf("streamed %q, %v", got, err)
	}
	for _, wrong := range []*api.WatchRequest{{Topics: []string{"all"}}, {Topics: []string{"runs", ""}}} {
		stream, err := c.Watch(t.Context(), connect.NewRequest(wrong))
		if err == nil {
			for stream.Receive() {
			}
			err = stream.Err()
		}
		if codeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%.50v: %v", wrong, err)
		}
	}
}
