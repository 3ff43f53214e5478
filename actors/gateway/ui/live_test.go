package ui

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// served are pages at a server, and the live part of them.
func served(t *testing.T, s *service, change func(*Config)) (*httptest.Server, context.CancelFunc) {
	t.Helper()
	stopping, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	c := pagesConfig(t, s)
	c.every = 10 * time.Millisecond
	if change != nil {
		change(&c)
	}
	server := httptest.NewServer(New(stopping, c))
	t.Cleanup(server.Close)
	return server, stop
}

// reader is a browser's stream.
type reader struct {
	t     *testing.T
	lines *bufio.Scanner
	close func()
}

func follow(t *testing.T, server *httptest.Server, query, last string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/ui/live?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", last)
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	return &reader{t, lines, cancel}
}

// event returns the id of the next one, and the page.
func (r *reader) event() (string, version) {
	r.t.Helper()
	var id string
	for r.lines.Scan() {
		key, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch key {
		case "id":
			id = value
		case "data":
			var v version
			if err := json.Unmarshal([]byte(value), &v); err != nil {
				r.t.Fatal(err)
			}
			return id, v
		}
	}
	r.t.Fatalf("the stream has ended: %v", r.lines.Err())
	return "", version{}
}

func runWaiting(what string) *api.ListRunsResponse {
	return &api.ListRunsResponse{Runs: []*api.Run{{RunId: "r1", Workflow: "build", Status: messages.RunStatus_RUN_STATUS_RUNNING, CreatedAt: at(0), WaitingFor: what}}}
}

// A page is pushed once as it is, and again when it has changed; who comes back with the
// id of the last event gets what is new since then and nothing else.
func TestAPageThatHasChangedIsPushed(t *testing.T) {
	s := everywhere()
	s.SetList(runWaiting("one"))
	server, _ := served(t, s, nil)
	query := url.Values{"see": {"/", "/workers"}, "has": {"", ""}}.Encode()
	first := follow(t, server, query, "")
	seen := map[string]version{}
	var id string
	for len(seen) < 2 {
		last, v := first.event()
		id, seen[v.See] = last, v
	}
	if v := seen["/"]; !strings.Contains(v.HTML, "<h1>Runs</h1>") || !strings.Contains(v.HTML, "one") || strings.Contains(v.HTML, "<main") {
		t.Errorf("pushed %q", v.HTML)
	}
	s.SetList(runWaiting("two"))
	_, v := first.event()
	if v.See != "/" || !strings.Contains(v.HTML, "two") || strings.Contains(v.HTML, "one") {
		t.Errorf("after the change: %+v", v)
	}
	again := follow(t, server, query, id)
	if _, v := again.event(); v.See != "/" || !strings.Contains(v.HTML, "two") {
		t.Errorf("after coming back: %+v", v)
	}
	s.SetList(runWaiting("three"))
	if _, v := again.event(); v.See != "/" || !strings.Contains(v.HTML, "three") {
		t.Errorf("the workers were sent again: %+v", v)
	}
}

// What a browser may not see, or cannot ask for, is refused.
func TestStreamsThatAreRefused(t *testing.T) {
	server, _ := served(t, everywhere(), nil)
	closed, _ := served(t, everywhere(), func(c *Config) { c.Secret = "the secret of this cluster" })
	many := url.Values{"see": make([]string, TopicsMax+1)}
	for query, want := range map[string]struct {
		server *httptest.Server
		status int
	}{
		"see=/": {closed, http.StatusUnauthorized}, "": {server, http.StatusBadRequest}, many.Encode(): {server, http.StatusBadRequest},
		"see=/payload%3Frun=r1": {server, http.StatusBadRequest}, "see=/confirm": {server, http.StatusBadRequest}, "see=//elsewhere/": {server, http.StatusBadRequest},
		"see=/live": {server, http.StatusBadRequest}, "see=/runs/" + strings.Repeat("x", addressBytesMax): {server, http.StatusBadRequest},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, want.server.URL+"/ui/live?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := want.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want.status {
			t.Errorf("%.60s: %d", query, resp.StatusCode)
		}
	}
}

// Nothing is left of browsers that have gone, and a stop ends the streams of those that
// have not.
func TestStreamsEnd(t *testing.T) {
	p := newUI(t.Context(), pagesConfig(t, everywhere()))
	stopping, stop := context.WithCancel(t.Context())
	l := newLive(stopping, p)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.serve(w, forEverything(r)) }))
	defer server.Close()
	for range 50 {
		r := follow(t, server, "see=/&see=/workers&see=/runs/r1", "")
		r.event()
		r.close()
	}
	waitFor(t, "no stream and no topic is left", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.streams == 0 && len(l.topics) == 0
	})
	last := follow(t, server, "see=/", "")
	last.event()
	stop()
	for last.lines.Scan() {
	}
	if err := last.lines.Err(); err != nil {
		t.Errorf("the stream was not ended in order: %v", err)
	}
}

func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for !so() {
		select {
		case <-deadline.C:
			t.Fatal("not so: " + what)
		case <-time.After(time.Millisecond):
		}
	}
}

// forEverything is a request as the routes let it through.
func forEverything(r *http.Request) *http.Request {
	return r.WithContext(access.With(r.Context(), access.Caller{Who: access.Local, View: access.Everything}))
}

// deaf is a connection that takes no more.
type deaf struct {
	http.ResponseWriter
	writes    int
	deadlines int
}

var errDeaf = errors.New("nobody reads")

func (d *deaf) Write(data []byte) (int, error) {
	if d.writes++; d.writes > 1 {
		return 0, errDeaf
	}
	return len(data), nil
}

func (d *deaf) FlushError() error { return nil }

func (d *deaf) SetWriteDeadline(time.Time) error { d.deadlines++; return nil }

// A browser that does not read loses its stream; each write has a deadline of its own,
// and a page that wraps the way to it is looked through.
func TestADeafBrowserLosesItsStream(t *testing.T) {
	l := newLive(t.Context(), newUI(t.Context(), pagesConfig(t, everywhere())))
	d := &deaf{ResponseWriter: httptest.NewRecorder()}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/ui/live?see=/", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.serve(wrapping{d}, forEverything(r))
	if d.writes != 2 || d.deadlines != d.writes || l.streams != 0 {
		t.Errorf("%d writes, %d deadlines, %d streams", d.writes, d.deadlines, l.streams)
	}
}

type wrapping struct{ http.ResponseWriter }

func (w wrapping) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// The more browsers are pushed to, the less often pages are made for them.
func TestPagesAreMadeLessOftenForMany(t *testing.T) {
	l := &live{pages: &pages{Config: Config{every: time.Second}}}
	for streams, want := range map[int]time.Duration{0: time.Second, 99: time.Second, 100: 2 * time.Second, 1000: 11 * time.Second} {
		if l.streams = streams; l.pause() != want {
			t.Errorf("for %d browsers a page is made each %v, want %v", streams, l.pause(), want)
		}
	}
}
