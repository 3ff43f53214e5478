package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func TestVersions(t *testing.T) {
	e := newFakeBackend(ask, free)
	c := client(t, serve(t, e, Config{}))
	ctx := t.Context()
	list, err1 := c.ListWorkflowVersions(ctx, connect.NewRequest(&api.ListWorkflowVersionsRequest{Workflow: "ask"}))
	used, err2 := c.UseWorkflowVersion(ctx, connect.NewRequest(&api.UseWorkflowVersionRequest{Workflow: "ask", Hash: "0a"}))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if len(list.Msg.GetVersions()) != 1 || fmt.Sprint(e.commands) != "[use ask 0a]" || used.Msg.GetWorkflow().GetChosenAt().GetSeconds() != 1_700_000_000 {
		t.Errorf("versions %v, commands %v, used %v", list.Msg, e.commands, used.Msg)
	}
	_, noName := c.ListWorkflowVersions(ctx, connect.NewRequest(&api.ListWorkflowVersionsRequest{}))
	_, noHash := c.UseWorkflowVersion(ctx, connect.NewRequest(&api.UseWorkflowVersionRequest{Workflow: "ask"}))
	_, badHash := c.UseWorkflowVersion(ctx, connect.NewRequest(&api.UseWorkflowVersionRequest{Workflow: "ask", Hash: "a b"}))
	for what, err := range map[string]error{"no name": noName, "no hash": noHash, "a hash with a space": badHash} {
		if codeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.ListWorkflowVersions(ctx, connect.NewRequest(&api.ListWorkflowVersionsRequest{Workflow: "none"})); codeOf(err) != messages.CodeUnknownWorkflow {
		t.Errorf("an unknown workflow: %v", err)
	}
}

// A retired workflow starts no new runs, by whatever door; who asks again for a run
// that was acknowledged gets it.
func TestRetiredWorkflow(t *testing.T) {
	e := newFakeBackend(free, ask)
	c := client(t, serve(t, e, Config{}))
	push, ctx := pusher(t, c), t.Context()
	start := func(key string) (*api.StartRunResponse, error) {
		r, err := c.StartRun(ctx, connect.NewRequest(&api.StartRunRequest{Workflow: "free", IdempotencyKey: key}))
		if err != nil {
			return nil, err
		}
		return r.Msg, nil
	}
	retire := func() *api.Workflow {
		r, err := c.RetireWorkflow(ctx, connect.NewRequest(&api.RetireWorkflowRequest{Workflow: "free"}))
		if err != nil {
			t.Fatal(err)
		}
		return r.Msg.GetWorkflow()
	}
	run, err1 := start("before")
	event, err2 := push("user:create", `1`, "")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if w := retire(); w.GetRetiredAt().GetSeconds() != 1_700_000_000 || w.GetWorkers() != 1 {
		t.Errorf("retired: %v", w)
	}
	retire()
	runs := len(e.runs)

	for _, key := range []string{"", "after"} {
		if _, err := start(key); codeOf(err) != messages.CodeWorkflowRetired || !strings.Contains(err.Error(), "limpet workflow restore free") {
			t.Errorf("start with key %q: %v", key, err)
		}
	}
	_, err := c.StartRuns(ctx, connect.NewRequest(&api.StartRunsRequest{Runs: []*api.StartRunRequest{{Workflow: "ask", Input: []byte(`{"dir":"x"}`)}, {Workflow: "free"}}}))
	if codeOf(err) != messages.CodeWorkflowRetired || !strings.Contains(err.Error(), "runs[1]") {
		t.Errorf("bulk start: %v", err)
	}
	pushed, err := push("user:create", `{"dir":"x"}`, "")
	if err != nil || len(pushed.GetRuns()) != 1 || pushed.GetRuns()[0].GetWorkflow() != "ask" || len(pushed.GetRefused()) != 1 ||
		pushed.GetRefused()[0].GetFailure().GetCode() != string(messages.CodeWorkflowRetired) {
		t.Errorf("pushed %v: %v", pushed, err)
	}
	if len(e.runs) != runs+1 {
		t.Errorf("%d runs were started, want the one of ask", len(e.runs)-runs)
	}

	if again, err := start("before"); err != nil || !again.GetExisted() || again.GetRunId() != run.GetRunId() {
		t.Errorf("the start of before again: %v, %v", again, err)
	}
	if again, err := push("user:create", `1`, event.GetEventId()); err != nil || len(again.GetRuns()) != 1 || !again.GetRuns()[0].GetExisted() {
		t.Errorf("the event of before again: %v, %v", again, err)
	}

	if _, err := c.RestoreWorkflow(ctx, connect.NewRequest(&api.RestoreWorkflowRequest{Workflow: "free"})); err != nil {
		t.Fatal(err)
	}
	if _, err := start("after"); err != nil {
		t.Errorf("restored: %v", err)
	}
	_, noName := c.RetireWorkflow(ctx, connect.NewRequest(&api.RetireWorkflowRequest{}))
	_, unknown := c.RetireWorkflow(ctx, connect.NewRequest(&api.RetireWorkflowRequest{Workflow: "none"}))
	_, toRestore := c.RestoreWorkflow(ctx, connect.NewRequest(&api.RestoreWorkflowRequest{Workflow: "none"}))
	if codeOf(noName) != messages.CodeInvalidArgument || codeOf(unknown) != messages.CodeUnknownWorkflow || codeOf(toRestore) != messages.CodeUnknownWorkflow {
		t.Errorf("no name: %v; unknown: %v, %v", noName, unknown, toRestore)
	}
}

// What no worker has served for long is left out of events, and of nothing else; an
// event that is pushed again gets the run of before.
func TestUnservedWorkflow(t *testing.T) {
	e := newFakeBackend(free)
	c := client(t, serve(t, e, Config{}))
	push, ctx := pusher(t, c), t.Context()
	first, err := push("user:create", `1`, "")
	if err != nil {
		t.Fatal(err)
	}
	w := &e.workflows[0]
	w.Workers, w.UnservedSince = 0, time.Unix(1_700_000_000, 0)
	if pushed, err := push("user:create", `1`, ""); err != nil || len(pushed.GetRuns()) != 1 || len(pushed.GetRefused()) != 0 {
		t.Errorf("unserved for a moment: %v, %v", pushed, err)
	}
	w.LeftOutSince, w.LeftOutAfter = time.Unix(1_700_000_060, 0), time.Minute
	pushed, err := push("user:create", `1`, "")
	if err != nil || len(pushed.GetRuns()) != 0 || len(pushed.GetRefused()) != 1 {
		t.Fatalf("unserved for long: %v, %v", pushed, err)
	}
	if f := pushed.GetRefused()[0].GetFailure(); f.GetCode() != string(messages.CodeWorkflowUnserved) || !strings.Contains(f.GetMessage(), "for 1m0s (--unserved-after)") {
		t.Errorf("refused: %v", f)
	}
	if again, err := push("user:create", `1`, first.GetEventId()); err != nil || len(again.GetRuns()) != 1 || !again.GetRuns()[0].GetExisted() {
		t.Errorf("the event of before again: %v, %v", again, err)
	}
	if _, err := c.StartRun(ctx, connect.NewRequest(&api.StartRunRequest{Workflow: "free"})); err != nil {
		t.Errorf("a start: %v", err)
	}
	list, err := c.ListWorkflows(ctx, connect.NewRequest(&api.ListWorkflowsRequest{}))
	if err != nil || list.Msg.GetWorkflows()[0].GetUnservedSince().GetSeconds() != 1_700_000_000 || list.Msg.GetWorkflows()[0].GetLeftOutSince().GetSeconds() != 1_700_000_060 {
		t.Errorf("listed: %v, %v", list.Msg, err)
	}
}
