package coded

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/sdk/codec"
)

// Interceptor encodes what a client sends and decodes what it gets. A payload that it
// cannot decode, of a run of somebody else for example, stays as it is: whoever wants
// its value is told so.
func Interceptor(c codec.Codec) connect.Interceptor { return interceptor{c} }

type interceptor struct{ codec codec.Codec }

func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if m, ok := req.Any().(proto.Message); ok {
			// The request is the caller's, who may send it again: it is as it was afterwards.
			plain := proto.Clone(m)
			if err := i.seal(m); err != nil {
				return nil, err
			}
			defer func() { proto.Reset(m); proto.Merge(m, plain) }()
		}
		response, err := next(ctx, req)
		if err == nil {
			i.open(response.Any())
		}
		return response, err
	}
}

func (i interceptor) seal(m proto.Message) error {
	return eachPayload(m.ProtoReflect(), func(payload []byte) ([]byte, error) { return codec.Seal(i.codec, payload) })
}

func (i interceptor) open(m any) {
	if m, ok := m.(proto.Message); ok {
		_ = eachPayload(m.ProtoReflect(), func(payload []byte) ([]byte, error) {
			if plain, err := codec.Open(i.codec, payload); err == nil {
				return plain, nil
			}
			return payload, nil
		})
	}
}

func (i interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		return &stream{next(ctx, spec), i}
	}
}

func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

type stream struct {
	connect.StreamingClientConn
	interceptor interceptor
}

func (s *stream) Receive(m any) error {
	err := s.StreamingClientConn.Receive(m)
	if err == nil {
		s.interceptor.open(m)
	}
	return err
}
