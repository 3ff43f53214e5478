package messages

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// What one node sends another is held to the rules of the API.
func TestMessagesBetweenNodesAreChecked(t *testing.T) {
	started := func(change func(*RunStarted)) *StartRuns {
		s := &RunStarted{Workflow: "w", Input: []byte("1"), Trigger: "api"}
		change(s)
		return &StartRuns{Runs: []*StartRun{{RunId: "r0", Start: &RunStarted{Workflow: "w"}}, {RunId: "r1", Start: s}}}
	}
	recorded := func(change func(*CallRecorded)) *RecordCall {
		c := &CallRecorded{Step: "s", Attempt: 1, Kind: CallKind_CALL_KIND_DO, Name: "think", Key: "#0", Outcome: &CallRecorded_Output{Output: []byte("1")}}
		change(c)
		return &RecordCall{RunId: "r", Epoch: 1, Call: c}
	}
	large := []byte(strings.Repeat("1", PayloadBytesMax+1))
	for name, c := range map[string]struct {
		m    proto.Message
		code Code
		says string
	}{
		"a start":                     {started(func(*RunStarted) {}), "", ""},
		"a start of nothing":          {&StartRuns{Runs: []*StartRun{{RunId: "r"}}}, CodeInvalidArgument, "runs[0]: start is missing"},
		"a start with a zero byte":    {&StartRuns{Runs: []*StartRun{{RunId: "r\x00", Start: &RunStarted{}}}}, CodeInvalidArgument, "run id"},
		"a start without id":          {&StartRun{Start: &RunStarted{}}, CodeInvalidArgument, "run id is empty"},
		"an input that is not JSON":   {started(func(s *RunStarted) { s.Input = []byte("{\x00}") }), CodeInvalidInput, "input of 3 bytes is not JSON"},
		"a large input":               {started(func(s *RunStarted) { s.Input = large }), CodePayloadTooLarge, "PayloadBytesMax"},
		"too much metadata":           {started(func(s *RunStarted) { s.Metadata = map[string]string{"a": strings.Repeat("x", MetadataBytesMax)} }), CodeLimitExceeded, "MetadataBytesMax"},
		"a priority":                  {started(func(s *RunStarted) { s.Priority = 99 }), CodeInvalidArgument, "priority 99"},
		"a key":                       {started(func(s *RunStarted) { s.IdempotencyKey = "\xff" }), CodeInvalidArgument, "idempotency_key"},
		"a result":                    {&Result{RunId: "r", Step: "s", Attempt: 1, WorkerId: "h/w", Outcome: &Result_Output{Output: []byte("[1e999]")}}, "", ""},
		"a failure":                   {&Result{RunId: "r", Step: "s", Attempt: 1, Outcome: &Result_Failure{Failure: &Failure{Code: "USER_ERROR", Message: "no\nluck"}}}, "", ""},
		"a failure that is no text":   {&Result{RunId: "r", Step: "s", Attempt: 1, Outcome: &Result_Failure{Failure: &Failure{Message: "\xff"}}}, CodeInvalidArgument, "not UTF-8"},
		"a result that is not JSON":   {&Result{RunId: "r", Step: "s", Attempt: 1, Outcome: &Result_Output{Output: []byte("x")}}, CodeInvalidInput, "output"},
		"a result that is too large":  {&Result{RunId: "r", Step: "s", Attempt: 1, Outcome: &Result_Output{Output: large}}, CodePayloadTooLarge, "output"},
		"an attempt":                  {&Started{RunId: "r", Step: "s"}, CodeInvalidArgument, "attempts count from 1"},
		"a step":                      {&AttemptUnknown{RunId: "r", Step: "a b", Attempt: 1}, CodeInvalidArgument, "step"},
		"a cancel":                    {&CancelRun{RunId: "r", Reason: "\xff"}, CodeInvalidArgument, "reason"},
		"a grant of nobody":           {&Placed{RunId: "r", Question: 1}, CodeInvalidArgument, "worker is missing"},
		"a worker that is none":       {&Register{}, CodeInvalidArgument, "worker is missing"},
		"a load of nothing":           {&LoadsReply{Loads: []*WorkerLoad{{}}}, CodeInvalidArgument, "load is missing"},
		"a shard that is none":        {&ShardsReleased{Shards: []int32{1, Shards}}, CodeInvalidArgument, "shard 1024"},
		"a question of a run":         {&StillBound{Runs: []*BoundRun{{RunId: "r"}, {}}}, CodeInvalidArgument, "runs[1]: run id is empty"},
		"keys of inputs":              {&LocalKeysOf{Workflow: "w", Inputs: [][]byte{[]byte("1"), []byte("}")}}, CodeInvalidInput, "input"},
		"a spawn, by its own rules":   {&SpawnChild{RunId: "r", Step: "s", Attempt: 1, Workflow: "w"}, CodeInvalidArgument, "spawn key is empty"},
		"a call":                      {recorded(func(*CallRecorded) {}), "", ""},
		"no call":                     {&RecordCall{RunId: "r"}, CodeInvalidArgument, "call is missing"},
		"a call without a name":       {recorded(func(c *CallRecorded) { c.Name = "" }), CodeInvalidArgument, "the name of a call is empty"},
		"a call without a key":        {recorded(func(c *CallRecorded) { c.Key = "" }), CodeInvalidArgument, "the key of a call is empty"},
		"a call of a kind":            {recorded(func(c *CallRecorded) { c.Kind = 99 }), CodeInvalidArgument, "kind of call 99"},
		"a call of no attempt":        {recorded(func(c *CallRecorded) { c.Attempt = 0 }), CodeInvalidArgument, "attempts count from 1"},
		"a call with a large result":  {recorded(func(c *CallRecorded) { c.Outcome = &CallRecorded_Output{Output: large} }), CodePayloadTooLarge, "PayloadBytesMax"},
		"a call whose result is none": {recorded(func(c *CallRecorded) { c.Outcome = &CallRecorded_Output{Output: []byte("x")} }), CodeInvalidInput, "output"},
		"a wait":                      {&AwaitCall{RunId: "r", Step: "s", Attempt: 1, Kind: CallKind_CALL_KIND_RECEIVE, Name: "ok", Key: "#0", TimeoutMs: WaitMsMax}, "", ""},
		"a wait for more than a year": {&AwaitCall{RunId: "r", Step: "s", Attempt: 1, Kind: CallKind_CALL_KIND_RECEIVE, Name: "ok", Key: "#0", TimeoutMs: WaitMsMax + 1}, CodeLimitExceeded, "WaitMsMax"},
		"a wait of no kind":           {&AwaitCall{RunId: "r", Step: "s", Attempt: 1, Name: "ok", Key: "#0"}, CodeInvalidArgument, "kind of call"},
		"a wait for several things":   {&AwaitCall{RunId: "r", Step: "s", Attempt: 1, Kind: CallKind_CALL_KIND_FIRST, Name: "ok", Key: "#0", Branches: []*WaitBranch{{Kind: CallKind_CALL_KIND_SLEEP, SleepMs: 1}, {Kind: CallKind_CALL_KIND_RECEIVE, Signal: "ok"}}}, "", ""},
		"a wait for what is no wait":  {&AwaitCall{RunId: "r", Step: "s", Attempt: 1, Kind: CallKind_CALL_KIND_FIRST, Name: "ok", Key: "#0", Branches: []*WaitBranch{{Kind: CallKind_CALL_KIND_DO}}}, CodeInvalidArgument, "branches[0]: kind of wait 1"},
		"a sleep of two years":        {&AwaitCall{RunId: "r", Step: "s", Attempt: 1, Kind: CallKind_CALL_KIND_SLEEP, Name: "ok", Key: "#0", Branches: []*WaitBranch{{Kind: CallKind_CALL_KIND_SLEEP, SleepMs: 2 * WaitMsMax}}}, CodeLimitExceeded, "WaitMsMax"},
		"a signal to no name":         {&SendSignal{RunId: "r", Step: "s", Attempt: 1, Name: "tell", Key: "#0", Signal: "ok", ToRun: "a b"}, CodeInvalidArgument, "run id"},
		"a signal to no key":          {&SendSignal{RunId: "r", Step: "s", Attempt: 1, Name: "tell", Key: "#0", Signal: "ok", Keyed: &KeyedRun{Workflow: "w"}}, CodeInvalidArgument, "idempotency_key is empty"},
		"a signal to a bad start":     {&SendSignal{RunId: "r", Step: "s", Attempt: 1, Name: "tell", Key: "#0", Signal: "ok", Keyed: &KeyedRun{Workflow: "w", IdempotencyKey: "k", Priority: 9}}, CodeInvalidArgument, "priority"},
		"a signal":                    {&SignalRun{RunId: "r", Name: "ok", MessageId: "m1", Payload: []byte("1")}, "", ""},
		"a signal without an id":      {&SignalRun{RunId: "r", Name: "ok", Payload: []byte("1")}, CodeInvalidArgument, "message id is empty"},
		"a signal that is not JSON":   {&SignalRun{RunId: "r", Name: "ok", MessageId: "m1", Payload: []byte("x")}, CodeInvalidInput, "payload"},
		"a question for a call":       {&RecordedCalls{RunId: "r", Step: "s", Attempt: 1, Name: "a b", Key: "#0"}, CodeInvalidArgument, "the name of a call"},
		"entries are as they were":    {&WatchRunReply{Entries: []*NumberedEntry{{}}}, "", ""},
		"what is said of definitions": {&Register{Worker: &WorkerInfo{}}, "", ""},
	} {
		err := CheckFields(c.m)
		if CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q that says %q", name, err, c.code, c.says)
		}
	}
}

