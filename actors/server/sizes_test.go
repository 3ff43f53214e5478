package server

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/remote"
	"github.com/limpetrun/limpet/messages"
)

// Whatever has the size that a limit allows fits into a message between nodes: it is
// refused where it enters, or it can be sent.
func TestWhatTheLimitsAllowCanBeSent(t *testing.T) {
	payload := make([]byte, messages.PayloadBytesMax)
	name, key := strings.Repeat("n", messages.NameBytesMax), strings.Repeat("k", messages.KeyBytesMax)
	metadata := map[string]string{}
	for i := range messages.MetadataMax {
		metadata[name[2:]+string(rune('a'+i%26))+string(rune('a'+i/26))] = strings.Repeat("v", messages.MetadataBytesMax/messages.MetadataMax-messages.NameBytesMax)
	}
	signal := &messages.SignalRun{RunId: name, Name: name, MessageId: key, Payload: payload}
	record := &messages.CallRecorded{Step: name, Name: name, Key: key, MessageId: key, Event: &messages.CameEvent{Key: name, EventId: key},
		Outcome: &messages.CallRecorded_Output{Output: payload}}
	for _, m := range []proto.Message{
		signal,
		&messages.SendSignal{RunId: name, Step: name, Name: name, Key: key, Signal: name, Payload: payload,
			Keyed: &messages.KeyedRun{Workflow: name, IdempotencyKey: key, Input: payload, Metadata: metadata}},
		&messages.StartRun{RunId: name, Signal: signal, Start: &messages.RunStarted{Workflow: name, Input: payload, IdempotencyKey: key, Metadata: metadata}},
		&messages.SpawnChild{RunId: name, Step: name, Key: key, Workflow: name, Input: payload, Metadata: metadata},
		&messages.RecordCall{RunId: name, Call: record},
		&messages.RecordedCallsReply{Calls: []*messages.CallRecorded{record}},
		&messages.DeliverEvent{RunId: name, WaitId: strings.Repeat("w", 2048), Event: record.Event, Payload: payload},
		&messages.Dispatch{RunId: name, Step: name, Metadata: metadata, Input: make([]byte, messages.StepInputBytesMax)},
	} {
		if size := proto.Size(m); size > remote.MessageBytesMax*3/4 {
			t.Errorf("%T has up to %d bytes, too near to the %d that can be sent", m, size, remote.MessageBytesMax)
		}
	}
}
