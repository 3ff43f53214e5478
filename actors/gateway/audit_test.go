package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// brokenAudit is a store whose audit log cannot be written while it is broken.
type brokenAudit struct {
	*journal.Memory
	broken atomic.Bool
}

func (b *brokenAudit) WriteAudit(ctx context.Context, c journal.AuditChunk) error {
	if b.broken.Load() {
		return errors.New("no room")
	}
	return b.Memory.WriteAudit(ctx, c)
}

// auditOf is what the audit log says, the newest first.
func auditOf(t *testing.T, s *Server, r *api.ListAuditRequest) (all []string) {
	t.Helper()
	page, err := client(t, s, withToken(clusterSecret)).ListAudit(t.Context(), connect.NewRequest(r))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Msg.GetEntries() {
		all = append(all, strings.Join(strings.Fields(fmt.Sprint(e.GetName(), " ", e.GetWho(), " ", e.GetFrom(), " ", e.GetAction(), " ", e.GetTarget(), " ", e.GetCount(), "/", e.GetTargets(), " ", e.GetCode(), " ", e.GetServer())), " "))
	}
	return all
}

// TestCommandsAndRefusalsAreNoted, with who it was, and nothing that is only looked at;
// neither a token nor a payload is in it. Without room for it commands go on, and it is
// written when there is room.
func TestCommandsAndRefusalsAreNoted(t *testing.T) {
	store := &brokenAudit{Memory: journal.NewMemory()}
	s := serve(t, newFakeBackend(&messages.WorkflowDefinition{Name: "ask"}), Config{ID: "server/a", Secret: clusterSecret, Access: store, auditApart: time.Hour})
	reader := putToken(t, store, "reader", &messages.TokenRecord{Role: messages.Role_ROLE_READ})
	runner := putToken(t, store, "runner", &messages.TokenRecord{Role: messages.Role_ROLE_RUN})
	idOf := func(token string) string { return access.TokenID(access.Hash(token)) }
	ctx, start := t.Context(), &api.StartRunRequest{Workflow: "ask", Input: []byte(`"canary-of-a-payload"`)}
	store.broken.Store(true)
	if _, err := client(t, s, withToken(runner)).StartRun(ctx, connect.NewRequest(start)); err != nil {
		t.Fatalf("without room for the record: %v", err)
	}
	if err := s.gateway.audit.flush(ctx); err == nil {
		t.Fatal("the record is written, without room for it")
	}
	store.broken.Store(false)
	if _, err := client(t, s, withToken(runner)).StartRuns(ctx, connect.NewRequest(&api.StartRunsRequest{Runs: []*api.StartRunRequest{start, start}})); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, s, withToken(runner)).ListRuns(ctx, connect.NewRequest(&api.ListRunsRequest{})); err != nil {
		t.Fatal(err)
	}
	for token, code := range map[string]messages.Code{reader: messages.CodePermissionDenied, "lpt_canary": messages.CodeUnauthenticated} {
		for range 3 {
			if _, err := client(t, s, withToken(token)).CancelRun(ctx, connect.NewRequest(&api.CancelRunRequest{RunId: "r"})); codeOf(err) != code {
				t.Errorf("%.8s: %v, want %s", token, err, code)
			}
		}
	}
	got := strings.Join(auditOf(t, s, &api.ListAuditRequest{}), "\n")
	for _, want := range []string{
		"runner " + idOf(runner) + " 127.0.0.1 StartRun ask 1/1 server/a",
		"runner " + idOf(runner) + " 127.0.0.1 StartRuns ask 1/2 server/a",
		"reader " + idOf(reader) + " 127.0.0.1 CancelRun r 3/3 PERMISSION_DENIED server/a",
		"anonymous 127.0.0.1 CancelRun 3/3 UNAUTHENTICATED server/a",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the audit log lacks %q:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != 4 {
		t.Errorf("it has %d entries, want 4:\n%s", n, got)
	}
	chunks, err := store.ReadAudit(ctx, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chunks {
		for _, canary := range []string{"canary", reader[4:], runner[4:], clusterSecret} {
			if strings.Contains(string(c.Data), canary) {
				t.Errorf("%.10q stands in the audit log", canary)
			}
		}
	}
	for what, c := range map[string]struct {
		asked *api.ListAuditRequest
		want  string
	}{
		"who":    {&api.ListAuditRequest{Who: access.Anonymous}, "UNAUTHENTICATED"},
		"action": {&api.ListAuditRequest{Action: "StartRun"}, "StartRun ask"},
		"target": {&api.ListAuditRequest{Target: "r"}, "PERMISSION_DENIED"},
	} {
		if got := auditOf(t, s, c.asked); len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("by %s: %q", what, got)
		}
	}
	if got := auditOf(t, s, &api.ListAuditRequest{Failed: true}); len(got) != 2 {
		t.Errorf("what failed: %q", got)
	}
}

// TestTheAuditLogHasPages that leave out nothing and have nothing twice; logins to the
// pages are in it.
func TestTheAuditLogHasPages(t *testing.T) {
	s := serve(t, newFakeBackend(), Config{Secret: clusterSecret, Access: journal.NewMemory(), auditApart: time.Hour})
	doors := auditedDoors{s.gateway.doors, s.gateway.audit}
	for _, presented := range []string{clusterSecret, "another"} {
		_, _ = doors.Enter(t.Context(), presented, "10.0.0.7") // that it is noted is what is asked
		if err := s.gateway.audit.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	r := &api.ListAuditRequest{PageSize: 1}
	for range 3 {
		page, err := client(t, s, withToken(clusterSecret)).ListAudit(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Msg.GetEntries() {
			got = append(got, e.GetWho()+" "+e.GetAction()+" "+e.GetCode())
		}
		if r.PageToken = page.Msg.GetNextPageToken(); r.PageToken == "" {
			break
		}
	}
	if want := []string{"anonymous POST /ui/login UNAUTHENTICATED", "secret POST /ui/login "}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the pages have %q, want %q", got, want)
	}
	if _, err := client(t, s, withToken(clusterSecret)).ListAudit(t.Context(), connect.NewRequest(&api.ListAuditRequest{PageToken: "-7"})); codeOf(err) != messages.CodeInvalidArgument {
		t.Errorf("a page token that is none: %v", err)
	}
}
