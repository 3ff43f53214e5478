package messages

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

// BenchmarkCheckFields checks what a server and a worker hear of a step, and a start
// of runs in bulk.
func BenchmarkCheckFields(b *testing.B) {
	input := []byte(`{"number":123456,"worker":"host/worker-1"}`)
	for _, m := range []proto.Message{
		&Dispatch{RunId: "01arz3ndektsv4rrffq69g5fav", Step: "first", Attempt: 1, Epoch: 1, Workflow: "chain3", DefinitionHash: "3f5a9c0d7be14c28a6e0f4417b2d9c55", Input: input, Priority: 2},
		&Result{RunId: "01arz3ndektsv4rrffq69g5fav", Step: "first", Attempt: 1, Epoch: 1, WorkerId: "host/worker-1", Outcome: &Result_Output{Output: input}},
		&ResultAck{RunId: "01arz3ndektsv4rrffq69g5fav", Step: "first", Attempt: 1},
		&StartRuns{Runs: []*StartRun{
			{RunId: "01arz3ndektsv4rrffq69g5fav", Start: &RunStarted{Workflow: "chain3", Input: input, Trigger: "api", Metadata: map[string]string{"tenant": "a"}}},
			{RunId: "01arz3ndektsv4rrffq69g5faw", Start: &RunStarted{Workflow: "chain3", Input: input, Trigger: "api"}},
		}},
	} {
		b.Run(string(m.ProtoReflect().Descriptor().Name()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := CheckFields(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
