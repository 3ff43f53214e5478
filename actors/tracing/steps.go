package tracing

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpetrun/limpet/messages"
)

// Steps makes the spans of steps at their worker. Without a tracer, what a step makes
// itself still has the attempt as its parent.
type Steps struct{ Tracer trace.Tracer }

// Began returns the context for the function of an attempt, and what to call when it has
// returned.
func (s Steps) Began(ctx context.Context, d *messages.Dispatch, workerID string) (context.Context, func(*messages.Failure)) {
	if d.Traceparent == "" {
		return ctx, nothing
	}
	ctx = Remote(ctx, d.Traceparent)
	if s.Tracer == nil {
		return ctx, nothing
	}
	ctx, span := s.Tracer.Start(ctx, d.Step, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		keyRun.String(d.RunId), keyWorkflow.String(d.Workflow), keyStep.String(d.Step), keyAttempt.Int(int(d.Attempt)), keyWorker.String(workerID)))
	return ctx, func(f *messages.Failure) {
		if f != nil && f.Code != string(messages.CodeSuspended) {
			Fail(span, f.Code)
		}
		span.End()
	}
}

func nothing(*messages.Failure) {}
