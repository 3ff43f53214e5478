package tracing

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

var quiet = Process{Service: "test", Logger: slog.New(slog.DiscardHandler)}

// stuck is the exporter for a collector that does not answer.
type stuck struct{}

func (stuck) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	<-ctx.Done()
	return ctx.Err()
}
func (stuck) Shutdown(context.Context) error { return nil }

// A collector that does not answer holds nobody up: what it does not take is dropped
// and counted, and the process ends in time.
func TestCollectorThatDoesNotAnswer(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
	bubble.Test(t, func(t *testing.T) {
		p := New(t.Context(), quiet, stuck{})
		began := time.Now()
		for range 1000 {
			_, span := p.Tracer().Start(context.Background(), "x")
			span.End()
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("making spans has waited %v", took)
		}
		if f := p.Figures(); f.Dropped != 900 {
			t.Errorf("%+v, want 900 dropped", f)
		}
		began = time.Now()
		p.Stop()
		if took := time.Since(began); took > stopWithin {
			t.Errorf("the end took %v", took)
		}
	})
}

// refusing is the exporter for a collector that refuses every other batch.
type refusing struct{ n int }

func (r *refusing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	if r.n++; r.n%2 == 0 {
		return errors.New("refused")
	}
	return nil
}
func (*refusing) Shutdown(context.Context) error { return nil }

func TestSpansAreCounted(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
	bubble.Test(t, func(t *testing.T) {
		p := New(t.Context(), quiet, &refusing{})
		for range 3 {
			for range 10 {
				_, span := p.Tracer().Start(context.Background(), "x")
				span.End()
			}
			time.Sleep(time.Minute)
		}
		p.Stop()
		if f := p.Figures(); f != (Figures{Exported: 20, Failed: 10}) {
			t.Errorf("%+v", f)
		}
	})
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		on   bool
		code messages.Code
	}{
		{name: "nothing is said"},
		{name: "an endpoint", env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, on: true},
		{name: "an endpoint of traces", env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/x"}, on: true},
		{name: "an exporter", env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, on: true},
		{name: "no exporter", env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}},
		{name: "disabled", env: map[string]string{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}},
		{name: "an exporter that is not there", env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, code: messages.CodeInvalidArgument},
		{name: "grpc", env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, on: true},
		{name: "a protocol that is not there", env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, code: messages.CodeInvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			p, err := FromEnvironment(t.Context(), quiet)
			p.Stop()
			if (p != nil) != c.on || messages.CodeOf(err) != c.code {
				t.Errorf("provider %v, error %v", p != nil, err)
			}
		})
	}
}

// off is what is done for each run, and for each attempt, that is not traced.
func off(ctx context.Context, d *messages.Dispatch) {
	_ = Traceparent(ctx)
	_ = messages.AttemptSpan("", d.RunId, d.Step, d.Attempt)
	_, ended := Steps{}.Began(ctx, d, "w1")
	ended(nil)
}

// Off costs nothing: rule T5.
func TestOffAllocatesNothing(t *testing.T) {
	d := &messages.Dispatch{RunId: "r1", Step: "a", Attempt: 1}
	if n := testing.AllocsPerRun(100, func() { off(t.Context(), d) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if (*Provider)(nil).Tracer() != nil {
		t.Error("a provider that is not there has a tracer")
	}
}

func BenchmarkOff(b *testing.B) {
	d := &messages.Dispatch{RunId: "r1", Step: "a", Attempt: 1}
	b.ReportAllocs()
	for b.Loop() {
		off(b.Context(), d)
	}
}

func BenchmarkOn(b *testing.B) {
	p := New(b.Context(), quiet, &refusing{})
	defer p.Stop()
	d := &messages.Dispatch{RunId: "r1", Step: "a", Attempt: 1}
	b.ReportAllocs()
	for b.Loop() {
		ctx, span := p.Tracer().Start(b.Context(), "StartRun", trace.WithSpanKind(trace.SpanKindServer))
		d.Traceparent = messages.AttemptSpan(Traceparent(ctx), d.RunId, d.Step, d.Attempt)
		_, ended := Steps{Tracer: p.Tracer()}.Began(b.Context(), d, "w1")
		ended(nil)
		span.End()
	}
}
