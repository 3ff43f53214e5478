package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// outcome is with what a call has ended. It is INVALID_ARGUMENT, for a request
// that cannot be read, until somebody says otherwise.
type outcome struct{ code messages.Code }

type outcomeKey struct{}

// noteOutcome says with what a call ends; nil for success.
func noteOutcome(ctx context.Context, err error) {
	if o, ok := ctx.Value(outcomeKey{}).(*outcome); ok {
		o.code = messages.CodeOf(api.FromConnect(err))
	}
}

// counted tells called of each call of a method that there is, however it ends.
func counted(called func(method string, code messages.Code, took time.Duration), prefix string, next http.Handler) http.Handler {
	if called == nil {
		return next
	}
	methods := api.File_api_api_proto.Services().ByName("LimpetService").Methods()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := strings.TrimPrefix(r.URL.Path, prefix)
		if methods.ByName(protoreflect.Name(method)) == nil {
			next.ServeHTTP(w, r)
			return
		}
		o, began := &outcome{messages.CodeInvalidArgument}, time.Now()
		defer func() { called(method, o.code, time.Since(began)) }()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), outcomeKey{}, o)))
	})
}

// outcomes is the interceptor that notes how calls end which could be read.
type outcomes struct{}

func (outcomes) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, req)
		noteOutcome(ctx, err)
		return resp, err
	}
}

func (outcomes) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		noteOutcome(ctx, err)
		return err
	}
}

func (outcomes) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
