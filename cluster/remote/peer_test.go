package remote

import (
	"fmt"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// A batch names each type, target and sender once, in whatever order they come.
func TestBatchNamesEachOnce(t *testing.T) {
	to := func(id string, request uint32) *actor.PID {
		return &actor.PID{Address: "a:1", Id: id, RequestId: request}
	}
	batch := []outgoing{
		{typeName: "A", data: []byte("1"), target: to("x", 0), sender: to("s", 7)},
		{typeName: "B", data: []byte("22"), target: to("y", 3)},
		{typeName: "A", data: []byte("3"), target: to("x", 4), sender: &actor.PID{Address: "b:1", Id: "s"}},
		{typeName: "B", data: []byte("4"), target: to("x", 0), sender: to("s", 8), header: map[string]string{"k": "v"}},
	}
	m, size := encodeBatch(batch)
	b := m.GetMessageBatch()
	if size != 5 || len(b.TypeNames) != 2 || len(b.Targets) != 2 || len(b.Senders) != 2 || len(b.Envelopes) != len(batch) {
		t.Fatalf("%d bytes, %d types, %d targets, %d senders, %d messages", size, len(b.TypeNames), len(b.Targets), len(b.Senders), len(b.Envelopes))
	}
	for i, e := range b.Envelopes {
		want := batch[i]
		if b.TypeNames[e.TypeId] != want.typeName || string(e.MessageData) != string(want.data) ||
			b.Targets[e.Target].Id != want.target.Id || e.TargetRequestId != want.target.RequestId ||
			fmt.Sprint(e.GetMessageHeader().GetHeaderData()) != fmt.Sprint(want.header) {
			t.Errorf("message %d is %v", i, e)
		}
		switch {
		case want.sender == nil && e.Sender != 0:
			t.Errorf("message %d has a sender", i)
		case want.sender != nil && (b.Senders[e.Sender-1].Id != want.sender.Id || b.Senders[e.Sender-1].Address != want.sender.Address || e.SenderRequestId != want.sender.RequestId):
			t.Errorf("message %d is from %v", i, b.Senders[e.Sender-1])
		}
	}
}

func BenchmarkEncodeBatch(b *testing.B) {
	for _, n := range []int{1, 20} {
		batch := make([]outgoing, n)
		for i := range batch {
			batch[i] = outgoing{typeName: "limpet.v1.Result", data: make([]byte, 100),
				target: &actor.PID{Address: "a:1", Id: fmt.Sprintf("run/%d", i)}, sender: &actor.PID{Address: "b:1", Id: "worker"}}
		}
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encodeBatch(batch)
			}
		})
	}
}
