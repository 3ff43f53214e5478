package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// Pages call the API as others do, without the secret, which they ask for
// themselves; and they get no requests of other web pages.
func TestPages(t *testing.T) {
	fake := newFakeBackend()
	pages := func(_ context.Context, c apiconnect.LimpetServiceClient, doors access.Doors) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, unsaid := c.ListWorkers(r.Context(), connect.NewRequest(&api.ListWorkersRequest{}))
			if messages.CodeOf(api.FromConnect(unsaid)) != messages.CodeUnauthenticated {
				t.Errorf("a call for nobody: %v", unsaid)
			}
			caller, _ := doors.Again(r.Context(), access.Secret, "")
			r = r.WithContext(access.With(r.Context(), caller))
			_, err := c.GetRun(r.Context(), connect.NewRequest(&api.GetRunRequest{RunId: r.URL.Query().Get("run")}))
			code := messages.CodeOf(api.FromConnect(err))
			_, err = c.ListWorkflows(r.Context(), connect.NewRequest(&api.ListWorkflowsRequest{}))
			_, _ = io.WriteString(w, string(code)+" "+string(messages.CodeOf(err)))
		})
	}
	s := serve(t, fake, Config{Secret: "a secret of the cluster", Pages: pages})
	status, body := page(t, "http://"+s.Address()+"/ui/x?run=none")
	if status != 200 || body != "UNKNOWN_RUN " {
		t.Errorf("a page: %d %q", status, body)
	}
	if status, _ := page(t, "http://"+s.Address()+"/ui/", "Host", "evil.example"); status != 401 {
		t.Errorf("by another name: %d", status)
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Address()+"/ui/login", strings.NewReader("secret=x"))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a form of another web page: %d", resp.StatusCode)
	}
	none := serve(t, fake, Config{})
	if status, _ := page(t, "http://"+none.Address()+"/ui/"); status != 404 {
		t.Errorf("a server without pages: %d", status)
	}
}

// A watch streams to a page, and ends when the page goes away.
func TestPagesWatch(t *testing.T) {
	ended := make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		_, err := io.WriteString(w, "two")
		ended <- err
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://this.server/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := inProcess{handler}.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, part); err != nil || string(part) != "one" {
		t.Errorf("%q %v", part, err)
	}
	_ = resp.Body.Close()
	cancel()
	if err := <-ended; err == nil {
		t.Error("the handler was not told that nobody reads")
	}
}

// What pages stream arrives at once, with a deadline for each write, through all that
// stands before them; and it ends with the server, which does not wait for it.
func TestPagesStreamUntilTheServerStops(t *testing.T) {
	pages := func(stopping context.Context, _ apiconnect.LimpetServiceClient, _ access.Doors) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			control := http.NewResponseController(w)
			err := control.SetWriteDeadline(time.Now().Add(time.Minute))
			_, _ = io.WriteString(w, "one")
			if err = errors.Join(err, control.Flush()); err != nil {
				t.Error(err)
			}
			<-stopping.Done()
		})
	}
	s := serve(t, newFakeBackend(), Config{Pages: pages})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Address()+"/ui/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	part := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, part); err != nil || string(part) != "one" {
		t.Errorf("%q %v", part, err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
