package tracing

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// stopWithin is how long Stop waits for the collector to take the last spans.
	stopWithin = 5 * time.Second
	// lossesSaid is how often the log says at most that spans are lost.
	lossesSaid = time.Minute
)

// Provider makes spans and sends them to a collector, in batches. A nil one makes none.
type Provider struct {
	spans  *sdktrace.TracerProvider
	counts *counts
}

// Figures count spans that were made.
type Figures struct {
	// Exported were taken by the collector, Failed not; Dropped were too many to wait
	// for it.
	Exported, Failed, Dropped uint64
}

// New makes a provider for an exporter, which it stops. The sampler and the sizes of
// batches are those of the environment.
func New(ctx context.Context, of Process, exporter sdktrace.SpanExporter) *Provider {
	if of.Logger == nil {
		of.Logger = slog.Default()
	}
	c := &counts{log: of.Logger}
	c.life, c.end = context.WithCancel(context.Background())
	batches := sdktrace.NewBatchSpanProcessor(&counted{exporter, c}, func(o *sdktrace.BatchSpanProcessorOptions) {
		c.room = int64(o.MaxQueueSize)
	})
	return &Provider{counts: c, spans: sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(&gate{batches, c}), sdktrace.WithIDGenerator(ids{}), sdktrace.WithResource(resourceOf(ctx, of)))}
}

// Tracer makes the spans; nil if there are none.
func (p *Provider) Tracer() trace.Tracer {
	if p == nil {
		return nil
	}
	return p.spans.Tracer(Scope)
}

// Figures so far.
func (p *Provider) Figures() Figures {
	if p == nil {
		return Figures{}
	}
	return Figures{p.counts.exported.Load(), p.counts.failed.Load(), p.counts.dropped.Load()}
}

// Stop sends what is left, for at most five seconds; what is under way then is broken
// off.
func (p *Provider) Stop() {
	if p == nil {
		return
	}
	defer p.counts.end()
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if err := p.spans.Shutdown(ctx); err != nil {
		p.counts.log.Warn("the last spans were not sent", "error", err, "within", stopWithin)
	}
}

// counts are of one provider.
type counts struct {
	log *slog.Logger
	// life of what is under way.
	life context.Context
	end  context.CancelFunc
	// room is how many spans may wait, or be on their way; pending is how many do.
	room    int64
	pending atomic.Int64

	exported, failed, dropped atomic.Uint64
	// saidAt is when the log said last that spans are lost, in nanoseconds.
	saidAt atomic.Int64
}

// lost says so in the log, once in a while.
func (c *counts) lost(why string, err error) {
	now, last := time.Now().UnixNano(), c.saidAt.Load()
	if now-last < int64(lossesSaid) || !c.saidAt.CompareAndSwap(last, now) {
		return
	}
	c.log.Warn("spans are lost", "why", why, "error", err, "failed", c.failed.Load(), "dropped", c.dropped.Load())
}

// gate drops spans for which there is no room, and counts them: the processor behind it
// would do so without a word.
type gate struct {
	sdktrace.SpanProcessor
	counts *counts
}

// OnEnd never waits.
func (g *gate) OnEnd(s sdktrace.ReadOnlySpan) {
	c := g.counts
	if !s.SpanContext().IsSampled() {
		return
	}
	if c.pending.Add(1) > c.room {
		c.pending.Add(-1)
		c.dropped.Add(1)
		c.lost("the collector does not take them as fast as they are made", nil)
		return
	}
	g.SpanProcessor.OnEnd(s)
}

// counted is an exporter whose failures end here: the SDK would tell a handler of the
// whole process.
type counted struct {
	sdktrace.SpanExporter
	counts *counts
}

func (e *counted) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	c, n := e.counts, len(spans)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	err := e.SpanExporter.ExportSpans(ctx, spans)
	c.pending.Add(-int64(n))
	if err != nil {
		c.failed.Add(uint64(n))
		c.lost("the collector does not take them", err)
		return nil
	}
	c.exported.Add(uint64(n))
	return nil
}
