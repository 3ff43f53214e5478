package run

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// A run that is started in the journal alone is what a machine would have made of
// it: taken up, and parked, it has nothing to add.
func TestStartParkedIsAsAMachineParks(t *testing.T) {
	second := time.Second.Milliseconds()
	for name, def := range map[string]*messages.WorkflowDefinition{
		"default timeout": definition(messages.Sticky_STICKY_SOFT, &messages.StepDefinition{Name: "a"},
			&messages.StepDefinition{Name: "b", Parents: []string{"a"}}),
		"never": definition(messages.Sticky_STICKY_HARD, &messages.StepDefinition{Name: "a", ScheduleTimeoutMs: messages.TimeoutNeverMs}),
		"the earliest of the first steps": definition(messages.Sticky_STICKY_NONE,
			&messages.StepDefinition{Name: "a", ScheduleTimeoutMs: 90 * second},
			&messages.StepDefinition{Name: "b", ScheduleTimeoutMs: 60 * second},
			&messages.StepDefinition{Name: "c", ScheduleTimeoutMs: 30 * second, Parents: []string{"a"}}),
	} {
		started := &messages.RunStarted{Workflow: "wf", DefinitionHash: "h", Priority: 3, Input: []byte("{}")}
		row, e := StartParked("r", def, started, scriptEpoch)
		data, err := proto.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Restore("r", def, [][]byte{data}, &Config{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s := m.State(); s.rowKey() != row.rowKey() || s.Number != row.Number || !s.At.Equal(row.At) || !s.CreatedAt.Equal(row.CreatedAt) {
			t.Errorf("%s: the row shows %+v, the entry makes %+v", name, row.rowKey(), s.rowKey())
		}
		m.Handle(TakeUp{InTurn: true}, scriptEpoch.Add(time.Millisecond))
		for _, action := range m.Handle(Park{}, scriptEpoch.Add(2*time.Millisecond)) {
			if a, ok := action.(Append); ok {
				t.Errorf("%s: parked again it appends %v", name, a.Entry)
			}
		}
		if !m.presence.stopped {
			t.Errorf("%s: it stays in memory", name)
		}
	}
}
