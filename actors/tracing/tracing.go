// Package tracing makes the spans of runs, with OpenTelemetry.
//
// Data flow: environment → Provider; a call of the API, with the caller's header →
// span of the call → traceparent of RunStarted; entries that are durable → spans of
// the run, of placement and of attempts; Dispatch → span of the step at its worker →
// batches → OTLP. The tree:
//
//	the caller's span
//	└ StartRun                    server, kind server
//	  └ run WORKFLOW              server, made when the run ends
//	    ├ placement of STEP       server, made when the attempt is sent: since it was ready
//	    └ attempt of STEP         server, made when the attempt ends; linked to the one before
//	      ├ STEP                  worker, kind consumer; what the function makes nests here
//	      │ └ do NAME             worker, each time that the function of the call is called
//	      └ run CHILD             of a child that the attempt spawned
//
// Rules:
//
//	T1: whether a run is traced is decided once, at its start, and kept in its history:
//	    by the sampler of the server, or by the caller. Workers decide nothing.
//	T2: ids of spans that others refer to follow from the run (messages.AttemptSpan): a
//	    server that takes a run over goes on with its trace.
//	T3: a span holds names, ids, numbers and codes of ours: no payload, no text of a
//	    user's error.
//	T4: spans never hold anybody up. What the collector does not take in time is dropped,
//	    and counted.
//	T5: without a trace nothing is allocated and nothing is asked.
//
// The exporters are OpenTelemetry's own. Its autoexport, which reads the same variables,
// links the exporters of metrics and logs too, which have no use here. Its baggage and
// tracestate are not kept.
//
// Imports run, messages and the OpenTelemetry SDK.
package tracing

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name of the tracer.
const Scope = "limpet"

const header = "traceparent"

// Remote is ctx with the span that a traceparent names; ctx itself if it names none.
func Remote(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{header: traceparent})
}

// Traceparent of the span in ctx; empty if there is none.
func Traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[header]
}
