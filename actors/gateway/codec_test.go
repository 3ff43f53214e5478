package gateway

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// FuzzJSONCodec: what protobuf's own JSON accepts means the same here.
func FuzzJSONCodec(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"workflow":"a","input":"e30="}`, `{"workflow":"a","input":{"b":[1,2.50,"é"]}}`, `{"input":null}`,
		`{"runs":[{"workflow":"a","input":"e30="},{"input":7}]}`, `{"runs":{}}`, `{"runs":[7,null]}`, `{"runs":null}`,
		`{"key":"k","payload":"e30","metadata":{"a":"b"}}`, `[]`, `{"input":`, `{"input":"?"}`, "{\"\xff\":1}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, empty := range []proto.Message{&api.StartRunRequest{}, &api.StartRunsRequest{}, &api.PushEventRequest{}, &api.SignalRunRequest{}} {
			want, got := proto.Clone(empty), proto.Clone(empty)
			plain := protojson.Unmarshal(data, want)
			ours := jsonCodec{"json"}.Unmarshal(data, got)
			if why := refusal(got); why != nil && messages.CodeOf(why) == messages.CodeLimitExceeded {
				continue
			} else if why != nil {
				ours = why
			}
			if plain == nil && (ours != nil || !proto.Equal(got, want)) {
				t.Errorf("%T from %q: got %v (%v), want %v", empty, data, got, ours, want)
			}
		}
	})
}
