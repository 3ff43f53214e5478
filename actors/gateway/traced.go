package gateway

import (
	"context"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// spanNames are of the calls that start runs; others are no part of a run's trace.
var spanNames = map[string]string{
	apiconnect.LimpetServiceStartRunProcedure:  "StartRun",
	apiconnect.LimpetServiceStartRunsProcedure: "StartRuns",
	apiconnect.LimpetServicePushEventProcedure: "PushEvent",
}

// traced is the interceptor that takes the caller's span from the header, and makes one
// of the call if the server makes any.
type traced struct{ tracer trace.Tracer }

func (t traced) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		name, starts := spanNames[req.Spec().Procedure]
		if !starts {
			return next(ctx, req)
		}
		if given := req.Header().Get("traceparent"); given != "" {
			ctx = tracing.Remote(ctx, given)
		}
		if t.tracer == nil {
			return next(ctx, req)
		}
		ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		resp, err := next(ctx, req)
		if err != nil {
			tracing.Fail(span, string(messages.CodeOf(err)))
		}
		return resp, err
	}
}

func (t traced) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (t traced) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
