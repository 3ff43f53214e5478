package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

const clusterSecret = "a secret of the cluster"

var roles = []messages.Role{messages.Role_ROLE_READ, messages.Role_ROLE_RUN, messages.Role_ROLE_OPERATE, messages.Role_ROLE_ADMIN}

// putToken records a token whose text is made of its name.
func putToken(t *testing.T, store journal.AccessStore, name string, record *messages.TokenRecord) string {
	t.Helper()
	token := access.NewToken(sha256.Sum256([]byte(name)))
	hash := access.Hash(token)
	record.Id, record.Name, record.Hash = access.TokenID(hash), name, hash[:]
	data, err := proto.Marshal(record)
	if err == nil {
		err = store.PutToken(t.Context(), journal.Token{ID: record.GetId(), Data: data})
	}
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// withToken is a client's option.
func withToken(token string) connect.ClientOption {
	return connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, req)
		}
	}))
}

func procedures() protoreflect.MethodDescriptors {
	return api.File_api_api_proto.Services().ByName("LimpetService").Methods()
}

// callEmpty calls a procedure with a request for nothing and returns the error.
func callEmpty(t *testing.T, s *Server, method protoreflect.MethodDescriptor, token string) error {
	t.Helper()
	c := connect.NewClient[wrapperspb.StringValue, emptypb.Empty](http.DefaultClient, "http://"+s.Address()+"/"+apiconnect.LimpetServiceName+"/"+string(method.Name()))
	request := &wrapperspb.StringValue{}
	if method.IsStreamingServer() {
		request.Value = "none" // a stream of nothing that is there ends
	}
	req := connect.NewRequest(request)
	if token != "" {
		req.Header().Set("Authorization", "Bearer "+token)
	}
	if !method.IsStreamingServer() {
		_, err := c.CallUnary(t.Context(), req)
		return api.FromConnect(err)
	}
	stream, err := c.CallServerStream(t.Context(), req)
	if err != nil {
		return api.FromConnect(err)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
	}
	return api.FromConnect(stream.Err())
}

// Every procedure is in the table, and each role may call what the table says and nothing
// else; who shows nothing may call none.
func TestEveryProcedureByEveryRole(t *testing.T) {
	store := journal.NewMemory()
	s := serve(t, newFakeBackend(), Config{Secret: clusterSecret, Access: store})
	tokens := map[messages.Role]string{}
	for _, role := range roles {
		tokens[role] = putToken(t, store, role.String(), &messages.TokenRecord{Role: role})
	}
	all := procedures()
	if all.Len() != len(access.Procedures) {
		t.Errorf("%d procedures, %d in the table", all.Len(), len(access.Procedures))
	}
	for i := range all.Len() {
		method := all.Get(i)
		wanted, ok := access.Procedures[string(method.Name())]
		if !ok || wanted.Public || wanted.Least == messages.Role_ROLE_UNSPECIFIED {
			t.Errorf("%s: %+v in the table", method.Name(), wanted)
		}
		shown := map[string]string{"nothing": "", "another secret": "x"}
		if i == 0 {
			shown["a token that nobody made"] = access.NewToken([32]byte{1})
		}
		for what, token := range shown {
			if err := callEmpty(t, s, method, token); messages.CodeOf(err) != messages.CodeUnauthenticated {
				t.Errorf("%s with %s: %v", method.Name(), what, err)
			}
		}
		for _, role := range roles {
			code := messages.CodeOf(callEmpty(t, s, method, tokens[role]))
			if refused := code == messages.CodePermissionDenied; refused != (role < wanted.Least) || code == messages.CodeUnauthenticated {
				t.Errorf("%s by %s: %q, its least is %s", method.Name(), role, code, wanted.Least)
			}
		}
	}
}

// What is in no table is refused, whoever asks.
func TestWhatIsInNoTableIsRefused(t *testing.T) {
	if access.Everything.MayCall("GetSecrets") || access.Everything.May(access.Routes["GET /nowhere"]) {
		t.Error("allowed")
	}
}

