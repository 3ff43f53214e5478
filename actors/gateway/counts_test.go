package gateway

import (
	"testing"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Runs are counted by status, no further than to a page of each; those that have ended
// are bound to no worker.
func TestCountRuns(t *testing.T) {
	fake := newFakeBackend()
	c := client(t, serve(t, fake, Config{}))
	count := func(r *api.CountRunsRequest) map[messages.RunStatus]*api.StatusCount {
		t.Helper()
		resp, err := c.CountRuns(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		counts := map[messages.RunStatus]*api.StatusCount{}
		for _, s := range resp.Msg.GetCounts() {
			counts[s.GetStatus()] = s
		}
		return counts
	}
	running, failed := messages.RunStatus_RUN_STATUS_RUNNING, messages.RunStatus_RUN_STATUS_FAILED
	got := count(&api.CountRunsRequest{Workflow: "ask", Metadata: map[string]string{"a": "b"}})
	if len(got) != 2 || got[running].GetRuns() != messages.PageSizeMax || !got[running].GetMore() || got[failed].GetRuns() != 1 || got[failed].GetMore() {
		t.Errorf("counted %v", got)
	}
	if fake.limit != messages.PageSizeMax || fake.filter.Workflow != "ask" || fake.filter.Metadata["a"] != "b" {
		t.Errorf("by %+v, up to %d", fake.filter, fake.limit)
	}
	if got := count(&api.CountRunsRequest{WorkerId: "w1"}); len(got) != 1 || got[running] == nil {
		t.Errorf("of a worker: %v", got)
	}
	if _, err := c.CountRuns(t.Context(), connect.NewRequest(&api.CountRunsRequest{Workflow: "a b"})); codeOf(err) != messages.CodeInvalidArgument {
		t.Errorf("of what is no name: %v", err)
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