// FuzzWire: whatever bytes another node sends as whatever message are read and
// checked, or refused.
func FuzzWire(f *testing.F) {
	all := File_wire_proto.Messages()
	kind := func(i int) protoreflect.MessageType {
		return protoTypes(all.Get(i % all.Len()))
	}
	for i := range all.Len() {
		f.Add(i, []byte{})
		full := kind(i).New()
		fill(full, 3)
		if data, err := Marshal(full.Interface()); err == nil {
			f.Add(i, data)
		}
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		m := kind(max(i, 0)).New().Interface()
		if Unmarshal(data, m) != nil {
			return
		}
		if CheckFields(m) != nil {
			return
		}
		again, err := Marshal(m)
		if err != nil {
			t.Fatalf("%T was read and cannot be written: %v", m, err)
		}
		back := kind(max(i, 0)).New().Interface()
		if err := Unmarshal(again, back); err != nil || !proto.Equal(m, back) {
			t.Fatalf("%T: %v, then %v, %v", m, m, back, err)
		}
	})
}

// protoTypes is the Go type of a message.
func protoTypes(d protoreflect.MessageDescriptor) protoreflect.MessageType {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err)
	}
	return t
}

// fill sets each field of a message, and of those in it to a depth.
func fill(m protoreflect.Message, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		switch {
		case f.IsMap(), f.Message() != nil && depth == 0:
		case f.IsList() && f.Message() != nil:
			fill(m.Mutable(f).List().AppendMutable().Message(), depth-1)
		case f.IsList():
			m.Mutable(f).List().Append(some(f))
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, some(f))
		}
	}
}

// some is a value that most rules allow.
func some(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("a")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("1"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Fixed64Kind, protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	}
	return f.Default()
}
