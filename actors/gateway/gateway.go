// Package gateway is the API of a server: LimpetService over the Connect
// protocol, gRPC and gRPC-Web on one port, with health checks beside it.
//
// Data flow: HTTP request → deadline of its body → guard (host, origin, token,
// size) → requests by hand → codec (shape, counts) → what the caller may → handler: check everything → Backend → answer. Errors of the catalogue become Connect
// errors with an ErrorDetail in one place, the interceptor.
//
// Invariants:
//
//	G1: nothing reaches the backend before the whole request has been checked.
//	G2: a call that starts runs is answered after they are durable.
//	G3: a request is accepted beyond loopback only with a token or the cluster's
//	    secret, and does what the tables of package access say, within its limits.
//	G4: no secret and no payload is logged, and no caller is told a path, an
//	    address or a database of the inside.
//	G5: a request costs at most four times RequestBytesMax of memory, and a
//	    connection whose request does not go on is ended.
//
// Imports only access, definitions, journal (filters, tokens), tracing, cluster/backoff, messages,
// messages/api and the Connect library.
package gateway

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// Limits of requests; each is named in the error that it causes.
const (
	// compressBytesMin is the smallest answer that is compressed.
	compressBytesMin = 64 << 10
	// pageSizeDefault is how many runs a page of a listing has.
	pageSizeDefault = 50
	// waitMax and waitDefault limit one WaitRun call.
	waitMax     = 5 * time.Minute
	waitDefault = 30 * time.Second
	// pollMax is the longest single poll of the backend.
	pollMax = 20 * time.Second
)

// Config of a gateway.
type Config struct {
	// Listen is the host:port of the API. Defaults to 127.0.0.1:7080; port 0
	// takes any free port.
	Listen string
	// Secret, if not empty, or a token is wanted as a bearer token in each call. Required
	// to listen beyond loopback.
	Secret string
	// Member returns why the server can route no calls, for /readyz: it has not
	// joined, or is leaving. nil: always ready.
	Member func() error
	// Journal returns why the journal is out of reach, for /readyz and for calls
	// that wait for it: they are told JOURNAL_UNAVAILABLE after 2 s. It is asked
	// at most once a second, for at most a second. nil: never out of reach.
	Journal func(context.Context) error
	// Times of what is stored. nil: they are those of the wall clock.
	Times Times
	// Metrics answers GET /metrics, for who may call the API; nil: there is none.
	Metrics http.Handler
	// Called is told of each call that has ended, by the name of its method; the
	// code is empty for success. nil: nobody is.
	Called func(method string, code messages.Code, took time.Duration)
	// Pages returns the handler of PagesPath and what is below it, which takes all
	// that it shows from the API by the client; nil: there is none. Who may see them
	// is for it to say: it gets requests for this server from no other web page, with
	// or without the secret. Its streams end when stopping does, for Server.Stop waits
	// for them.
	// Each call of the client says by its context who it is for (access.With): the doors
	// say who that may be.
	Pages func(stopping context.Context, client apiconnect.LimpetServiceClient, doors access.Doors) http.Handler
	// ID of the server, for the audit log.
	ID string
	// Access has the tokens of callers and the audit log. nil: there are none, only the
	// secret.
	Access journal.AccessStore
	// Tracer makes spans of calls that start runs; nil: none. The caller's span is kept
	// either way.
	Tracer trace.Tracer
	// Logger gets internal errors and panics. Defaults to slog.Default().
	Logger *slog.Logger

	// bodyStall is bodyStallMax, and auditApart is gatherFor, but for tests.
	bodyStall, auditApart time.Duration
}

// PagesPath is where the pages for people are.
const PagesPath = "/ui/"

const metricsRoute = "GET /metrics"

// gateway implements apiconnect.LimpetServiceHandler.
type gateway struct {
	backend Backend
	config  Config
	doors   *doors
	audit   *audit
	// journal is nil if it cannot be asked for.
	journal *probe
	// notReady is why the server is to get no new calls; nil while it is.
	notReady atomic.Pointer[string]
	// stopping ends long polls, so that a stop need not wait for them.
	stopping context.Context
}

var _ apiconnect.LimpetServiceHandler = (*gateway)(nil)