// Metrics are for who may read everything. A token in the URL is no token.
func TestMetricsByRoleAndTokensInURLs(t *testing.T) {
	store := journal.NewMemory()
	s := serve(t, newFakeBackend(), Config{Secret: clusterSecret, Access: store, Metrics: someMetrics})
	reader := putToken(t, store, "reader", &messages.TokenRecord{Role: messages.Role_ROLE_READ})
	limited := putToken(t, store, "limited", &messages.TokenRecord{Role: messages.Role_ROLE_OPERATE, WorkflowPrefix: "ask"})
	url := "http://" + s.Address() + "/metrics"
	for what, want := range map[string]int{"Bearer " + reader: 200, "Bearer " + limited: 403, "Bearer " + clusterSecret: 200, "": 401, reader[:20]: 401} {
		if status, _ := page(t, url, "Authorization", what); status != want {
			t.Errorf("metrics with %.20q: %d, want %d", what, status, want)
		}
	}
	for _, name := range []string{"token", "access_token", "secret", "authorization", "Authorization", "key"} {
		if status, _ := page(t, url+"?"+name+"="+reader); status != 401 {
			t.Errorf("%s in the URL: %d", name, status)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _ := page(t, "http://"+s.Address()+path); status != 200 || !access.Routes["GET "+path].Public {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// limitedServer has runs of ask, which a token sees, and of other/x, which it does not.
func limitedServer(t *testing.T, record *messages.TokenRecord) (*fakeBackend, apiconnect.LimpetServiceClient) {
	t.Helper()
	store := journal.NewMemory()
	backend := newFakeBackend(&messages.WorkflowDefinition{Name: "ask"}, &messages.WorkflowDefinition{Name: "other/x"}, &messages.WorkflowDefinition{Name: "ask2", Pool: "gpu"})
	s := serve(t, backend, Config{Secret: clusterSecret, Access: store})
	for id, workflow := range map[string]string{"r-ask": "ask", "r-other": "other/x", "r-pool": "ask2"} {
		backend.runs[id] = &messages.RunStarted{Workflow: workflow, Pool: map[string]string{"ask2": "gpu"}[workflow], Input: []byte(`"payload"`)}
	}
	return backend, client(t, s, withToken(putToken(t, store, "limited", record)))
}

// sameAs compares answers for what is beyond the limits and for what is not there.
func sameAs(t *testing.T, what string, beyond, missing error, beyondID, missingID string) {
	t.Helper()
	b, m := api.FromConnect(beyond), api.FromConnect(missing)
	if b == nil || m == nil || strings.ReplaceAll(b.Error(), beyondID, "X") != strings.ReplaceAll(m.Error(), missingID, "X") {
		t.Errorf("%s: beyond the limits %v, missing %v", what, b, m)
	}
}

// What is beyond the limits of a token is answered as what is not there, by every way that
// leads to it, and each target of a call is asked for by itself.
func TestBeyondTheLimits(t *testing.T) {
	backend, c := limitedServer(t, &messages.TokenRecord{Role: messages.Role_ROLE_OPERATE, WorkflowPrefix: "ask", Pool: "default"})
	ctx := t.Context()
	byRun := map[string]func(id string) error{
		"get": func(id string) error {
			_, err := c.GetRun(ctx, connect.NewRequest(&api.GetRunRequest{RunId: id}))
			return err
		},
		"wait": func(id string) error {
			_, err := c.WaitRun(ctx, connect.NewRequest(&api.WaitRunRequest{RunId: id}))
			return err
		},
		"attempts": func(id string) error {
			_, err := c.ListAttempts(ctx, connect.NewRequest(&api.ListAttemptsRequest{RunId: id}))
			return err
		},
		"cancel": func(id string) error {
			_, err := c.CancelRun(ctx, connect.NewRequest(&api.CancelRunRequest{RunId: id}))
			return err
		},
		"replay": func(id string) error {
			_, err := c.ReplayRun(ctx, connect.NewRequest(&api.ReplayRunRequest{RunId: id}))
			return err
		},
		"signal": func(id string) error {
			_, err := c.SignalRun(ctx, connect.NewRequest(&api.SignalRunRequest{RunId: id, Name: "s"}))
			return err
		},
		"ask": func(id string) error {
			_, err := c.AskRun(ctx, connect.NewRequest(&api.AskRunRequest{RunId: id, Query: "q"}))
			return err
		},
	}
	for what, call := range byRun {
		sameAs(t, what, call("r-other"), call("r-none"), "r-other", "r-none")
		sameAs(t, what+", of another pool", call("r-pool"), call("r-none"), "r-pool", "r-none")
	}
	byWorkflow := map[string]func(name string) error{
		"start": func(name string) error {
			_, err := c.StartRun(ctx, connect.NewRequest(&api.StartRunRequest{Workflow: name}))
			return err
		},
		"signal": func(name string) error {
			_, err := c.StartRun(ctx, connect.NewRequest(&api.StartRunRequest{Workflow: name, IdempotencyKey: "k", SignalName: "s"}))
			return err
		},
		"starts": func(name string) error {
			_, err := c.StartRuns(ctx, connect.NewRequest(&api.StartRunsRequest{Runs: []*api.StartRunRequest{{Workflow: "ask"}, {Workflow: name}}}))
			return err
		},
		"versions": func(name string) error {
			_, err := c.ListWorkflowVersions(ctx, connect.NewRequest(&api.ListWorkflowVersionsRequest{Workflow: name}))
			return err
		},
		"use": func(name string) error {
			_, err := c.UseWorkflowVersion(ctx, connect.NewRequest(&api.UseWorkflowVersionRequest{Workflow: name, Hash: "h"}))
			return err
		},
		"retire": func(name string) error {
			_, err := c.RetireWorkflow(ctx, connect.NewRequest(&api.RetireWorkflowRequest{Workflow: name}))
			return err
		},
		"restore": func(name string) error {
			_, err := c.RestoreWorkflow(ctx, connect.NewRequest(&api.RestoreWorkflowRequest{Workflow: name}))
			return err
		},
	}
	for what, call := range byWorkflow {
		sameAs(t, what, call("other/x"), call("none"), "other/x", "none")
		sameAs(t, what+", of another pool", call("ask2"), call("none"), "ask2", "none")
	}
	if len(backend.runs) != 3 || len(backend.commands) != 0 {
		t.Errorf("done: %d runs, %v", len(backend.runs), backend.commands)
	}
	if _, err := c.PushEvent(ctx, connect.NewRequest(&api.PushEventRequest{Key: "k"})); messages.CodeOf(api.FromConnect(err)) != messages.CodePermissionDenied {
		t.Errorf("an event: %v", err)
	}
	if _, err := c.DrainWorker(ctx, connect.NewRequest(&api.DrainWorkerRequest{WorkerId: "gpu-1"})); messages.CodeOf(api.FromConnect(err)) != messages.CodeUnknownWorker {
		t.Errorf("a worker of others: %v", err)
	}
	list, err := c.ListWorkflows(ctx, connect.NewRequest(&api.ListWorkflowsRequest{}))
	if err != nil || len(list.Msg.GetWorkflows()) != 1 || list.Msg.GetWorkflows()[0].GetDefinition().GetName() != "ask" {
		t.Errorf("workflows: %v %v", list, err)
	}
	if got, err := c.GetRun(ctx, connect.NewRequest(&api.GetRunRequest{RunId: "r-ask"})); err != nil || len(got.Msg.GetRun().GetInput()) == 0 {
		t.Errorf("within the limits: %v %v", got, err)
	}
	if _, err := c.StartRun(ctx, connect.NewRequest(&api.StartRunRequest{Workflow: "ask"})); err != nil || len(backend.runs) != 4 {
		t.Errorf("a start within the limits: %v", err)
	}
}

// Payloads that are hidden are in no answer, and what shows nothing else is refused.
func TestHiddenPayloads(t *testing.T) {
	_, c := limitedServer(t, &messages.TokenRecord{Role: messages.Role_ROLE_RUN, HidePayloads: true})
	got, err := c.GetRun(t.Context(), connect.NewRequest(&api.GetRunRequest{RunId: "r-other"}))
	if err != nil || got.Msg.GetRun().GetWorkflow() != "other/x" || strings.Contains(got.Msg.String(), "payload") {
		t.Errorf("a run: %v %v", got, err)
	}
	if _, err := c.AskRun(t.Context(), connect.NewRequest(&api.AskRunRequest{RunId: "r-other", Query: "q"})); messages.CodeOf(api.FromConnect(err)) != messages.CodePermissionDenied {
		t.Errorf("a query: %v", err)
	}
	entry := hidden(&api.WatchRunResponse{Events: []*messages.Event{{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{Workflow: "w", Input: []byte("payload")}}}}})
	if text := entry.(*api.WatchRunResponse).String(); strings.Contains(text, "payload") || !strings.Contains(text, `"w"`) {
		t.Errorf("an event: %s", text)
	}
}

// A token is made, shown once, used, listed without itself, and revoked.
func TestTokensAreMadeAndRevoked(t *testing.T) {
	store := journal.NewMemory()
	s := serve(t, newFakeBackend(&messages.WorkflowDefinition{Name: "ask"}), Config{Secret: clusterSecret, Access: store})
	admin := client(t, s, withToken(clusterSecret))
	ctx := t.Context()
	made, err := admin.CreateToken(ctx, connect.NewRequest(&api.CreateTokenRequest{Name: "ci", Role: messages.Role_ROLE_RUN}))
	if err != nil || !strings.HasPrefix(made.Msg.GetSecret(), access.TokenPrefix) || len(made.Msg.GetSecret()) != len(access.TokenPrefix)+52 {
		t.Fatalf("made: %v %v", made, err)
	}
	secret, id := made.Msg.GetSecret(), made.Msg.GetToken().GetId()
	stored, _ := store.Tokens(ctx)
	if len(stored) != 1 || strings.Contains(string(stored[0].Data), secret) || strings.Contains(string(stored[0].Data), secret[len(access.TokenPrefix):]) {
		t.Errorf("the journal has the token: %q", stored)
	}
	list, err := admin.ListTokens(ctx, connect.NewRequest(&api.ListTokensRequest{}))
	if err != nil || len(list.Msg.GetTokens()) != 1 || list.Msg.GetTokens()[0].GetCreatedBy() != access.Secret || strings.Contains(list.Msg.String(), secret) {
		t.Errorf("listed: %v %v", list, err)
	}
	runner := client(t, s, withToken(secret))
	if _, err := runner.StartRun(ctx, connect.NewRequest(&api.StartRunRequest{Workflow: "ask"})); err != nil {
		t.Errorf("used: %v", err)
	}
	if _, err := admin.RevokeToken(ctx, connect.NewRequest(&api.RevokeTokenRequest{Id: id})); err != nil {
		t.Errorf("revoked: %v", err)
	}
	if _, err := runner.ListRuns(ctx, connect.NewRequest(&api.ListRunsRequest{})); messages.CodeOf(api.FromConnect(err)) != messages.CodeUnauthenticated {
		t.Errorf("used after that: %v", err)
	}
	if _, err := admin.RevokeToken(ctx, connect.NewRequest(&api.RevokeTokenRequest{Id: id})); messages.CodeOf(api.FromConnect(err)) != messages.CodeUnknownToken {
		t.Errorf("revoked again: %v", err)
	}
	for what, r := range map[string]*api.CreateTokenRequest{
		"no name": {Role: messages.Role_ROLE_RUN}, "no role": {Name: "x"}, "another role": {Name: "x", Role: 9},
		"an admin with limits": {Name: "x", Role: messages.Role_ROLE_ADMIN, WorkflowPrefix: "ask"},
	} {
		if _, err := admin.CreateToken(ctx, connect.NewRequest(r)); messages.CodeOf(api.FromConnect(err)) != messages.CodeInvalidArgument {
			t.Errorf("a token with %s: %v", what, err)
		}
	}
}

// A revocation here ends a watch that is open.
func TestARevocationEndsAWatch(t *testing.T) {
	store := journal.NewMemory()
	backend := newFakeBackend()
	backend.runs["r1"] = &messages.RunStarted{Workflow: "ask"}
	s := serve(t, backend, Config{Secret: clusterSecret, Access: store})
	record := &messages.TokenRecord{Role: messages.Role_ROLE_READ}
	token := putToken(t, store, "reader", record)
	req := connect.NewRequest(&api.WatchRunRequest{RunId: "r1"})
	req.Header().Set("Authorization", "Bearer "+token)
	stream, err := client(t, s).WatchRun(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	s.gateway.doors.mu.Lock()
	open := len(s.gateway.doors.open)
	s.gateway.doors.mu.Unlock()
	if open != 1 {
		t.Errorf("%d open", open)
	}
	if _, err := client(t, s, withToken(clusterSecret)).RevokeToken(t.Context(), connect.NewRequest(&api.RevokeTokenRequest{Id: record.GetId()})); err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
	}
	if err := api.FromConnect(stream.Err()); messages.CodeOf(err) != messages.CodeUnauthenticated {
		t.Errorf("the watch ended with %v", err)
	}
}

// failing is a store of tokens that fails while told so.
type failing struct {
	journal.AccessStore
	fails atomic.Bool
	reads atomic.Int64
}

func (f *failing) Tokens(ctx context.Context) ([]journal.Token, error) {
	f.reads.Add(1)
	if f.fails.Load() {
		<-ctx.Done()
		return nil, errors.New("the store hangs")
	}
	return f.AccessStore.Tokens(ctx)
}

// What is open with a token ends within 20 s of whatever ends the token, though it was
// ended at another server or the store does not answer.
func TestWhatIsOpenEndsInTime(t *testing.T) {
	for _, what := range []string{"revoked elsewhere", "expired", "the store hangs"} {
		t.Run(what, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				store := &failing{AccessStore: journal.NewMemory()}
				stopping, stop := context.WithCancel(t.Context())
				defer stop()
				d := newDoors(stopping, clusterSecret, store, nil, slog.New(slog.DiscardHandler))
				go d.keep()
				record := &messages.TokenRecord{Role: messages.Role_ROLE_READ}
				if what == "expired" {
					record.ExpiresUs = time.Now().Add(time.Minute).UnixMicro()
				}
				token := putToken(t, store, "reader", record)
				caller, err := d.Enter(t.Context(), token, "")
				if err != nil {
					t.Fatal(err)
				}
				ctx, done := d.Attend(t.Context(), caller)
				defer done()
				time.Sleep(time.Minute - time.Millisecond)
				if ctx.Err() != nil {
					t.Fatal("it ended before")
				}
				switch what {
				case "revoked elsewhere":
					_, _ = store.DeleteToken(t.Context(), record.GetId())
				case "the store hangs":
					store.fails.Store(true)
				}
				ended := time.Now()
				<-ctx.Done()
				if took := time.Since(ended); took > 20*time.Second || messages.CodeOf(context.Cause(ctx)) != messages.CodeUnauthenticated {
					t.Errorf("it ended after %v with %v", took, context.Cause(ctx))
				}
				_, err = d.Enter(t.Context(), token, "")
				if want := map[bool]messages.Code{true: messages.CodeJournalUnavailable, false: messages.CodeUnauthenticated}[store.fails.Load()]; messages.CodeOf(err) != want {
					t.Errorf("it enters again: %v, want %s", err, want)
				}
				if _, err := d.Enter(t.Context(), clusterSecret, ""); err != nil {
					t.Errorf("the secret: %v", err)
				}
			})
		})
	}
}

// A stranger who tries tokens causes few readings of the store, and a token that another
// server has just made is let in at once.
func TestStrangersCauseFewReadings(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &failing{AccessStore: journal.NewMemory()}
		d := newDoors(t.Context(), clusterSecret, store, nil, slog.New(slog.DiscardHandler))
		began := time.Now()
		for i := range 100 {
			if _, err := d.Enter(t.Context(), access.NewToken([32]byte{byte(i)}), ""); messages.CodeOf(err) != messages.CodeUnauthenticated {
				t.Fatal(err)
			}
		}
		if most := int64(time.Since(began)/tokensApart) + 1; store.reads.Load() > most {
			t.Errorf("%d readings in %v", store.reads.Load(), time.Since(began))
		}
		if _, err := d.Enter(t.Context(), putToken(t, store, "new", &messages.TokenRecord{Role: messages.Role_ROLE_READ}), ""); err != nil {
			t.Errorf("a new token: %v", err)
		}
	})
}
