package run

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

func workerRef(name string) *messages.WorkerRef {
	id, inc, ok := strings.Cut(name, "~")
	if !ok {
		inc = "i1"
	}
	return &messages.WorkerRef{WorkerId: id, Incarnation: inc, Address: id + "." + inc, ActorId: "worker"}
}

func processName(w *messages.WorkerRef) string {
	if w.GetIncarnation() == "i1" {
		return w.WorkerId
	}
	return process(w)
}

// input makes an input of a line.
func (s *script) input(w words) Input {
	switch w.at(0) {
	case "start":
		return s.start(w)
	case "placed":
		step := w.named["step"]
		var grant uint64 = 7
		if name := w.named["grant"]; name != "" {
			_, _ = fmt.Sscan(name, &grant)
		}
		return Placed{&messages.Placed{RunId: scriptRun, Question: s.question(w, step), Step: step, GrantId: grant, Worker: workerRef(w.at(1))}}
	case "waiting":
		step := w.named["step"]
		return PlaceWaiting{&messages.PlaceWaiting{RunId: scriptRun, Question: s.question(w, step), Step: step, Text: w.rest(1), Reason: waitReasonOf(w.named["reason"])}}
	case "stay":
		return PlaceWaiting{&messages.PlaceWaiting{RunId: scriptRun, Question: s.question(w, ""), Stay: true}}
	case "handed-off":
		return FromWorker{s.handedOff(w)}
	case "placement":
		return PlacementReset{}
	case "up":
		return WorkerChanged{Worker: workerRef(w.at(1)), State: WorkerUp, Info: infoOf(s.def, w)}
	case "draining":
		return WorkerChanged{Worker: workerRef(w.at(1)), State: WorkerDraining, Info: infoOf(s.def, w)}
	case "gone":
		reason := messages.Reason_REASON_WORKER_LOST
		if words := w.rest(2); words != "" {
			reason = reasonOf(words)
		}
		return WorkerChanged{Worker: workerRef(w.at(1)), State: WorkerGone, Reason: reason}
	case "drop":
		return Drop{}
	case "cancel":
		return Cancel{Reason: w.rest(1), WithoutEndStep: w.named["without-end-step"] != "", Token: "cancel"}
	case "replay":
		return Replay{Steps: w.plain[1:], RequestID: w.named["request"], Token: "replay"}
	case "spawn":
		return s.spawn(w)
	case "record":
		return s.record(w)
	case "where":
		return Where{Token: "where"}
	case "find":
		step, n := stepAndNumber(w.at(1))
		return FindCall{Token: "find " + w.at(2), Message: &messages.RecordedCalls{RunId: scriptRun, Step: step, Attempt: n, Epoch: s.epochOf(w, step), Name: w.at(2), Key: w.at(3)}}
	case "signal":
		return Signal{Token: "signal " + w.at(1), Message: &messages.SignalRun{RunId: scriptRun, Name: w.at(1), MessageId: w.at(2), Payload: []byte(w.named["payload"])}}
	case "await":
		return s.await(w)
	case "send":
		return s.send(w)
	case "open":
		step, n := stepAndNumber(w.at(1))
		return OpenStream{Token: "open " + w.at(2), Message: &messages.OpenStream{RunId: scriptRun, Step: step, Attempt: n, Epoch: s.epochOf(w, step), Stream: w.at(2)}}
	case "event":
		return EventCame{Message: s.cameTo(w, w.at(1)), Token: "event " + w.at(1)}
	case "sought":
		in := EventsSought{Of: s.seeking, Err: errorOf(w.named["error"])}
		if pattern := w.at(1); pattern != "" {
			in.Came = append(in.Came, s.cameTo(w, pattern))
		}
		if w.at(1) == "before" {
			in.Of = s.soughtBefore
			in.Came = nil
		}
		return in
	case "sent":
		return SignalSent{Of: s.sending, Err: errorOf(w.rest(1))}
	case "told":
		return ParentTold{Of: s.m.telling.of}
	case "children":
		return s.listed(w)
	case "child":
		id := messages.RunIDForChild(scriptRun, w.named["of"], w.at(2))
		switch w.at(1) {
		case "started":
			return ChildStarted{ChildRun: id}
		case "other-input":
			return ChildStarted{ChildRun: id, Err: messages.Errorf(messages.CodeIdempotencyMismatch, "another input")}
		case "refused":
			return ChildStarted{ChildRun: id, Err: messages.Errorf(messages.CodeInvalidInput, "input does not fit")}
		case "tells":
			return ChildEnded{ChildRun: id, Token: "child " + w.at(2)}
		case "goes-on", "ended", "unknown":
			return s.childAsked(w, id)
		}
		return ChildCanceled{ChildRun: id}
	}
	return FromWorker{s.fromWorker(w)}
}