// fastGzip costs a third of gzip's default level: what a long answer is made of repeats.
func fastGzip() connect.Compressor {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	return w
}

// handler returns all routes. local says that only this machine can connect.
func (g *gateway) handler(local bool, address string) http.Handler {
	path, service := apiconnect.NewLimpetServiceHandler(g,
		connect.WithInterceptors(outcomes{}, refused{}, coded{g}, audited{g.audit}, traced{g.config.Tracer}, permitted{g}, wallTime{g.config.Times}),
		connect.WithRecover(g.recovered),
		connect.WithReadMaxBytes(messages.RequestBytesMax),
		// Preparing gzip costs more than the rest of a small answer.
		connect.WithCompressMinBytes(compressBytesMin),
		connect.WithCompression("gzip", func() connect.Decompressor { return new(gzip.Reader) }, fastGzip),
		codecs(),
	)
	routes := http.NewServeMux()
	routes.Handle(path, counted(g.config.Called, path, newGuard(g.doors, g.audit, "", local, address, handwritten{service, path})))
	routes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		alive := map[string]any{"alive": true}
		if g.config.Times != nil {
			alive["clock_steps"] = g.config.Times.Steps()
		}
		writeJSON(w, http.StatusOK, alive)
	})
	routes.HandleFunc("GET /readyz", g.serveReady)
	if g.config.Pages != nil {
		pages := g.config.Pages(g.stopping, apiconnect.NewLimpetServiceClient(inProcess{service}, "http://this.server"), auditedDoors{g.doors, g.audit})
		routes.Handle(PagesPath, newGuard(nil, nil, "", local, address, pages))
	}
	if g.config.Metrics != nil {
		routes.Handle(metricsRoute, newGuard(g.doors, g.audit, metricsRoute, local, address, g.config.Metrics))
	}
	return bodyDeadline(g.config.bodyStall, routes)
}

// recovered turns a panic of a handler into INTERNAL.
func (g *gateway) recovered(_ context.Context, spec connect.Spec, _ http.Header, value any) error {
	g.config.Logger.Error("panic in the API", "procedure", spec.Procedure, "panic", value, "stack", string(debug.Stack()))
	return api.ToConnect(messages.Errorf(messages.CodeInternal, "the handler of %s panicked; the server's log has the stack", spec.Procedure))
}

// untilStop returns a context that also ends when the server stops.
func (g *gateway) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.stopping, func() { cancel(errStopping) })
	return ctx, func() { stop(); cancel(nil) }
}

var errStopping = messages.Errorf(messages.CodeUnavailable, "the server is stopping")

// coded is the interceptor that turns errors into those of Connect, and answers
// for a journal that is out of reach.
type coded struct{ gateway *gateway }

func (c coded) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		switch procedure := req.Spec().Procedure; procedure {
		case apiconnect.LimpetServiceWaitRunProcedure:
			// It waits anyway.
		case apiconnect.LimpetServiceListMembersProcedure, apiconnect.LimpetServiceListWorkersProcedure,
			apiconnect.LimpetServiceGetWorkerProcedure, apiconnect.LimpetServiceDrainWorkerProcedure,
			apiconnect.LimpetServiceUndrainWorkerProcedure:
			// What can be said and done without the journal is.
			var done context.CancelFunc
			ctx, done = c.gateway.whileJournal(ctx)
			defer done()
		default:
			if c.gateway.journal.outOfReach(ctx) {
				return nil, api.ToConnect(errJournal)
			}
			var done context.CancelFunc
			ctx, done = c.gateway.whileJournal(ctx)
			defer done()
		}
		resp, err := next(ctx, req)
		if err != nil {
			return nil, c.convert(ctx, req.Spec(), err)
		}
		return resp, nil
	}
}

func (c coded) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := next(ctx, conn); err != nil {
			return c.convert(ctx, conn.Spec(), err)
		}
		return nil
	}
}

func (c coded) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (c coded) convert(ctx context.Context, spec connect.Spec, err error) error {
	if cause := context.Cause(ctx); cause != nil && (errors.Is(err, context.Canceled) || errors.Is(cause, errJournal)) {
		err = cause
	}
	return api.ToConnect(c.gateway.discreet(spec.Procedure, err))
}
