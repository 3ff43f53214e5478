package sdk

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// callOptions say how a call is made.
type callOptions struct {
	// tryTimeout limits one try; 0 leaves it to the call's context.
	tryTimeout time.Duration
	// resent, if not nil, is set when the call is sent again although an earlier
	// try may have arrived.
	resent *bool
}

// method is a unary call of the service, as a method expression.
type method[Req, Res any] func(apiconnect.LimpetServiceClient, context.Context, *connect.Request[Req]) (*connect.Response[Res], error)

// call sends a request until it is answered, refused, or out of time.
func call[Req, Res any](ctx context.Context, c *Client, options callOptions, m method[Req, Res], req *Req) (*Res, error) {
	if m, ok := any(req).(proto.Message); ok {
		if err := messages.CheckFields(m); err != nil {
			return nil, err
		}
	}
	retries := newRetryState(c)
	for {
		s := c.pick(retries.asked)
		res, err := try(ctx, s, options, m, req)
		if err == nil {
			c.prefer(s)
			return res, nil
		}
		if err := retries.failed(ctx, s, err); err != nil {
			return nil, err
		}
		if options.resent != nil && !unsent(err) {
			*options.resent = true
		}
	}
}

func try[Req, Res any](ctx context.Context, s *server, options callOptions, m method[Req, Res], req *Req) (*Res, error) {
	if options.tryTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, options.tryTimeout)
		defer cancel()
	}
	ctx, done := s.guard(ctx)
	defer done()
	request := connect.NewRequest(req)
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(request.Header()))
	}
	res, err := m(s.service, ctx, request)
	if err != nil {
		return nil, silentOr(ctx, err)
	}
	return res.Msg, nil
}

// silentOr is errSilent if that ended the call, else err.
func silentOr(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}

// pick chooses the server of the next try. The first of these that there is:
//   - the one that answered last, unless it was asked already or is left alone;
//   - any other that was not asked and is not left alone;
//   - of those not asked, the one that is left alone for the shortest time;
//   - the one that answered last.
func (c *Client) pick(asked []*server) *server {
	current := c.servers[c.current.Load()]
	now := time.Now()
	if len(c.servers) == 1 || !slices.Contains(asked, current) && !current.avoidedUntil().After(now) {
		return current
	}
	var best *server
	var bestUntil time.Time
	// The order is drawn each time: the clients of a server that failed spread
	// over the others.
	for _, i := range rand.Perm(len(c.servers)) {
		s := c.servers[i]
		if slices.Contains(asked, s) {
			continue
		}
		until := s.avoidedUntil()
		if !until.After(now) {
			return s
		}
		if best == nil || until.Before(bestUntil) {
			best, bestUntil = s, until
		}
	}
	if best == nil {
		return current
	}
	return best
}

// prefer has further calls go to a server that has answered.
func (c *Client) prefer(s *server) {
	s.answered(true)
	if !c.reached.Load() {
		c.reached.Store(true)
	}
	current := c.current.Load()
	if c.servers[current] == s {
		return
	}
	for i := range c.servers {
		if c.servers[i] == s {
			c.current.CompareAndSwap(current, int64(i))
		}
	}
}
