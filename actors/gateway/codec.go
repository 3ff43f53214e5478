package gateway

import (
	"context"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// codecs read requests of both encodings. Each checks the shape of a request,
// and counts what is in it, before it makes any message: what is refused costs
// no more than its bytes.
func codecs() connect.HandlerOption {
	return connect.WithHandlerOptions(
		connect.WithCodec(protoCodec{}),
		// The two names that Connect has for JSON.
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithCodec(jsonCodec{readableJSON}),
	)
}

// protoCodec is Connect's, with the check before it.
type protoCodec struct{}

func (protoCodec) Name() string { return "proto" }

func (protoCodec) Marshal(message any) ([]byte, error) {
	return protoCodec{}.MarshalAppend(nil, message)
}

// MarshalAppend is what Connect asks for to use its buffers again.
func (protoCodec) MarshalAppend(to []byte, message any) ([]byte, error) {
	m, err := messageOfAPI(message)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{}.MarshalAppend(to, m)
}

func (protoCodec) Unmarshal(data []byte, message any) error {
	m, err := messageOfAPI(message)
	if err != nil {
		return err
	}
	if err := countWire(data, m.ProtoReflect().Descriptor()); err != nil {
		refuse(m, err)
		return nil
	}
	if err := proto.Unmarshal(data, m); err != nil {
		refuse(m, messages.Errorf(messages.CodeInvalidArgument, "the request is no %s: %w", m.ProtoReflect().Descriptor().Name(), err))
	}
	return nil
}

// jsonCodec is Connect's JSON with two differences. A field that is not known is
// refused. And inputs and payloads, which protobuf wants as base64 in a string,
// may also stand in the request as the JSON that they are, unless that is a
// string itself: that is base64. If the codec is named readableJSON a string is one
// there, too, and in the answer all are as they are. Generated clients notice no
// difference, and a request can be written by hand:
//
//	curl -H 'Content-Type: application/json' -d '{"workflow":"ask","input":{"dir":"/src"}}' \
//	    http://127.0.0.1:7080/limpet.api.v1.LimpetService/StartRun
type jsonCodec struct{ name string }

var _ connect.Codec = jsonCodec{}

func (c jsonCodec) Name() string { return c.name }

func (c jsonCodec) Marshal(message any) ([]byte, error) {
	m, err := messageOfAPI(message)
	if err != nil {
		return nil, err
	}
	answer, err := protojson.Marshal(m)
	if err == nil && c.name == readableJSON {
		answer = readable(answer, m.ProtoReflect().Descriptor())
	}
	return answer, err
}

func (c jsonCodec) Unmarshal(data []byte, message any) error {
	m, err := messageOfAPI(message)
	if err != nil {
		return err
	}
	if err := decodeJSON(data, m, c.name == readableJSON); err != nil {
		refuse(m, err)
	}
	return nil
}

func decodeJSON(data []byte, m proto.Message, asItIs bool) error {
	shape, err := shapeOf(data, m.ProtoReflect().Descriptor(), asItIs)
	if err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(shape.withoutPayloads(), m); err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "the request is no %s: %s", m.ProtoReflect().Descriptor().Name(), shape.placed(err.Error()))
	}
	shape.putPayloads(m)
	return nil
}

func messageOfAPI(message any) (proto.Message, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, messages.Errorf(messages.CodeInternal, "%T is not a message", message)
	}
	return m, nil
}

// refusalField holds, among the fields of a request that are not known, why the
// request is refused: Connect would give each error of a codec one code, and
// lose its details. The interceptor finds it.
const refusalField = protowire.MaxValidNumber

func refuse(m proto.Message, err error) {
	proto.Reset(m)
	text := string(messages.CodeOf(err)) + " " + strings.ToValidUTF8(messageOf(err), "\uFFFD")
	unknown := protowire.AppendTag(nil, refusalField, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendString(unknown, text))
}

// refusal returns why a request is refused; nil for one that is not.
func refusal(message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return nil
	}
	for rest := []byte(m.ProtoReflect().GetUnknown()); len(rest) > 0; {
		field, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(field, kind, rest[n:])
		if size < 0 {
			return nil
		}
		if field == refusalField && kind == protowire.BytesType {
			text, _ := protowire.ConsumeString(rest[n:])
			code, why, _ := strings.Cut(text, " ")
			return messages.Errorf(messages.Code(code), "%s", why)
		}
		rest = rest[n+size:]
	}
	return nil
}

// refusing is a connection whose requests are checked for a refusal.
type refusing struct{ connect.StreamingHandlerConn }

func (r refusing) Receive(message any) error {
	if err := r.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	if err := refusal(message); err != nil {
		return api.ToConnect(err)
	}
	return nil
}

// refused is the interceptor for requests that the codecs refuse.
type refused struct{}

func (refused) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := refusal(req.Any()); err != nil {
			return nil, api.ToConnect(err)
		}
		return next(ctx, req)
	}
}

func (refused) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error { return next(ctx, refusing{conn}) }
}

func (refused) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
