package worker_test

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/worker"
)

// receiver is a collector that takes spans by OTLP, over HTTP and gRPC.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []received
}

// received is a span, and the service that made it.
type received struct {
	*otlp.Span
	service string
}

func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range req.ResourceSpans {
		service := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				r.spans = append(r.spans, received{s, service})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	in := new(collector.ExportTraceServiceRequest)
	if err := proto.Unmarshal(body, in); err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, "no spans", http.StatusBadRequest)
		return
	}
	out, _ := r.Export(req.Context(), in)
	answer, _ := proto.Marshal(out)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

// listen has the environment of the test send spans here.
func (r *receiver) listen(t *testing.T, protocol string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
	if protocol == "grpc" {
		s := grpc.NewServer()
		collector.RegisterTraceServiceServer(s, r)
		go func() { _ = s.Serve(l) }()
		t.Cleanup(s.Stop)
		return
	}
	s := &http.Server{Handler: r, ReadHeaderTimeout: time.Second}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
}

// tree says which span is below which: a line for each, from the root on, with its
// service, outcome and links.
func (r *receiver) tree() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := map[string]string{}
	for _, s := range r.spans {
		names[hex.EncodeToString(s.SpanId)] = named(s)
	}
	var lines []string
	for _, s := range r.spans {
		line := named(s) + " < " + names[hex.EncodeToString(s.ParentSpanId)]
		for _, l := range s.Links {
			line += ", after " + names[hex.EncodeToString(l.SpanId)]
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// named is a span with what tells it from others of its name.
func named(s received) string {
	name := s.Name
	for _, key := range []string{"limpet.attempt", "limpet.worker.id", "limpet.outcome", "limpet.reason", "limpet.code"} {
		for _, a := range s.Attributes {
			if a.Key == key && key == "limpet.attempt" {
				name += "#" + string('0'+byte(a.Value.GetIntValue()))
			} else if a.Key == key {
				name += " " + a.Value.GetStringValue()
			}
		}
	}
	return strings.TrimPrefix(s.service, "limpet-") + ": " + name
}

// traced is a cluster of one server whose spans go to a receiver.
type traced struct {
	*receiver
	server *node.Server
	client *sdk.Client
	stop   func()
}

func startTraced(t *testing.T, protocol string) *traced {
	t.Helper()
	e := &traced{receiver: &receiver{}}
	e.listen(t, protocol)
	spans, err := tracing.FromEnvironment(t.Context(), tracing.Process{Service: "limpet-server", Instance: "s1"})
	if err != nil {
		t.Fatal(err)
	}
	store := journal.NewMemory()
	if e.server, err = node.Start(t.Context(), node.Config{ID: "s1", Store: store, APIListen: "127.0.0.1:0", Traces: spans}); err != nil {
		t.Fatal(err)
	}
	if e.client, err = sdk.NewClient(sdk.ClientConfig{Address: e.server.APIAddress()}); err != nil {
		t.Fatal(err)
	}
	e.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.server.Stop(ctx); err != nil {
			t.Error(err)
		}
		spans.Stop()
	})
	t.Cleanup(e.stop)
	return e
}

// worker runs one until it is killed, or stopped: both return once it has ended.
func (e *traced) worker(t *testing.T, id string, workflows ...sdk.AnyWorkflow) (kill, stop func()) {
	t.Helper()
	w, err := worker.New(worker.Config{ID: id, Slots: 4, Join: []string{e.server.GossipAddress()}}, workflows...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.Run(ctx)
	}()
	<-w.Ready()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return func() { w.Kill(); <-ended }, stop
}

