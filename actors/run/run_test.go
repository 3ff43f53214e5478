package run

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

func definition(sticky messages.Sticky, steps ...*messages.StepDefinition) *messages.WorkflowDefinition {
	return &messages.WorkflowDefinition{Name: "wf", Sticky: sticky, Steps: steps}
}

func entry(t interface {
	Helper()
	Fatal(...any)
}, events ...*messages.Event) []byte {
	t.Helper()
	data, err := proto.Marshal(&messages.Entry{AtUs: scriptEpoch.UnixMicro(), Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var startedEvent = &messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{Workflow: "wf"}}}

// A history that this version cannot read is set aside, never half read.
func TestUnreadableHistoryIsSetAside(t *testing.T) {
	def := definition(messages.Sticky_STICKY_SOFT, &messages.StepDefinition{Name: "a"})
	dispatched := func(step string) *messages.Event {
		return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: step, Attempt: 1, Worker: workerRef("w1")}}}
	}
	// An event of kind 999, as a later version may write it.
	unknown := protowire.AppendTag(nil, 999, protowire.BytesType)
	unknown = protowire.AppendBytes(unknown, []byte("x"))
	future := entry(t)
	future = protowire.AppendTag(future, 2, protowire.BytesType)
	future = protowire.AppendBytes(future, unknown)
	for name, entries := range map[string][][]byte{
		"a kind of event that is not known":  {entry(t, startedEvent), future},
		"an entry that is no entry":          {entry(t, startedEvent), []byte{0xff}},
		"a step that is not in the workflow": {entry(t, startedEvent), entry(t, dispatched("gone"))},
		"a replay of a step that is not":     {entry(t, startedEvent), entry(t, &messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{Steps: []string{"gone"}}}})},
		"no start":                           {entry(t, dispatched("a"))},
		"a second start":                     {entry(t, startedEvent), entry(t, startedEvent)},
		"a binding to nobody":                {entry(t, startedEvent), entry(t, &messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 1}}})},
		"an attempt under no binding":        {entry(t, startedEvent), entry(t, dispatched("a"))},
	} {
		if _, err := Restore("r", def, entries, &Config{}); messages.CodeOf(err) != messages.CodeRunSetAside {
			t.Errorf("%s: %v, want RUN_SET_ASIDE", name, err)
		}
	}
	if _, err := Restore("r", def, [][]byte{entry(t, startedEvent), entry(t, boundEvent(1, "w1")), entry(t, dispatchedEvent("a", 1, 1, "w1"))}, &Config{}); err != nil {
		t.Errorf("a sound history: %v", err)
	}
}

// driver makes every append durable at once and grants what is asked.
type driver struct {
	m   *Machine
	now time.Time
	// sent are the live dispatches by step.
	sent    map[string]*messages.Dispatch
	entries int
	bytes   int
}

func newDriver(def *messages.WorkflowDefinition) *driver {
	return &driver{m: New("r", def, &Config{}), now: scriptEpoch, sent: map[string]*messages.Dispatch{}}
}

func (d *driver) handle(in Input) {
	actions := d.m.Handle(in, d.now)
	for _, action := range actions {
		switch a := action.(type) {
		case Append:
			d.entries++
			d.bytes = max(d.bytes, proto.Size(a.Entry))
			d.handle(Appended{})
		case Ask:
			d.handle(Placed{&messages.Placed{Question: a.Message.Question, Step: a.Message.Step, Worker: workerRef("w1")}})
		case SendWorker:
			if m, ok := a.Message.(*messages.Dispatch); ok {
				d.sent[m.Step] = m
			}
		}
	}
}

func (d *driver) succeed(step string, output []byte) FromWorker {
	m := d.sent[step]
	return FromWorker{&messages.Result{Step: step, Attempt: m.Attempt, Epoch: m.Epoch, WorkerId: "w1", Incarnation: "i1",
		Outcome: &messages.Result_Output{Output: output}}}
}

func TestAttemptsAreLimited(t *testing.T) {
	d := newDriver(definition(messages.Sticky_STICKY_HARD, &messages.StepDefinition{Name: "a"}))
	d.handle(Start{Started: &messages.RunStarted{Workflow: "wf"}})
	for n := int32(1); n <= messages.AttemptsMax; n++ {
		d.handle(FromWorker{&messages.DispatchRefused{Step: "a", Attempt: n, Reason: messages.Reason_REASON_REVOKED}})
	}
	st := d.m.State()
	if !st.Ended() || st.Failure.GetCode() != string(messages.CodeLimitExceeded) || !strings.Contains(st.Failure.Message, "attemptsMax is 10000") {
		t.Fatalf("status %s, failure %v", st.Status, st.Failure)
	}
}

