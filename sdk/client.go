package sdk

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

const (
	// tryAgainFirst and tryAgainMost bound the jittered wait between tries.
	tryAgainFirst = 20 * time.Millisecond
	tryAgainMost  = time.Second
	// tryTimeout ends one try of a call that is sent again, so that a server
	// that froze does not hold it. Waits and streams are longer by nature.
	tryTimeout = 10 * time.Second
)

// ClientConfig says which cluster a Client talks to.
type ClientConfig struct {
	// Address of the API of one server: "host:port", or a URL for https.
	Address string
	// Addresses of further servers, to go to when one does not answer.
	Addresses []string
	// Secret of the cluster; empty for none. Sent with every call, so use https
	// beyond machines and networks that you trust.
	Secret string
	// RetryFor is how long calls that may be sent again are, while no server
	// answers. Defaults to 30 s; Never (or any other negative value) sends
	// each call once.
	RetryFor time.Duration
	// HTTPClient defaults to one that keeps up to 256 connections open. Its
	// Timeout must be 0 or above 5 min, for waiting calls take long.
	HTTPClient connect.HTTPClient
}

// Client talks to the API of a cluster. It may be used concurrently and needs
// no closing.
//
// Calls that change nothing, or the same thing twice to the same effect, are
// sent again, to the next address in turn, while a server cannot be reached:
// all but Start without an idempotency key, which is sent again only if it
// surely did not arrive.
type Client struct {
	services []apiconnect.LimpetServiceClient
	// current indexes services: the one that answered last.
	current  atomic.Int64
	retryFor time.Duration
}

// NewClient makes a client; it does not connect yet. The error is
// INVALID_ARGUMENT and names every fault.
func NewClient(config ClientConfig) (*Client, error) {
	c := &Client{retryFor: config.RetryFor}
	if c.retryFor == 0 {
		c.retryFor = 30 * time.Second
	}
	httpClient := config.HTTPClient
	if httpClient == nil {
		httpClient = defaultHTTPClient()
	}
	addresses := config.Addresses
	if config.Address != "" || len(addresses) == 0 {
		addresses = append([]string{config.Address}, addresses...)
	}
	var faults []error
	for _, address := range addresses {
		base, err := baseURL(address)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		c.services = append(c.services, apiconnect.NewLimpetServiceClient(httpClient, base,
			connect.WithInterceptors(bearer(config.Secret)), connect.WithSendGzip(), connect.WithCompressMinBytes(64<<10)))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "%w", err)
	}
	return c, nil
}

func defaultHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 256
	transport.MaxIdleConnsPerHost = 256
	transport.DialContext = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	return &http.Client{Transport: transport}
}

func baseURL(address string) (string, error) {
	if !strings.Contains(address, "://") {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return "", messages.Errorf(messages.CodeInvalidArgument, "API address %q is not host:port: %w", address, err)
		}
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", messages.Errorf(messages.CodeInvalidArgument, "API address %q is neither host:port nor a URL of http or https", address)
	}
	return u.String(), nil
}

// bearer adds the cluster's secret to every call.
type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		b.sign(req.Header())
		return next(ctx, req)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		b.sign(conn.RequestHeader())
		return conn
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (b bearer) sign(h http.Header) {
	if b != "" {
		h.Set("Authorization", "Bearer "+string(b))
	}
}

// repeat says when a call may be sent again.
type repeat int

const (
	// repeatUnsent: only if it did not reach a server.
	repeatUnsent repeat = iota
	// repeatAlways: it may arrive twice.
	repeatAlways
)

// method is a unary call of the service, as a method expression.
type method[Req, Res any] func(apiconnect.LimpetServiceClient, context.Context, *connect.Request[Req]) (*connect.Response[Res], error)

// call sends a request until it is answered, refused, or out of time: tries are
// made for RetryFor from the first failure on. A timeout of 0 leaves one try to
// ctx alone.
func call[Req, Res any](ctx context.Context, c *Client, again repeat, timeout time.Duration, m method[Req, Res], req *Req) (*Res, error) {
	var failingSince time.Time
	wait := tryAgainFirst
	for {
		at := c.current.Load()
		res, err := try(ctx, c.services[at], timeout, m, req)
		if err == nil {
			return res, nil
		}
		if ctx.Err() != nil || !mayRepeat(err, again) {
			return nil, api.FromConnect(err)
		}
		if failingSince.IsZero() {
			failingSince = time.Now()
		}
		if time.Since(failingSince)+wait > c.retryFor {
			return nil, api.FromConnect(err)
		}
		c.current.CompareAndSwap(at, (at+1)%int64(len(c.services)))
		if !pause(ctx, wait) {
			return nil, api.FromConnect(err)
		}
		wait = min(2*wait, tryAgainMost)
	}
}

func try[Req, Res any](ctx context.Context, s apiconnect.LimpetServiceClient, timeout time.Duration, m method[Req, Res], req *Req) (*Res, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	res, err := m(s, ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// mayRepeat says whether a call that ended with the error may be sent again.
func mayRepeat(err error, again repeat) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	if again != repeatAlways {
		return false
	}
	switch messages.CodeOf(api.FromConnect(err)) {
	case messages.CodeUnavailable, messages.CodeJournalUnavailable, messages.CodeJournalConflict, messages.CodeDeadline:
		return true
	}
	return false
}

// pause waits for half to all of d; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
