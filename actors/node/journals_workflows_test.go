package node_test

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// tellWorkflows has workflows that nobody serves changed by hand: "back" goes back to
// its first version, and "gone" is retired.
func (s *stage) tellWorkflows(store journal.Store) {
	versions := map[string][]string{}
	for _, name := range []string{"back", "gone"} {
		for retries := range int32(2) {
			def := &messages.WorkflowDefinition{Name: name, Steps: []*messages.StepDefinition{{Name: "work", Retries: retries}}}
			data, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
			must(s.T, err)
			hash := messages.HashDefinition(def)
			must(s.T, store.PutDefinition(s.Context(), journal.Definition{Hash: hash, Name: name, Data: data, RegisteredAt: time.UnixMicro(int64(retries) + 1)}))
			versions[name] = append(versions[name], hash)
		}
	}
	_, err := s.client.UseWorkflowVersion(s.Context(), "back", versions["back"][0])
	must(s.T, err)
	_, err = s.client.RetireWorkflow(s.Context(), "gone")
	must(s.T, err)
}