// event PATTERN [payload=…] [at=…] [to=before]: an event for the wait with that pattern, at
// another time than now; or for the one that was sought before the newest search.
func (s *script) cameTo(w words, pattern string) *messages.DeliverEvent {
	at := s.now
	if d := w.named["at"]; d != "" {
		at = scriptEpoch.Add(time.Duration(s.millis(d)) * time.Millisecond)
	}
	msg := &messages.DeliverEvent{RunId: scriptRun, Event: &messages.CameEvent{Key: strings.TrimSuffix(pattern, "*"), EventId: "e", AtUs: at.UnixMicro()}, Payload: []byte(w.named["payload"])}
	for id, wait := range s.m.events.stored {
		if wait.pattern == pattern {
			msg.WaitId = id
		}
	}
	if w.named["to"] == "before" {
		msg.WaitId = s.soughtBefore.Waits[0]
	}
	if why, failed := w.named["failed"]; failed {
		msg.Failed = &messages.FailedWait{WaitId: msg.WaitId, Message: why}
		msg.WaitId = ""
	}
	return msg
}

// record a#1 NAME KEY [output=…] [bytes=…] [error=…] [epoch=…]
func (s *script) record(w words) Input {
	step, n := stepAndNumber(w.at(1))
	call := &messages.CallRecorded{Step: step, Attempt: n, Kind: messages.CallKind_CALL_KIND_DO, Name: w.at(2), Key: w.at(3),
		Outcome: &messages.CallRecorded_Output{Output: []byte(w.named["output"])}}
	if text, failed := w.named["error"]; failed {
		call.Outcome = &messages.CallRecorded_Failure{Failure: &messages.Failure{Code: string(messages.CodeUserError), Message: text, Final: true}}
	}
	if kind := w.named["kind"]; kind != "" {
		call.Kind = callKindOf(kind)
	}
	return RecordCall{Token: "record " + w.at(2), Message: &messages.RecordCall{RunId: scriptRun, Epoch: s.epochOf(w, step), Call: call}}
}

// send a#1 NAME KEY [to=RUN] [to-key=KEY] signal=… [payload=…]
func (s *script) send(w words) Input {
	step, n := stepAndNumber(w.at(1))
	msg := &messages.SendSignal{RunId: scriptRun, Step: step, Attempt: n, Epoch: s.epochOf(w, step),
		Name: w.at(2), Key: w.at(3), ToRun: w.named["to"], Signal: w.named["signal"], Payload: []byte(w.named["payload"])}
	if key, keyed := w.named["to-key"]; keyed {
		msg.Keyed = &messages.KeyedRun{Workflow: "other", IdempotencyKey: key, Input: []byte("7")}
	}
	return SendSignal{Token: "send " + w.at(2) + " " + w.at(3), Message: msg}
}

// await a#1 NAME KEY [timeout=…] [withdrawn] [kind=… branches=…]
func (s *script) await(w words) Input {
	step, n := stepAndNumber(w.at(1))
	msg := &messages.AwaitCall{RunId: scriptRun, Step: step, Attempt: n, Epoch: s.epochOf(w, step), Kind: messages.CallKind_CALL_KIND_RECEIVE,
		Name: w.at(2), Key: w.at(3), Withdrawn: w.has("withdrawn"), TimeoutMs: messages.WaitMsMax}
	if d := w.named["timeout"]; d != "" {
		msg.TimeoutMs = s.millis(d)
	}
	if kind := w.named["kind"]; kind != "" {
		msg.Kind = callKindOf(kind)
		msg.Branches = s.branches(w)
	}
	return AwaitCall{Token: "await " + w.at(2) + " " + w.at(3), Message: msg}
}

func callKindOf(name string) messages.CallKind {
	return messages.CallKind(messages.CallKind_value["CALL_KIND_"+strings.ToUpper(name)])
}

