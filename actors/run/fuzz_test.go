package run

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/messages"
)

// FuzzHistory: whatever is stored as the history of a run is set aside, or goes on:
// neither the folding nor a machine over it panics. The bytes are a WatchRunReply,
// whose entries are the history.
func FuzzHistory(f *testing.F) {
	defs := historyDefs()
	seed := func(events ...*messages.Event) {
		history := &messages.WatchRunReply{}
		for i, ev := range events {
			history.Entries = append(history.Entries, &messages.NumberedEntry{Number: uint64(i) + 1,
				Entry: &messages.Entry{AtUs: scriptEpoch.UnixMicro(), Events: []*messages.Event{ev}}})
		}
		data, err := proto.Marshal(history)
		if err != nil {
			f.Fatal(err)
		}
		for i := range defs {
			f.Add(i, data)
		}
	}
	succeeded := &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "a", Attempt: 1}}}
	lost := &messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: 1, Reason: messages.Reason_REASON_WORKER_LOST}}}
	failed := &messages.Event{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: "a"}}}
	spawned := &messages.Event{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{Step: "a", Attempt: 1, Key: "k", ChildRun: "c"}}}
	canceled := &messages.Event{Kind: &messages.Event_CancelRequested{CancelRequested: &messages.CancelRequested{}}}
	dormant := &messages.Event{Kind: &messages.Event_RunDormant{RunDormant: &messages.RunDormant{WakeAtUs: 1, WakeOnUp: "w1"}}}
	rebuild := &messages.Event{Kind: &messages.Event_RebuildBegan{RebuildBegan: &messages.RebuildBegan{Step: "a", Epoch: 1, ForStep: "b"}}}
	handed := &messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: &messages.StateHandedOff{Epoch: 1}}}
	replayed := &messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{}}}
	skipped := &messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "b", Parent: "a"}}}
	ended := &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_FAILED}}}
	seed(startedEvent, dispatchedEvent("a", 1, 0, "w1"), spawned, succeeded, dispatchedEvent("b", 1, 0, "w2"))
	seed(startedEvent, boundEvent(1, "w1"), dispatchedEvent("a", 1, 1, "w1"), spawned, failedEvent("a", 1), dormant)
	seed(startedEvent, boundEvent(1, "w1"), dispatchedEvent("a", 1, 1, "w1"), succeeded, rebuild, dispatchedEvent("a", 2, 1, "w1"), lost)
	seed(startedEvent, boundEvent(1, "w1"), dispatchedEvent("a", 1, 1, "w1"), canceled, lost)
	seed(startedEvent, boundEvent(1, "w1"), dispatchedEvent("a", 1, 1, "w1"), succeeded, handed, lost, boundEvent(2, "w2"))
	seed(startedEvent, failed, skipped, ended, replayed)
	seed(startedEvent, &messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{}}}, lost)
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		var history messages.WatchRunReply
		if messages.Unmarshal(data, &history) != nil {
			return
		}
		var entries [][]byte
		for _, e := range history.Entries {
			data, err := messages.Marshal(e.GetEntry())
			if err != nil {
				return
			}
			entries = append(entries, data)
		}
		if err := setAsideOrGoesOn(defs[uint(i)%uint(len(defs))], entries); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAnyHistory is the same over histories of events that are whole, whose fields
// are drawn from few values, so that they often refer to each other.
func TestAnyHistory(t *testing.T) {
	defs := historyDefs()
	rapid.Check(t, func(t *rapid.T) {
		def := rapid.SampledFrom(defs).Draw(t, "definition")
		entries := [][]byte{entry(t, startedEvent)}
		kinds := (&messages.Event{}).ProtoReflect().Descriptor().Fields()
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			ev := &messages.Event{}
			draw(t, ev.ProtoReflect().Mutable(kinds.Get(rapid.IntRange(0, kinds.Len()-1).Draw(t, "kind"))).Message(), 2)
			entries = append(entries, entry(t, ev))
		}
		if err := setAsideOrGoesOn(def, entries); err != nil {
			t.Fatal(err)
		}
	})
}

// draw sets some fields of a message, and of those in it to a depth.
func draw(t *rapid.T, m protoreflect.Message, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		if f.IsMap() || rapid.IntRange(0, 9).Draw(t, "set") == 0 {
			continue
		}
		switch {
		case f.Message() != nil && f.IsList() && depth > 0:
			draw(t, m.Mutable(f).List().AppendMutable().Message(), depth-1)
		case f.Message() != nil && !f.IsList() && depth > 0:
			draw(t, m.Mutable(f).Message(), depth-1)
		case f.Message() != nil:
		case f.IsList():
			m.Mutable(f).List().Append(drawn(t, f))
		default:
			m.Set(f, drawn(t, f))
		}
	}
}

func drawn(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	few := rapid.IntRange(0, 3).Draw(t, string(f.Name()))
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"a", "b", "w1", "i1"}[few])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("1"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(few > 1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(few))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(scriptEpoch.UnixMicro() * int64(few))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(few))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(few))
	}
	return f.Default()
}

// historyDefs are workflows whose runs have these histories.
func historyDefs() (defs []*messages.WorkflowDefinition) {
	for _, sticky := range []messages.Sticky{messages.Sticky_STICKY_NONE, messages.Sticky_STICKY_SOFT, messages.Sticky_STICKY_HARD} {
		defs = append(defs, definition(sticky, &messages.StepDefinition{Name: "a", BuildsState: true, Retries: 1}, &messages.StepDefinition{Name: "b", Parents: []string{"a"}, NeedsState: true}))
	}
	return defs
}

// setAsideOrGoesOn restores a run, and gives it what comes to every run.
func setAsideOrGoesOn(def *messages.WorkflowDefinition, entries [][]byte) error {
	m, err := Restore("r", def, entries, &Config{})
	switch {
	case messages.CodeOf(err) == messages.CodeRunSetAside:
		return nil
	case err != nil:
		return err
	}
	for _, in := range goesOn(m.State()) {
		answerAll(m, in)
	}
	return nil
}

// goesOn are inputs that come to every run.
func goesOn(s *State) []Input {
	in := []Input{TakeUp{}, TimerDue{}, WorkerChanged{Worker: workerRef("w1"), State: WorkerGone, Reason: messages.Reason_REASON_WORKER_LOST},
		WorkerChanged{Worker: workerRef("w1~i2"), State: WorkerUp, Info: &messages.WorkerInfo{Workflows: []*messages.WorkflowDefinition{s.Def}}}}
	for i := range s.Steps {
		st := &s.Steps[i]
		in = append(in, FromWorker{&messages.Result{RunId: "r", Step: st.Def.Name, Attempt: st.Attempt, Epoch: st.Epoch,
			WorkerId: st.Worker.GetWorkerId(), Incarnation: st.Worker.GetIncarnation()}},
			FromWorker{&messages.AttemptUnknown{RunId: "r", Step: st.Def.Name, Attempt: st.Attempt}},
			Spawn{Message: &messages.SpawnChild{RunId: "r", Step: st.Def.Name, Attempt: st.Attempt, Epoch: st.Epoch, Key: "k", Workflow: "c", Anew: true}, Def: s.Def})
	}
	return append(in, Cancel{Reason: "enough"}, ChildrenListed{}, Replay{}, TimerDue{})
}

// answerAll gives an input to a machine, whose appends succeed at once.
func answerAll(m *Machine, in Input) {
	now := scriptEpoch.Add(time.Hour)
	for _, a := range m.Handle(in, now) {
		if _, ok := a.(Append); ok {
			answerAll(m, Appended{})
		}
		_ = m.WaitingFor()
	}
}
