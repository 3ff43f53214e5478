package gateway

import (
	"context"
	"path"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/messages"
)

// permitted is the interceptor that asks of each call whether its caller may make it: by
// the table, then by what it is to be done to.
type permitted struct{ gateway *gateway }

// may returns who calls, if the procedure is for such a caller.
func (p permitted) may(ctx context.Context, spec connect.Spec) (access.Caller, error) {
	caller, ok := access.From(ctx)
	if !ok {
		return caller, messages.Errorf(messages.CodeUnauthenticated, "nobody has said who calls")
	}
	name := path.Base(spec.Procedure)
	if refused := caller.Refused(name, access.Procedures[name]); refused != nil {
		return caller, refused
	}
	return caller, nil
}

func (p permitted) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		caller, err := p.may(ctx, req.Spec())
		if err == nil && caller.Limited() {
			err = p.gateway.within(ctx, caller.View, req.Any())
		}
		if err != nil {
			return nil, err
		}
		resp, err := next(ctx, req)
		if err != nil {
			return nil, err
		}
		answer, _ := resp.Any().(proto.Message)
		if caller.Limited() {
			if err := leaveOut(caller.View, answer); err != nil {
				return nil, err
			}
		}
		if caller.HidePayloads {
			kept := hidden(answer)
			proto.Reset(answer) // what was in it may be shared
			proto.Merge(answer, kept)
		}
		return resp, nil
	}
}

func (p permitted) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		caller, err := p.may(ctx, conn.Spec())
		if err != nil {
			return err
		}
		if caller.Limited() || caller.HidePayloads {
			conn = limitedConn{conn, ctx, p.gateway, caller.View}
		}
		return next(ctx, conn)
	}
}

func (p permitted) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// limitedConn is a stream to a caller who may not see everything.
type limitedConn struct {
	connect.StreamingHandlerConn
	ctx     context.Context
	gateway *gateway
	view    access.View
}

// Receive refuses a request for what is not within the limits.
func (c limitedConn) Receive(m any) error {
	err := c.StreamingHandlerConn.Receive(m)
	if err == nil && c.view.Limited() {
		err = c.gateway.within(c.ctx, c.view, m)
	}
	return err
}

func (c limitedConn) Send(m any) error {
	if answer, ok := m.(proto.Message); ok && c.view.HidePayloads {
		m = hidden(answer)
	}
	return c.StreamingHandlerConn.Send(m)
}