// A run whose worker is killed is one trace, from the caller to what the steps made
// themselves: each attempt is a span of its own, the later one linked to the earlier.
func TestTraceOfARunThatMoved(t *testing.T) {
	const secret = "hunter2"
	begun := make(chan string, 1)
	child := sdk.NewWorkflow[string]("part")
	sdk.AddStep(child, "only", func(_ sdk.Context, in string) (string, error) { return in, nil })
	w := sdk.NewWorkflow[string]("build", sdk.WorkflowConfig{Sticky: sdk.Soft})
	fetch := sdk.AddStep(w, "fetch", func(_ sdk.Context, in string) (string, error) { return in, nil })
	index := sdk.AddStep(w, "index", func(ctx sdk.Context, in string) (string, error) {
		if ctx.Attempt() == 1 {
			begun <- ctx.WorkerID()
			<-ctx.Done()
			return "", ctx.Err()
		}
		_, mine := trace.SpanFromContext(ctx).TracerProvider().Tracer("mine").Start(ctx, "mine")
		mine.End()
		if _, err := sdk.Do(ctx, "charge", func(sdk.Context) (string, error) { return secret, nil }); err != nil {
			return "", err
		}
		// It may end after its parent.
		spawned, err := child.Spawn(ctx, in, &sdk.SpawnOptions{OnParentEnd: sdk.LeaveChild})
		if err != nil {
			return "", err
		}
		return spawned.ID(), nil
	}, sdk.StepConfig{Parents: sdk.Steps(fetch)})

	e := startTraced(t, "http/protobuf")
	kill := map[string]func(){}
	stop := map[string]func(){}
	kill["w1"], stop["w1"] = e.worker(t, "w1", w, child)
	callers := sdktrace.NewTracerProvider()
	ctx, caller := callers.Tracer("test").Start(t.Context(), "caller")
	run, err := w.Start(ctx, e.client, secret, &sdk.StartOptions{Metadata: map[string]string{"note": secret}})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	kill["w2"], stop["w2"] = e.worker(t, "w2", w, child)
	kill["w1"]()
	childID, err := index.Result(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.client.Run(childID).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop["w2"]()
	e.stop()

	want := strings.TrimSpace(`
server: StartRun < 
server: attempt of fetch#1 w1 succeeded < server: run build succeeded
server: attempt of index#1 w1 lost worker_lost < server: run build succeeded
server: attempt of index#2 w2 succeeded < server: run build succeeded, after server: attempt of index#1 w1 lost worker_lost
server: attempt of only#1 w2 succeeded < server: run part succeeded
server: placement of fetch#1 w1 < server: run build succeeded
server: placement of index#1 w1 < server: run build succeeded
server: placement of index#2 w2 < server: run build succeeded
server: placement of only#1 w2 < server: run part succeeded
server: run build succeeded < server: StartRun
server: run part succeeded < server: attempt of index#2 w2 succeeded
worker: do charge < worker: index#2 w2
worker: fetch#1 w1 < server: attempt of fetch#1 w1 succeeded
worker: index#1 w1 USER_ERROR < server: attempt of index#1 w1 lost worker_lost
worker: index#2 w2 < server: attempt of index#2 w2 succeeded
worker: mine < worker: index#2 w2
worker: only#1 w2 < server: attempt of only#1 w2 succeeded`)
	if got := e.tree(); got != want {
		t.Errorf("the spans are\n%s\nwant\n%s", got, want)
	}
	traceID := caller.SpanContext().TraceID()
	callerID := caller.SpanContext().SpanID()
	for _, s := range e.spans {
		if string(s.TraceId) != string(traceID[:]) {
			t.Errorf("span %q is of another trace", s.Name)
		}
		if s.Name == "StartRun" && string(s.ParentSpanId) != string(callerID[:]) {
			t.Error("the span of the call is not below that of the caller")
		}
		if s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("span %q ends before it begins", s.Name)
		}
		if text, _ := proto.Marshal(s.Span); strings.Contains(string(text), secret) {
			t.Errorf("span %q holds what is a user's", s.Name)
		}
	}
}

// Without a caller's span the server begins a trace; and there is the other protocol.
func TestTraceByGRPCWithoutACaller(t *testing.T) {
	w := sdk.NewWorkflow[int]("build")
	sdk.AddStep(w, "only", func(ctx sdk.Context, in int) (int, error) {
		if trace.SpanFromContext(ctx).SpanContext().TraceID().String() != messages.TraceID(tracing.Traceparent(ctx)) {
			return 0, sdk.NonRetryable(context.Canceled)
		}
		return in, nil
	})
	e := startTraced(t, "grpc")
	_, stop := e.worker(t, "w1", w)
	run, err := w.Start(t.Context(), e.client, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	e.stop()
	want := strings.TrimSpace(`
server: StartRun < 
server: attempt of only#1 w1 succeeded < server: run build succeeded
server: placement of only#1 w1 < server: run build succeeded
server: run build succeeded < server: StartRun
worker: only#1 w1 < server: attempt of only#1 w1 succeeded`)
	if got := e.tree(); got != want {
		t.Errorf("the spans are\n%s\nwant\n%s", got, want)
	}
}
