package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// jsonCodec is Connect's JSON with one courtesy: inputs and payloads, which
// protobuf wants as base64 in a string, may also stand in the request as the
// JSON that they are, unless that is a string itself. Generated clients notice
// no difference, and a request can be written by hand:
//
//	curl -H 'Content-Type: application/json' -d '{"workflow":"ask","input":{"dir":"/src"}}' \
//	    http://127.0.0.1:7080/limpet.api.v1.LimpetService/StartRun
type jsonCodec struct{ name string }

var _ connect.Codec = jsonCodec{}

// jsonCodecs are the two names that Connect has for JSON.
func jsonCodecs() connect.HandlerOption {
	return connect.WithHandlerOptions(
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
	)
}

func (c jsonCodec) Name() string { return c.name }

func (c jsonCodec) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, messages.Errorf(messages.CodeInternal, "%T is not a message", message)
	}
	return protojson.Marshal(m)
}

func (c jsonCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return messages.Errorf(messages.CodeInternal, "%T is not a message", message)
	}
	switch m.(type) {
	case *api.StartRunRequest:
		data = packField(data, "input")
	case *api.PushEventRequest:
		data = packField(data, "payload")
	case *api.StartRunsRequest:
		data = replaceField(data, "runs", func(runs json.RawMessage) json.RawMessage {
			var all []json.RawMessage
			if json.Unmarshal(runs, &all) != nil {
				return runs
			}
			for i := range all {
				all[i] = packField(all[i], "input")
			}
			return marshalled(all, runs)
		})
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
}

// packField writes a field that is JSON, but not a string, in base64. null is
// the absence of the field to protobuf, and the input null to the gateway.
func packField(object json.RawMessage, name string) json.RawMessage {
	return replaceField(object, name, func(value json.RawMessage) json.RawMessage {
		value = bytes.TrimSpace(value)
		if len(value) == 0 || value[0] == '"' || string(value) == "null" {
			return value
		}
		return marshalled(base64.StdEncoding.EncodeToString(value), value)
	})
}

// replaceField changes a field of an object. What is no object, or has no such
// field, stays as it is: protojson then says what is wrong with it.
func replaceField(object json.RawMessage, name string, change func(json.RawMessage) json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil {
		return object
	}
	value, ok := fields[name]
	if !ok {
		return object
	}
	fields[name] = change(value)
	return marshalled(fields, object)
}

func marshalled(v any, otherwise json.RawMessage) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		return otherwise
	}
	return data
}
