package sdk_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
)

// brokenServer accepts connections and does to them what its script says.
type brokenServer struct {
	address  string
	accepted atomic.Int32
}

// breaks serves each connection with a function that is to end it; it is given
// a channel that is closed at the end of the test.
func breaks(t *testing.T, serve func(net.Conn, <-chan struct{})) *brokenServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, over := &brokenServer{address: l.Addr().String()}, make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn, over)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); close(over); all.Wait() })
	return s
}

// hangs is a process that was stopped: the connection opens, nothing answers.
func hangs(_ net.Conn, over <-chan struct{}) { <-over }

// resets reads a part of the request and breaks the connection.
func resets(conn net.Conn, _ <-chan struct{}) {
	_, _ = conn.Read(make([]byte, 10))
	_ = conn.(*net.TCPConn).SetLinger(0)
}

// truncates begins an answer and ends in the middle.
func truncates(conn net.Conn, _ <-chan struct{}) {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: " + req.Header.Get("Content-Type") + "\r\nContent-Length: 100\r\n\r\nab"))
}

// stopping is a server that answers UNAVAILABLE to all.
func stopping(t *testing.T) *fakeAPI {
	f := &fakeAPI{}
	for range 1000 {
		f.fail = append(f.fail, messages.Errorf(messages.CodeUnavailable, "the server is stopping"))
	}
	return f
}

func ended() *api.GetRunResponse {
	return &api.GetRunResponse{Run: &api.Run{RunId: "r1", Workflow: "w", Status: sdk.Succeeded}}
}

// TestCallsFailOver sends every kind of call to a cluster of which one server
// is broken, in each way, and again: the second time that server is left alone.
func TestCallsFailOver(t *testing.T) {
	broken := map[string]func(*testing.T) string{
		"refuses":   deadAddress,
		"hangs":     func(t *testing.T) string { return breaks(t, hangs).address },
		"resets":    func(t *testing.T) string { return breaks(t, resets).address },
		"truncates": func(t *testing.T) string { return breaks(t, truncates).address },
		"stops":     func(t *testing.T) string { return stopping(t).serve(t) },
	}
	w := sdk.NewWorkflow[int]("w")
	calls := map[string]func(context.Context, *sdk.Client) error{
		"start": func(ctx context.Context, c *sdk.Client) error { _, err := w.Start(ctx, c, 1); return err },
		"keyed": func(ctx context.Context, c *sdk.Client) error {
			_, err := w.Start(ctx, c, 1, &sdk.StartOptions{IdempotencyKey: "k"})
			return err
		},
		"bulk":  func(ctx context.Context, c *sdk.Client) error { _, err := w.StartMany(ctx, c, []int{1, 2}); return err },
		"event": func(ctx context.Context, c *sdk.Client) error { _, err := c.PushEvent(ctx, "e", 1); return err },
		"get":   func(ctx context.Context, c *sdk.Client) error { _, err := c.Run("r1").Get(ctx); return err },
		"wait":  func(ctx context.Context, c *sdk.Client) error { return c.Run("r1").Wait(ctx) },
		"watch": func(ctx context.Context, c *sdk.Client) error {
			var got []uint64
			for e, err := range c.Run("r1").Watch(ctx, 1) {
				if err != nil {
					return err
				}
				got = append(got, e.GetEntry())
			}
			if !slices.Equal(got, []uint64{2, 3}) {
				return messages.Errorf(messages.CodeInternal, "watched %v", got)
			}
			return nil
		},
	}
	for how, address := range broken {
		for name, do := range calls {
			t.Run(how+"/"+name, func(t *testing.T) {
				t.Parallel()
				good := &fakeAPI{waits: 2, run: ended(), entries: []uint64{1, 2, 3}}
				var retries []sdk.Retry
				c := client(t, sdk.ClientConfig{
					Address: address(t) + "," + good.serve(t), OnRetry: func(r sdk.Retry) { retries = append(retries, r) },
				}).GoTo(0).Trust(1)
				for range 3 {
					// Less than the timeout of a try: silence is noticed before.
					ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
					began := time.Now()
					err := do(ctx, c)
					cancel()
					if err != nil {
						t.Fatalf("after %v: %v; %v", time.Since(began), err, retries)
					}
				}
				if len(retries) != 1 {
					t.Errorf("the broken server was gone to %d times: %v", len(retries), retries)
				}
			})
		}
	}
}

