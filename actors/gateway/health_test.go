package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// lostJournal is a journal check that tests switch.
type lostJournal struct {
	lost, hangs atomic.Bool
	questions   atomic.Int32
}

func (j *lostJournal) check(ctx context.Context) error {
	j.questions.Add(1)
	if j.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if j.lost.Load() {
		return messages.Errorf(messages.CodeJournalUnavailable, "dial db.internal user=limpet: refused")
	}
	return nil
}

func get(t *testing.T, s *Server, path string) (status int, ready readiness, body string) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + s.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var raw json.RawMessage
	if err := errors.Join(json.NewDecoder(resp.Body).Decode(&raw), json.Unmarshal(raw, &ready)); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return resp.StatusCode, ready, string(raw)
}

// until asks /readyz until it says what is wanted: the answer of the journal
// holds for a moment.
func until(t *testing.T, s *Server, want bool) readiness {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		status, ready, body := get(t, s, "/readyz")
		if (status == 200) != ready.Ready {
			t.Fatalf("readyz %d: %s", status, body)
		}
		if ready.Ready == want {
			return ready
		}
		if time.Now().After(deadline) {
			t.Fatalf("readyz %d: %s", status, body)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var outside atomic.Bool
	var j lostJournal
	s := serve(t, newFakeBackend(), Config{Secret: "s", Journal: j.check, Member: func() error {
		if outside.Load() {
			return messages.Errorf(messages.CodeUnavailable, "the server is joining")
		}
		return nil
	}})
	if status, _, body := get(t, s, "/healthz"); status != 200 || body != `{"alive":true}` {
		t.Errorf("healthz %d: %s", status, body)
	}
	began := time.Now()
	for range 10 {
		if status, ready, body := get(t, s, "/readyz"); status != 200 || len(ready.Checks) != 3 {
			t.Errorf("readyz %d: %s", status, body)
		}
	}
	if n := j.questions.Load(); n > 3+int32(time.Since(began)/probeEvery) {
		t.Errorf("10 calls asked the journal %d times", n)
	}
	outside.Store(true)
	if r := until(t, s, false); r.Checks["member"].Reason != "the server is joining" || !r.Checks["journal"].OK || !r.Checks["serving"].OK {
		t.Errorf("outside the cluster: %+v", r)
	}
	outside.Store(false)
	until(t, s, true)
	j.lost.Store(true)
	if r := until(t, s, false); r.Checks["journal"].Code != messages.CodeJournalUnavailable || strings.Contains(r.Checks["journal"].Reason, "db.internal") {
		t.Errorf("without the journal: %+v", r)
	}
	j.lost.Store(false)
	until(t, s, true)
	j.hangs.Store(true)
	if r := until(t, s, false); r.Checks["journal"].Code != messages.CodeJournalUnavailable {
		t.Errorf("with a journal that hangs: %+v", r)
	}
	j.hangs.Store(false)
	until(t, s, true)
	s.NotReady("the server is handing over its runs")
	s.NotReady("another reason")
	if r := until(t, s, false); r.Checks["serving"].Reason != "the server is handing over its runs" || !r.Checks["member"].OK {
		t.Errorf("before the stop: %+v", r)
	}
	if status, _, _ := get(t, s, "/healthz"); status != 200 {
		t.Errorf("healthz %d of a server that is not ready", status)
	}
}

// stuckBackend answers starts and loads when it is released.
type stuckBackend struct {
	*fakeBackend
	stuck atomic.Bool
}

func (e *stuckBackend) StartRuns(ctx context.Context, runs []*messages.StartRun) ([]*messages.StartRunReply, error) {
	if e.stuck.Load() {
		<-ctx.Done()
		return nil, messages.Errorf(messages.CodeDeadline, "start %d runs: %w", len(runs), ctx.Err())
	}
	return e.fakeBackend.StartRuns(ctx, runs)
}

func (e *stuckBackend) CancelRun(ctx context.Context, _ *messages.CancelRun) error {
	if e.stuck.Load() {
		<-ctx.Done()
	}
	return messages.Errorf(messages.CodeUnavailable, "nobody answered")
}

func TestCallsWithoutAJournal(t *testing.T) {
	t.Parallel()
	e := &stuckBackend{fakeBackend: newFakeBackend(free)}
	var j lostJournal
	s := serve(t, e, Config{Journal: j.check})
	c := client(t, s)
	start := func() error {
		_, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free"}))
		return err
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	e.stuck.Store(true)
	j.lost.Store(true)
	began := time.Now()
	err := start()
	var wire *connect.Error
	if codeOf(err) != messages.CodeJournalUnavailable || !errors.As(err, &wire) || wire.Meta().Get("Retry-After") != "1" || api.RetryAfter(err) != time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if _, err := c.CancelRun(t.Context(), connect.NewRequest(&api.CancelRunRequest{RunId: "r"})); codeOf(err) != messages.CodeJournalUnavailable {
		t.Errorf("cancel: %v", err)
	}
	// By now that is known: calls are refused at once.
	began = time.Now()
	if err := start(); codeOf(err) != messages.CodeJournalUnavailable || time.Since(began) > journalPatience/2 {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if status, body := post(t, s, "StartRun", `{"workflow":"free"}`, nil); status != 503 || !strings.Contains(body, `"JOURNAL_UNAVAILABLE"`) {
		t.Errorf("plain HTTP: %d %s", status, body)
	}
	if _, err := c.ListMembers(t.Context(), connect.NewRequest(&api.ListMembersRequest{})); err != nil {
		t.Errorf("the members: %v", err)
	}
	e.stuck.Store(false)
	j.lost.Store(false)
	until(t, s, true)
	if err := start(); err != nil {
		t.Errorf("with the journal back: %v", err)
	}
}

// A call that takes long while the journal is there is left alone.
func TestSlowCallWithAJournal(t *testing.T) {
	t.Parallel()
	e := &stuckBackend{fakeBackend: newFakeBackend(free)}
	e.stuck.Store(true)
	var j lostJournal
	s := serve(t, e, Config{Journal: j.check})
	ctx, cancel := context.WithTimeout(t.Context(), journalPatience+5*probeEvery)
	defer cancel()
	_, err := client(t, s).StartRun(ctx, connect.NewRequest(&api.StartRunRequest{Workflow: "free"}))
	if codeOf(err) != messages.CodeDeadline || j.questions.Load() < 2 {
		t.Errorf("%d questions, %v", j.questions.Load(), err)
	}
}

func TestRunIDOfTheCaller(t *testing.T) {
	t.Parallel()
	e := newFakeBackend(free)
	c := client(t, serve(t, e, Config{}))
	id := messages.NewRunID()
	for i, want := range []bool{false, true} {
		res, err := c.StartRun(t.Context(), connect.NewRequest(&api.StartRunRequest{Workflow: "free", RunId: id}))
		if err != nil || res.Msg.GetRunId() != id || res.Msg.GetExisted() != want {
			t.Errorf("start %d: %v, %v", i, res, err)
		}
	}
	for _, bad := range []*api.StartRunRequest{
		{Workflow: "free", RunId: "mine"},
		{Workflow: "free", RunId: strings.ToUpper(id)},
		{Workflow: "free", RunId: messages.RunIDForKey("free", "k")},
		{Workflow: "free", RunId: id, IdempotencyKey: "k"},
	} {
		if _, err := c.StartRun(t.Context(), connect.NewRequest(bad)); codeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
	two := &api.StartRunsRequest{Runs: []*api.StartRunRequest{{Workflow: "free", RunId: id, Input: []byte("1")}, {Workflow: "free", RunId: id, Input: []byte("2")}}}
	if _, err := c.StartRuns(t.Context(), connect.NewRequest(two)); codeOf(err) != messages.CodeIdempotencyMismatch || !strings.Contains(err.Error(), id) {
		t.Error(err)
	}
}
