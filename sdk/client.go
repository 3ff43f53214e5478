package sdk

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/codec"
	"github.com/limpetrun/limpet/sdk/internal/coded"
)

const (
	// tryTimeout ends one try of a call that is sent again, so that a server
	// that is stuck does not hold it. Waits and streams are longer by nature.
	tryTimeout = 10 * time.Second
	// connectForDefault is the default of ClientConfig.ConnectFor.
	connectForDefault = 30 * time.Second
	// tokenVariable holds the token of a client that is given none.
	tokenVariable = "LIMPET_TOKEN"
)

// ClientConfig says which cluster a Client talks to.
type ClientConfig struct {
	// Address of the API of one server: "host:port", or a URL for https; or of
	// several, with commas between them.
	Address string
	// Addresses of further servers. Which of all is gone to first is drawn.
	Addresses []string
	// Token for the API, as `limpet token create` shows it; empty for none, or for
	// LIMPET_TOKEN of the environment if Secret is empty, too. Sent with every call, so
	// use https beyond machines and networks that you trust.
	Token string
	// Secret of the cluster, which may do everything; empty for none. Not sent if there
	// is a Token.
	Secret string
	// RetryFor is how long a call is sent again, from its first failure on.
	// Defaults to as long as the call's context lasts. Never, or any other
	// negative value, sends each call once; each address is asked once for a
	// connection.
	RetryFor time.Duration
	// ConnectFor is RetryFor until a server has answered this client for the
	// first time: a wrong address is not tried for ever. Defaults to RetryFor
	// if that is set, else to 30 s. Never asks each address once.
	ConnectFor time.Duration
	// OnRetry, if not nil, is told of each failed try before the next one. It
	// is called on the goroutine of the call and must not block.
	OnRetry func(Retry)
	// Codec encodes the payloads that the client sends and decodes those that it gets;
	// nil for none. One that it cannot decode stays as it is, and is ErrCodecFailed
	// where its value is wanted.
	Codec codec.Codec
	// HTTPClient defaults to one that keeps up to 256 connections open. Its
	// Timeout must be 0 or above 5 min, for waiting calls take long.
	HTTPClient connect.HTTPClient
}

// Retry tells of a try that failed and is followed by another one.
type Retry struct {
	// Address of the server that the try went to.
	Address string
	// Err is an error of the catalogue.
	Err error
	// Wait before the next try; 0 if another server is asked at once.
	Wait time.Duration
}

// Client talks to the API of a cluster. It may be used concurrently and needs
// no closing.
//
// A call goes to the server that answered last. It is sent again while a server
// cannot be reached, stops, is stuck or has lost its journal:
//   - first to the other addresses, at once;
//   - then to all of them after a pause, which grows to 1 s; a server may ask
//     for a longer one.
//
// A server that failed is left alone for up to 10 s if there is another one. A
// call that arrives twice does its work once: starts carry the id of their run,
// events and replays carry an id of their own.
type Client struct {
	servers    []*server
	retryFor   time.Duration
	connectFor time.Duration
	onRetry    func(Retry)
	// current indexes servers: the one that answered last.
	current atomic.Int64
	// reached says that a server has answered.
	reached atomic.Bool
}

// NewClient makes a client; it does not connect yet. The error is
// INVALID_ARGUMENT and names every fault.
func NewClient(config ClientConfig) (*Client, error) {
	c := &Client{retryFor: config.RetryFor, connectFor: config.ConnectFor, onRetry: config.OnRetry}
	if c.connectFor == 0 {
		c.connectFor = cmp.Or(config.RetryFor, connectForDefault)
	}
	httpClient := config.HTTPClient
	if httpClient == nil {
		httpClient = defaultHTTPClient()
	}
	addresses := config.Addresses
	if config.Address != "" || len(addresses) == 0 {
		addresses = append(strings.Split(config.Address, ","), addresses...)
	}
	var faults []string
	seen := make(map[string]bool)
	for _, address := range addresses {
		base, err := baseURL(strings.TrimSpace(address))
		if err != nil {
			faults = append(faults, messageOf(err))
			continue
		}
		if !seen[base] {
			seen[base] = true
			c.servers = append(c.servers, newServer(strings.TrimSpace(address), base, config.options(), httpClient))
		}
	}
	if len(faults) > 0 {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "%s", strings.Join(faults, "; "))
	}
	patience := pingPatience
	if len(c.servers) == 1 {
		patience = pingPatienceAlone
	}
	for _, s := range c.servers {
		s.patience = patience
	}
	c.current.Store(rand.Int64N(int64(len(c.servers))))
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
	return strings.TrimRight(u.String(), "/"), nil
}

// options are those of every connection.
func (c *ClientConfig) options() []connect.ClientOption {
	interceptors := []connect.Interceptor{bearer(cmp.Or(c.Token, c.Secret, os.Getenv(tokenVariable)))}
	if c.Codec != nil {
		interceptors = append(interceptors, coded.Interceptor(c.Codec))
	}
	return []connect.ClientOption{connect.WithInterceptors(interceptors...), connect.WithSendGzip(), connect.WithCompressMinBytes(64 << 10)}
}

// bearer adds the token, or the cluster's secret, to every call.
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