// A server that froze in the middle of a wait, or of a stream, is left, while
// one that takes long and lives is not.
func TestSilentServerIsLeft(t *testing.T) {
	frozen := breaks(t, hangs)
	slow := &slowAPI{release: make(chan struct{})}
	c := client(t, sdk.ClientConfig{Addresses: []string{frozen.address, slow.serve(t)}}).GoTo(0).Trust(1)
	done := make(chan error, 1)
	go func() { done <- c.Run("r1").Wait(t.Context()) }()
	slow.asked(t)
	// It owes its answer for longer than a silent server is given.
	select {
	case err := <-done:
		t.Fatal("the wait ended early:", err)
	case <-time.After(3 * time.Second):
	}
	close(slow.release)
	if err := <-done; err != nil || frozen.accepted.Load() == 0 || slow.waits.Load() != 1 || slow.pings.Load() == 0 {
		t.Errorf("%d waits, %d health checks: %v", slow.waits.Load(), slow.pings.Load(), err)
	}
}

// slowAPI answers a wait when it is released.
type slowAPI struct {
	apiconnect.UnimplementedLimpetServiceHandler
	waits, pings atomic.Int32
	release      chan struct{}
}

func (s *slowAPI) WaitRun(ctx context.Context, _ *connect.Request[api.WaitRunRequest]) (*connect.Response[api.WaitRunResponse], error) {
	s.waits.Add(1)
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return connect.NewResponse(&api.WaitRunResponse{Ended: true, Run: ended()}), nil
}

func (s *slowAPI) serve(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewLimpetServiceHandler(s))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) { s.pings.Add(1) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func (s *slowAPI) asked(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.waits.Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the wait has not come")
		}
		<-time.After(time.Millisecond)
	}
}

// A server that failed is gone to again when the others fail.
func TestFailedServerIsComeBackTo(t *testing.T) {
	a, b := &fakeAPI{run: ended()}, &fakeAPI{run: ended()}
	c := client(t, sdk.ClientConfig{Addresses: []string{a.serve(t), b.serve(t)}}).GoTo(0)
	get := func() {
		t.Helper()
		if _, err := c.Run("r1").Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	get()
	first, second := a, b
	first.fail = []error{messages.Errorf(messages.CodeUnavailable, "the server is stopping")}
	get()
	get()
	if len(first.secrets) != 2 || len(second.secrets) != 2 {
		t.Errorf("%d calls at the server that failed, %d at the other", len(first.secrets), len(second.secrets))
	}
	second.fail = []error{messages.Errorf(messages.CodeUnavailable, "the server is stopping")}
	get()
	get()
	if len(first.secrets) != 4 || len(second.secrets) != 3 {
		t.Errorf("%d calls at the server that came back, %d at the other", len(first.secrets), len(second.secrets))
	}
}

// A retried cancel that finds the run ended asks how.
func TestCancelWhoseAnswerWasLost(t *testing.T) {
	for status, want := range map[sdk.RunStatus]error{sdk.Canceled: nil, sdk.Succeeded: sdk.ErrRunFinished} {
		f := &cancelAPI{status: status}
		c := client(t, sdk.ClientConfig{Address: f.serve(t)})
		if err := c.Run("r1").Cancel(t.Context(), ""); !errors.Is(err, want) || f.cancels != 2 {
			t.Errorf("%v: %d cancels, %v", status, f.cancels, err)
		}
		// Without a doubt there is nothing to ask.
		if err := c.Run("r1").Cancel(t.Context(), ""); !errors.Is(err, sdk.ErrRunFinished) || f.gets != 1 {
			t.Errorf("%v: %d reads, %v", status, f.gets, err)
		}
	}
}

// cancelAPI breaks the connection after the first cancel; by the next one the
// run has ended.
type cancelAPI struct {
	apiconnect.UnimplementedLimpetServiceHandler
	status        sdk.RunStatus
	cancels, gets int
}

func (f *cancelAPI) CancelRun(context.Context, *connect.Request[api.CancelRunRequest]) (*connect.Response[api.CancelRunResponse], error) {
	if f.cancels++; f.cancels == 1 {
		panic(http.ErrAbortHandler)
	}
	return nil, api.ToConnect(messages.Errorf(messages.CodeRunFinished, "run r1 has ended"))
}

func (f *cancelAPI) GetRun(context.Context, *connect.Request[api.GetRunRequest]) (*connect.Response[api.GetRunResponse], error) {
	f.gets++
	return connect.NewResponse(&api.GetRunResponse{Run: &api.Run{RunId: "r1", Status: f.status}}), nil
}

func (f *cancelAPI) serve(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewLimpetServiceHandler(f))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// A server without its journal is left alone for as long as it asks to be, and
// the call goes on until its context ends.
func TestJournalUnavailableIsWaitedOut(t *testing.T) {
	lost := messages.Errorf(messages.CodeJournalUnavailable, "the journal is out of reach")
	f := &fakeAPI{fail: []error{lost}}
	var retries []sdk.Retry
	address := f.serve(t)
	c := client(t, sdk.ClientConfig{Address: address, OnRetry: func(r sdk.Retry) { retries = append(retries, r) }})
	w := sdk.NewWorkflow[int]("w")
	began := time.Now()
	if _, err := w.Start(t.Context(), c, 1); err != nil || len(f.starts) != 2 {
		t.Fatalf("%d starts, %v", len(f.starts), err)
	}
	advice := messages.CodeJournalUnavailable.RetryAfter()
	if took := time.Since(began); took < advice || len(retries) != 1 || retries[0].Wait < advice || retries[0].Address != address {
		t.Errorf("took %v, advised %v: %v", took, advice, retries)
	}
	f.fail = slices.Repeat([]error{lost}, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := w.Start(ctx, c, 1)
	if sdk.CodeOf(err) != messages.CodeJournalUnavailable || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), address) {
		t.Errorf("the call's time is over: %v", err)
	}
}