// branches=signal:NAME,sleep:10s,wall:10s,child:KEY (of step a, or of=STEP)
func (s *script) branches(w words) (all []*messages.WaitBranch) {
	for _, text := range strings.Split(w.named["branches"], ",") {
		kind, what, _ := strings.Cut(text, ":")
		switch b := new(messages.WaitBranch); kind {
		case "signal":
			b.Kind, b.Signal = messages.CallKind_CALL_KIND_RECEIVE, what
			all = append(all, b)
		case "sleep":
			b.Kind, b.SleepMs = messages.CallKind_CALL_KIND_SLEEP, s.millis(what)
			all = append(all, b)
		case "wall":
			b.Kind, b.UntilWallUs = messages.CallKind_CALL_KIND_SLEEP, scriptEpoch.Add(time.Duration(s.millis(what))*time.Millisecond).UnixMicro()
			all = append(all, b)
		case "event":
			b.Kind, b.Condition = messages.CallKind_CALL_KIND_EVENT, w.named["if"]
			b.EventKey, b.EventPrefix = strings.CutSuffix(what, "*")
			if d := w.named["since"]; d != "" {
				b.SinceMs = s.millis(d)
			}
			all = append(all, b)
		case "child":
			b.Kind, b.ChildRun = messages.CallKind_CALL_KIND_CHILD, messages.RunIDForChild(scriptRun, cmp.Or(w.named["of"], "a"), what)
			all = append(all, b)
		}
	}
	return all
}

// child ended KEY of=STEP [entry=…] [serial=…] [error=…], child goes-on, child unknown:
// what the journal says of it. The serial is that of the newest question.
func (s *script) childAsked(w words, id string) Input {
	in := ChildAsked{RunID: id, Serial: s.m.asks.serial}
	if name := w.named["serial"]; name != "" {
		_, _ = fmt.Sscan(name, &in.Serial)
	}
	switch w.at(1) {
	case "ended":
		in.End = &messages.ChildEnd{ChildRun: id, Entry: 3, Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}
		if text := w.named["error"]; text != "" {
			in.End.Status, in.End.Failure = messages.RunStatus_RUN_STATUS_FAILED, &messages.Failure{Code: string(messages.CodeUserError), Message: text}
		}
	case "unknown":
		in.Err = errorOf(w.named["error"])
	}
	return in
}

// errorOf is an error of a code; nil for none.
func errorOf(code string) error {
	if code == "" {
		return nil
	}
	return messages.Errorf(messages.Code(code), "so it says")
}

func stepAndNumber(name string) (step string, n int32) {
	step, number, _ := strings.Cut(name, "#")
	_, _ = fmt.Sscan(number, &n)
	return step, n
}

// epochOf is that of the step's newest attempt, unless told otherwise.
func (s *script) epochOf(w words, step string) (epoch uint64) {
	if name := w.named["epoch"]; name != "" {
		_, _ = fmt.Sscan(name, &epoch)
	} else if st := s.m.State().Step(step); st != nil {
		epoch = st.Epoch
	}
	return epoch
}

// children ended KEY… of=STEP, or children unknown
func (s *script) listed(w words) Input {
	if w.at(1) == "unknown" {
		return ChildrenListed{Err: messages.Errorf(messages.CodeJournalUnavailable, "no answer")}
	}
	var in ChildrenListed
	for _, key := range w.plain[min(2, len(w.plain)):] {
		in.Ended = append(in.Ended, messages.RunIDForChild(scriptRun, w.named["of"], key))
	}
	return in
}

// waitReasonOf reads NO_WORKFLOW for the value of that name; slots are busy if
// nothing is said.
func waitReasonOf(name string) messages.WaitReason {
	if name == "" {
		return messages.WaitReason_WAIT_REASON_BUSY
	}
	v, ok := messages.WaitReason_value["WAIT_REASON_"+name]
	if !ok {
		panic("no wait reason " + name)
	}
	return messages.WaitReason(v)
}

func (s *script) question(w words, step string) uint64 {
	if name := w.named["question"]; name != "" {
		for n, q := range s.names {
			if q == name {
				return n
			}
		}
		s.fatal("no question %q", name)
	}
	return s.open[step]
}

func (s *script) start(w words) Input {
	started := &messages.RunStarted{Workflow: "wf", DefinitionHash: "h", Input: []byte(w.named["input"]), Sticky: s.def.Sticky, Trigger: "api"}
	if bytes := w.named["input-bytes"]; bytes != "" {
		n, _ := strconv.Atoi(bytes)
		started.Input = make([]byte, n)
	}
	if name := w.named["workflow"]; name != "" {
		started.Workflow = name
	}
	if parent := w.named["child-of"]; parent != "" {
		started.Trigger = "child"
		started.ParentRun, started.ParentStep, _ = strings.Cut(parent, "/")
	}
	if name := w.named["bind-to"]; name != "" {
		started.BindTo = workerRef(name)
	}
	in := Start{Started: started, Token: "start"}
	if id := w.named["message"]; id != "" {
		in.Signal = &messages.SignalRun{RunId: scriptRun, Name: "ok", MessageId: id, Payload: []byte(w.named["payload"])}
	}
	if w.has("canceled") {
		in.Cancel = &messages.CancelRequested{Reason: "parent canceled"}
	}
	return in
}

