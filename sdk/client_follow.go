package sdk

import (
	"context"
	"errors"
	"iter"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// streamMethod is a call of the service that streams its answer, as a method expression.
type streamMethod[Req, Res any] func(apiconnect.LimpetServiceClient, context.Context, *connect.Request[Req]) (*connect.ServerStreamForClient[Res], error)

// follow yields what a stream brings. One that breaks is gone on with at another server:
// next asks for what comes after the last, and fresh leaves out what came before.
func follow[Req, Res any](ctx context.Context, c *Client, m streamMethod[Req, Res], next func() *Req, fresh func(*Res) bool) iter.Seq2[*Res, error] {
	return func(yield func(*Res, error) bool) {
		retries := newRetryState(c)
		for {
			s := c.pick(retries.asked)
			served, err := followOnce(ctx, c, s, m, next(), fresh, yield)
			if err == nil || errors.Is(err, errLeft) {
				return
			}
			if served {
				retries = newRetryState(c)
			}
			if err := retries.failed(ctx, s, err); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// errLeft says that the caller left its loop.
var errLeft = errors.New("the loop was left")

// followOnce is one stream; nil when it has ended by itself. It was served if the server
// looked at the run, although there may have been nothing to tell of for hours.
func followOnce[Req, Res any](ctx context.Context, c *Client, s *server, m streamMethod[Req, Res], req *Req, fresh func(*Res) bool, yield func(*Res, error) bool) (served bool, err error) {
	if m, ok := any(req).(proto.Message); ok {
		if err := messages.CheckFields(m); err != nil {
			return false, err
		}
	}
	ctx, done := s.guard(ctx)
	defer done()
	stream, err := m(s.service, ctx, connect.NewRequest(req))
	if err != nil {
		return false, silentOr(ctx, err)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		c.prefer(s)
		if !fresh(stream.Msg()) {
			continue
		}
		served = true
		if !yield(stream.Msg(), nil) {
			return true, errLeft
		}
	}
	if err := stream.Err(); err != nil {
		return served || api.Served(stream.ResponseHeader()), silentOr(ctx, err)
	}
	c.prefer(s)
	return true, nil
}