// A watch without news outlives any number of streams that were served and
// broke: its patience counts from the last one that was.
func TestQuietWatchOutlivesItsPatience(t *testing.T) {
	const patience, streams = 100 * time.Millisecond, 4
	for _, served := range []bool{true, false} {
		f := &quietAPI{breaks: streams, each: patience, served: served}
		mux := http.NewServeMux()
		mux.Handle(apiconnect.NewLimpetServiceHandler(f))
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		c := client(t, sdk.ClientConfig{Address: strings.TrimPrefix(server.URL, "http://"), RetryFor: patience})
		var last error
		for _, err := range c.Run("r1").Watch(t.Context(), 0) {
			last = err
		}
		if gone := last != nil; gone == served || served && f.broken != streams {
			t.Errorf("served: %v, %d streams broke, %v", served, f.broken, last)
		}
	}
}

// quietAPI has watches without entries, the first of which break.
type quietAPI struct {
	apiconnect.UnimplementedLimpetServiceHandler
	breaks, broken int
	each           time.Duration
	served         bool
}

func (q *quietAPI) WatchRun(ctx context.Context, _ *connect.Request[api.WatchRunRequest], s *connect.ServerStream[api.WatchRunResponse]) error {
	if q.served {
		if err := api.SayServed(s); err != nil {
			return err
		}
	}
	if q.broken == q.breaks {
		return nil
	}
	q.broken++
	select {
	case <-time.After(q.each):
	case <-ctx.Done():
	}
	return api.ToConnect(messages.Errorf(messages.CodeUnavailable, "the server is stopping"))
}

func TestUnreachableClusterNamesItsServers(t *testing.T) {
	a, b := deadAddress(t), deadAddress(t)
	c := client(t, sdk.ClientConfig{Address: a + ", " + b, ConnectFor: sdk.Never})
	_, err := c.ListWorkers(t.Context())
	if !errors.Is(err, sdk.ErrUnavailable) || !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) {
		t.Error(err)
	}
	// Met once, it is waited for as long as the context lasts.
	f := &fakeAPI{run: ended()}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	address := server.Listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewLimpetServiceHandler(f))
	server.Config.Handler = mux
	server.Start()
	c = client(t, sdk.ClientConfig{Address: address, ConnectFor: sdk.Never})
	if _, err := c.Run("r1").Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Run("r1").Get(ctx); !errors.Is(err, sdk.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
