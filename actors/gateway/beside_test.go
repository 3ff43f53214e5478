package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// page returns the status and the body of a page.
func page(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

var someMetrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "some 1\n") })

// Who may call the API may read the metrics, and nobody else, at the API and at a
// worker alike.
func TestWhoReadsMetrics(t *testing.T) {
	const secret = "a secret of the cluster"
	open := serve(t, newFakeBackend(), Config{Metrics: someMetrics})
	closed := serve(t, newFakeBackend(), Config{Metrics: someMetrics, Secret: secret})
	without := serve(t, newFakeBackend(), Config{})
	worker, err := StartMetrics(t.Context(), "127.0.0.1:0", secret, someMetrics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.Stop)
	for _, c := range []struct {
		what, address string
		header        []string
		status        int
	}{
		{"an API without a secret", open.Address(), nil, 200},
		{"a page of another name", open.Address(), []string{"Host", "evil.example"}, 401},
		{"an API with a secret, without it", closed.Address(), nil, 401},
		{"with another one", closed.Address(), []string{"Authorization", "Bearer no"}, 401},
		{"with it", closed.Address(), []string{"Authorization", "Bearer " + secret}, 200},
		{"a worker without the secret", worker.Address(), nil, 401},
		{"a worker with it", worker.Address(), []string{"Authorization", "Bearer " + secret}, 200},
		{"a server that has none", without.Address(), nil, 404},
	} {
		status, body := page(t, "http://"+c.address+"/metrics", c.header...)
		if status != c.status || (body == "some 1\n") != (status == 200) {
			t.Errorf("%s: %d %q, want %d", c.what, status, body, c.status)
		}
	}
}

// Beyond loopback metrics are served with a secret only, and profiles never are.
func TestWhereMetricsAndProfilesAreRefused(t *testing.T) {
	for address, want := range map[string]messages.Code{"0.0.0.0:0": messages.CodeSecretRequired, ":9100": messages.CodeSecretRequired, "nonsense": messages.CodeInvalidArgument} {
		if b, err := StartMetrics(t.Context(), address, "short", someMetrics); b != nil || messages.CodeOf(err) != want {
			t.Errorf("metrics at %s: %v, want %s", address, err, want)
		}
	}
	for _, address := range []string{"0.0.0.0:0", ":6060", "10.0.0.5:6060", "nonsense"} {
		if b, err := StartProfiles(t.Context(), address, ""); b != nil || messages.CodeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("profiles at %s: %v", address, err)
		}
	}
	profiles, err := StartProfiles(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer profiles.Stop()
	if status, body := page(t, "http://"+profiles.Address()+"/debug/pprof/goroutine?debug=1"); status != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("a profile: %d %.80q", status, body)
	}
	if status, _ := page(t, "http://"+profiles.Address()+"/debug/pprof/", "Host", "evil.example"); status != 401 {
		t.Errorf("a page of another name gets profiles: %d", status)
	}
	if b, err := StartProfiles(t.Context(), profiles.Address(), ""); b != nil || messages.CodeOf(err) != messages.CodeAddressInUse {
		t.Errorf("the same address again: %v", err)
	}
}

// Each call of a method is told with what it ended, whoever refused it.
func TestCallsAreCounted(t *testing.T) {
	const secret = "a secret of the cluster"
	calls := make(chan string, 100)
	s := serve(t, newFakeBackend(), Config{Secret: secret, Called: func(method string, code messages.Code, took time.Duration) {
		calls <- fmt.Sprint(method, " ", code, " ", took > 0)
	}})
	with := connect.WithInterceptors(bearer(secret))
	c := client(t, s, with)
	_, _ = c.ListWorkflows(t.Context(), connect.NewRequest(&api.ListWorkflowsRequest{}))
	_, _ = c.GetRun(t.Context(), connect.NewRequest(&api.GetRunRequest{RunId: "none"}))
	_, _ = client(t, s).GetRun(t.Context(), connect.NewRequest(&api.GetRunRequest{RunId: "none"}))
	stream, err := c.WatchRun(t.Context(), connect.NewRequest(&api.WatchRunRequest{}))
	if err == nil {
		for stream.Receive() {
		}
		_ = stream.Close()
	}
	for _, body := range []string{`{"nonsense": 1}`, `{`} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Address()+"/limpet.api.v1.LimpetService/GetRun", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+secret)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	_, _ = page(t, "http://"+s.Address()+"/limpet.api.v1.LimpetService/NoSuchMethod", "Authorization", "Bearer "+secret)
	want := []string{"ListWorkflows  true", "GetRun UNKNOWN_RUN true", "GetRun UNAUTHENTICATED true", "WatchRun INVALID_ARGUMENT true",
		"GetRun INVALID_ARGUMENT true", "GetRun INVALID_ARGUMENT true"}
	var told []string
	for range want { // an answer may be there before its call is told
		told = append(told, <-calls)
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) || len(calls) > 0 {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

// bearer adds the secret to calls.
type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, req)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return conn
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
