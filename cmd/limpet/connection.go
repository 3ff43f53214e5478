package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// callTimeout limits calls that answer at once.
const callTimeout = 30 * time.Second

// connection is the API of a server.
type connection struct {
	apiconnect.LimpetServiceClient
	address string
}

// connect returns the API at --address; it does not connect yet.
func (c *cli) connect() (*connection, error) {
	base := strings.TrimRight(c.address, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "--address %q is neither host:port nor an http URL", c.address)
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}
	return &connection{apiconnect.NewLimpetServiceClient(client, base, connect.WithInterceptors(bearer(c.secret))), c.address}, nil
}

// bearer sends the secret of the cluster with each call.
type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		b.set(req.Header())
		return next(ctx, req)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		b.set(conn.RequestHeader())
		return conn
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (b bearer) set(h http.Header) {
	if b != "" {
		h.Set("Authorization", "Bearer "+string(b))
	}
}

// call makes one call with a limit on its time and returns the answer, or an
// error of the catalogue.
func call[Req, Resp any](ctx context.Context, conn *connection, method func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error), req *Req) (*Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := method(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, conn.explain(err)
	}
	return resp.Msg, nil
}

// explain turns an error of a call into one of the catalogue; that nobody
// listens gets a hint of its own.
func (conn *connection) explain(err error) error {
	var dial *net.OpError
	coded := api.FromConnect(err)
	if errors.As(err, &dial) && dial.Op == "dial" {
		coded = messages.Errorf(messages.CodeUnavailable, "no server answers at %s: %w", conn.address, dial.Err)
		return &hinted{coded, "`limpet dev` starts a server here; --address or LIMPET_ADDRESS names another one"}
	}
	return coded
}

// again says whether a broken call is worth another try.
func again(err error) bool {
	code := messages.CodeOf(err)
	return code == messages.CodeUnavailable || code == messages.CodeJournalUnavailable
}

// pause waits before the next try; it returns the context's error if that ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, ", ")
}
