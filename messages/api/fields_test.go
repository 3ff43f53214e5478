package api_test

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Every text of a request, and every text of a spawn or of a call that its caller
// fills in, has a rule.
func TestEveryTextOfARequestHasARule(t *testing.T) {
	var visit func(m protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			switch {
			case f.Kind() == protoreflect.StringKind || f.IsMap():
				if rule, _ := messages.RuleOf(f); !rule.Given() {
					t.Errorf("%s has no rule in messages/fields.go", f.FullName())
				}
			case f.Message() != nil && f.Message().ParentFile() == m.ParentFile():
				visit(f.Message())
			}
		}
	}
	methods := api.File_api_api_proto.Services().Get(0).Methods()
	for i := range methods.Len() {
		visit(methods.Get(i).Input())
	}
	for _, name := range []protoreflect.FullName{
		"SpawnChild.key", "SpawnChild.workflow", "SpawnChild.priority", "SpawnChild.metadata",
		"CallRecorded.kind", "CallRecorded.name", "CallRecorded.key", "RecordedCalls.name", "RecordedCalls.key",
		"AwaitCall.kind", "AwaitCall.name", "AwaitCall.key", "AwaitCall.timeout_ms", "SignalRun.name", "SignalRun.message_id",
	} {
		field, err := protoregistry.GlobalFiles.FindDescriptorByName("limpet.v1." + name)
		if err != nil {
			t.Fatal(err)
		}
		if rule, _ := messages.RuleOf(field.(protoreflect.FieldDescriptor)); !rule.Given() {
			t.Errorf("%s has no rule", name)
		}
	}
}