func TestStepInputIsLimited(t *testing.T) {
	join := &messages.StepDefinition{Name: "join"}
	var steps []*messages.StepDefinition
	for i := range 17 {
		name := fmt.Sprint("root", i)
		steps = append(steps, &messages.StepDefinition{Name: name})
		join.Parents = append(join.Parents, name)
	}
	d := newDriver(definition(messages.Sticky_STICKY_SOFT, append(steps, join)...))
	d.handle(Start{Started: &messages.RunStarted{Workflow: "wf"}})
	output := make([]byte, messages.PayloadBytesMax)
	for _, st := range steps {
		d.handle(d.succeed(st.Name, output))
	}
	if st := d.m.State(); st.Failure.GetCode() != string(messages.CodePayloadTooLarge) || !strings.Contains(st.Failure.Message, "StepInputBytesMax") {
		t.Fatalf("status %s, failure %v", st.Status, st.Failure)
	}
}

// What gathers while an append is in flight becomes entries of bounded size.
func TestEntriesAreBounded(t *testing.T) {
	var steps []*messages.StepDefinition
	for i := range 100 {
		steps = append(steps, &messages.StepDefinition{Name: fmt.Sprint("s", i)})
	}
	d := newDriver(definition(messages.Sticky_STICKY_SOFT, steps...))
	d.handle(Start{Started: &messages.RunStarted{Workflow: "wf"}})
	d.m.appending = true
	output := make([]byte, messages.PayloadBytesMax)
	for _, st := range steps {
		d.handle(d.succeed(st.Name, output))
	}
	d.entries = 0
	d.handle(Appended{})
	if st := d.m.State(); st.Status != messages.RunStatus_RUN_STATUS_SUCCEEDED {
		t.Fatalf("status %s", st.Status)
	}
	if d.entries < 3 || d.bytes > turnBytesMax+2*messages.PayloadBytesMax {
		t.Fatalf("%d entries, the largest of %d bytes", d.entries, d.bytes)
	}
}

// A dropped activation answers everybody and does nothing any more.
func TestDroppedMachineIsSilent(t *testing.T) {
	m := New("r", definition(0, &messages.StepDefinition{Name: "a"}), &Config{})
	m.Handle(Start{Started: &messages.RunStarted{Workflow: "wf"}, Token: 1}, scriptEpoch)
	m.Handle(Drop{}, scriptEpoch)
	actions := m.Handle(Cancel{Token: 2}, scriptEpoch)
	var reply Reply
	if len(actions) == 1 {
		reply, _ = actions[0].(Reply)
	}
	if reply.Token != 2 || !errors.Is(reply.Err, messages.Errorf(messages.CodeJournalConflict, "")) {
		t.Fatalf("actions %v", actions)
	}
	if actions := m.Handle(TimerDue{}, scriptEpoch); len(actions) > 0 {
		t.Fatalf("actions %v", actions)
	}
}

func fan(sticky messages.Sticky, steps int) *messages.WorkflowDefinition {
	join := &messages.StepDefinition{Name: "join"}
	var list []*messages.StepDefinition
	for i := range steps - 1 {
		st := &messages.StepDefinition{Name: fmt.Sprint("s", i)}
		list = append(list, st)
		join.Parents = append(join.Parents, st.Name)
	}
	return definition(sticky, append(list, join)...)
}

// BenchmarkFan is a workflow of the largest size: 999 roots and a join. The worker has
// slots for all of it, or for few.
func BenchmarkFan(b *testing.B) {
	for _, of := range []struct {
		sticky messages.Sticky
		slots  int
	}{{messages.Sticky_STICKY_NONE, 1000}, {messages.Sticky_STICKY_SOFT, 1000}, {messages.Sticky_STICKY_SOFT, 8}} {
		b.Run(fmt.Sprintf("%s/slots=%d", of.sticky, of.slots), func(b *testing.B) {
			def := fan(of.sticky, messages.StepsMax)
			for b.Loop() {
				d := newDriver(def)
				d.m.cfg.InfoOf = func(*messages.WorkerRef) *messages.WorkerInfo { return &messages.WorkerInfo{Slots: int32(of.slots)} }
				d.handle(Start{Started: &messages.RunStarted{Workflow: "wf"}})
				for _, st := range def.Steps {
					d.handle(d.succeed(st.Name, nil))
				}
				if !d.m.State().Ended() {
					b.Fatal("not ended")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/messages.StepsMax, "µs/step")
		})
	}
}

// BenchmarkChain is a run of three steps, as most are; the stateful one builds
// local state in the first and needs it in the others.
func BenchmarkChain(b *testing.B) {
	for _, stateful := range []bool{false, true} {
		b.Run(fmt.Sprintf("stateful=%v", stateful), func(b *testing.B) {
			def := definition(messages.Sticky_STICKY_SOFT, &messages.StepDefinition{Name: "a", BuildsState: stateful},
				&messages.StepDefinition{Name: "b", Parents: []string{"a"}, NeedsState: stateful},
				&messages.StepDefinition{Name: "c", Parents: []string{"b"}, NeedsState: stateful})
			b.ReportAllocs()
			for b.Loop() {
				d := newDriver(def)
				d.handle(Start{Started: &messages.RunStarted{Workflow: "wf"}})
				for _, st := range def.Steps {
					d.handle(d.succeed(st.Name, nil))
				}
				if !d.m.State().Ended() {
					b.Fatal("not ended")
				}
			}
		})
	}
}