func (s *script) fromWorker(w words) proto.Message {
	step, number, _ := strings.Cut(w.at(1), "#")
	var n int32
	_, _ = fmt.Sscan(number, &n)
	switch w.at(0) {
	case "queued":
		q := &messages.Queued{RunId: scriptRun, Step: step, Attempt: n, Ahead: 3, Slots: 1, Aside: w.has("aside")}
		if d := w.named["held"]; d != "" {
			q.HeldSlots, q.HeldMs = 1, s.span(d).Milliseconds()
		}
		if w.has("two-slots") {
			q.Slots = 2
		}
		return q
	case "started":
		at := s.now
		if d := w.named["at"]; d != "" {
			at = scriptEpoch.Add(s.span(d))
		}
		m := &messages.Started{RunId: scriptRun, Step: step, Attempt: n, StartedUs: at.UnixMicro(), RunningUs: s.running(w), WaitingForChild: w.has("waiting-for-child"), ExecutedUs: s.executed(w), IdleWaits: waitsOf(w.named["idle"])}
		if d := w.named["extended"]; d != "" {
			m.ExtendedMs = s.span(d).Milliseconds()
		}
		m.Progress, m.Serial = toldOf(w)
		return m
	case "progress":
		m := &messages.Progress{RunId: scriptRun, Step: step, Attempt: n}
		m.Progress, m.Serial = toldOf(w)
		return m
	case "suspend":
		msg := &messages.SuspendAttempt{RunId: scriptRun, Step: step, Attempt: n, Epoch: s.epochOf(w, step), Reason: messages.Reason_REASON_IDLE, IdleWaits: waitsOf(w.named["idle"])}
		if st := s.m.State().Step(step); st != nil {
			msg.Worker = st.Worker
		}
		if by := w.named["by"]; by != "" {
			msg.Worker = workerRef(by)
		}
		if words := w.rest(2); words != "" {
			msg.Reason = reasonOf(words)
		}
		return msg
	case "unknown":
		return &messages.AttemptUnknown{RunId: scriptRun, Step: step, Attempt: n}
	case "revoked":
		return &messages.Revoked{RunId: scriptRun, Step: step, Attempt: n}
	case "refused":
		return &messages.DispatchRefused{RunId: scriptRun, Step: step, Attempt: n, Reason: reasonOf(w.rest(2))}
	case "result":
		return s.result(w, step, n)
	}
	s.fatal("unknown command %q", w.at(0))
	return nil
}

// toldOf reads a progress, its number: told=3.
func toldOf(w words) (value []byte, serial int64) {
	text := w.named["told"]
	if text == "" {
		return nil, 0
	}
	_, _ = fmt.Sscan(text, &serial)
	return []byte(text), serial
}

// waitsOf names the calls of ok/#0,ok/#1.
func waitsOf(calls string) uint64 {
	if calls == "" {
		return 0
	}
	return messages.WaitsHash(func(yield func(name, key string) bool) {
		for call := range strings.SplitSeq(calls, ",") {
			if name, key, _ := strings.Cut(call, "/"); !yield(name, key) {
				return
			}
		}
	})
}

// handed-off x=DATA… epoch=1 failed=reason; of the run's epoch unless told
// otherwise.
func (s *script) handedOff(w words) *messages.HandedOff {
	msg := &messages.HandedOff{RunId: scriptRun, Epoch: s.m.State().Binding.Epoch}
	for _, name := range slices.Sorted(maps.Keys(w.named)) {
		switch value := w.named[name]; name {
		case "epoch":
			_, _ = fmt.Sscan(value, &msg.Epoch)
		case "failed":
			msg.Failure = &messages.Failure{Code: string(messages.CodeUserError), Message: value}
		case "bytes":
			n := 0
			_, _ = fmt.Sscan(value, &n)
			msg.States = append(msg.States, &messages.HandedState{Local: "big", Data: make([]byte, n)})
		default:
			msg.States = append(msg.States, &messages.HandedState{Local: name, Data: []byte(value)})
		}
	}
	return msg
}

// executed is how much of that counts.
func (s *script) executed(w words) int64 {
	if d := w.named["executed"]; d != "" {
		return s.span(d).Microseconds()
	}
	return 0
}

