package cluster

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// FuzzHeartbeats: what another version or a broken store has written is left out or read.
func FuzzHeartbeats(f *testing.F) {
	data, err := proto.Marshal(&messages.Heartbeat{Serial: 1, Servers: []string{"a~1"}, GossipAddress: "127.0.0.1:1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a~1", data)
	f.Fuzz(func(t *testing.T, server string, data []byte) {
		beats := decodeHeartbeats([]messages.StoredHeartbeat{{Server: server, Data: data}}, nil)
		if readable := proto.Unmarshal(data, new(messages.Heartbeat)) == nil; readable != (len(beats) == 1) {
			t.Errorf("readable %v, and %d are read", readable, len(beats))
		}
		_ = leaseHeartbeats("b~1", beats)
	})
}