// running is how long an attempt has run, as its worker says.
func (s *script) running(w words) int64 {
	if d := w.named["running"]; d != "" {
		return s.span(d).Microseconds()
	}
	return 0
}

// result is from the worker and epoch of the step's newest attempt, unless
// told otherwise.
func (s *script) result(w words, step string, n int32) *messages.Result {
	r := &messages.Result{RunId: scriptRun, Step: step, Attempt: n, StartedUs: s.now.UnixMicro(), RunningUs: s.running(w), Canceled: w.has("canceled") || w.has("lease-expired")}
	if w.has("never-started") {
		r.StartedUs = 0
	}
	r.Progress, r.Serial = toldOf(w)
	if st := s.m.State().Step(step); st != nil {
		r.Epoch, r.WorkerId, r.Incarnation = st.Epoch, st.Worker.GetWorkerId(), st.Worker.GetIncarnation()
	}
	if by := w.named["by"]; by != "" {
		ref := workerRef(by)
		r.WorkerId, r.Incarnation = ref.WorkerId, ref.Incarnation
	}
	if e := w.named["epoch"]; e != "" {
		_, _ = fmt.Sscan(e, &r.Epoch)
	}
	switch text, failed := w.named["error"]; {
	case w.has("state-lost"):
		r.Outcome = &messages.Result_Failure{Failure: &messages.Failure{Code: string(messages.CodeStateLost), Message: "no index", Final: w.has("final")}}
	case w.has("lease-expired"):
		r.Outcome = &messages.Result_Failure{Failure: &messages.Failure{Code: string(messages.CodeLeaseExpired), Message: "no server was reached"}}
	case failed || r.Canceled:
		code := string(messages.CodeUserError)
		if name := w.named["code"]; name != "" {
			code = name
		}
		r.Outcome = &messages.Result_Failure{Failure: &messages.Failure{Code: code, Message: text, Final: w.has("final")}}
	default:
		r.Outcome = &messages.Result_Output{Output: []byte(w.named["output"])}
	}
	return r
}

// spawn a#1 KEY [sticky] [plain] [leave] [keep] [anew] [failed=RUN] [not-there] [unknown] [workflow=…] [input=…]
func (s *script) spawn(w words) Input {
	step, number, _ := strings.Cut(w.at(1), "#")
	var n int32
	_, _ = fmt.Sscan(number, &n)
	in := Spawn{Token: "spawn " + w.at(2), Hash: "ch", OnWorker: !w.has("not-there"), Message: &messages.SpawnChild{
		RunId: scriptRun, Step: step, Attempt: n, Key: w.at(2), Workflow: "child", Input: []byte(w.named["input"]), Sticky: w.has("sticky"), Anew: w.has("anew")}, Unsuccessful: w.named["failed"]}
	if w.has("leave") {
		in.Message.OnParentEnd = messages.ParentEnd_PARENT_END_LEAVE
	}
	in.Message.KeepOnCancel = w.has("keep")
	if st := s.m.State().Step(step); st != nil {
		in.Message.Epoch = st.Epoch
	}
	if name := w.named["workflow"]; name != "" {
		in.Message.Workflow = name
	}
	in.Def = &messages.WorkflowDefinition{Name: in.Message.Workflow, Sticky: messages.Sticky_STICKY_SOFT}
	if w.has("plain") {
		in.Def.Sticky = messages.Sticky_STICKY_NONE
	}
	if w.has("retired") {
		in.NoNew = messages.Errorf(messages.CodeWorkflowRetired, "workflow %q is retired", in.Message.Workflow)
	}
	if w.has("unknown") {
		in.Def, in.Err = nil, messages.Errorf(messages.CodeUnknownWorkflow, "no workflow %q", in.Message.Workflow)
	}
	return in
}

// infoOf is a worker that has the workflow, if it is not lacking-workflow, with all
// steps but that of lacking=.
func infoOf(def *messages.WorkflowDefinition, w words) *messages.WorkerInfo {
	if w.has("lacking-workflow") {
		return &messages.WorkerInfo{}
	}
	have := proto.CloneOf(def)
	have.Steps = slices.DeleteFunc(have.Steps, func(st *messages.StepDefinition) bool { return st.Name == w.named["lacking"] })
	return &messages.WorkerInfo{Workflows: []*messages.WorkflowDefinition{have}}
}

// reasonOf is the reason that a script names by its words.
func reasonOf(words string) messages.Reason {
	r := messages.ReasonOf(words)
	if r == 0 {
		panic("no reason has the words " + words)
	}
	return r
}
