package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/messages"
)

func (s *script) printf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.quiet && (strings.HasPrefix(text, "ask again") || strings.HasPrefix(text, "to w")) {
		return
	}
	if s.when != "" && text == s.said {
		s.repeated++
		return
	}
	s.flush()
	if s.when != "" {
		s.said = text
	}
	fmt.Fprintf(&s.out, "  %s%s\n", s.when, text)
}

// flush sums up a line that was repeated.
func (s *script) flush() {
	if s.repeated > 0 {
		fmt.Fprintf(&s.out, "  … and again, %d times more\n", s.repeated)
	}
	s.said, s.repeated = "", 0
}

// print shows an action and does what a shell would do about it.
func (s *script) print(action Action) {
	switch a := action.(type) {
	case Append:
		s.inFlight = &a
		row := ""
		if a.RowChanged {
			row = ", row"
		}
		s.printf("entry %d%s", a.Number, row)
		for _, ev := range a.Entry.Events {
			s.printf("  %s", s.event(ev))
		}
		for _, c := range a.Events {
			s.printf("  beside it: %s", s.eventWait(c))
		}
		for _, c := range a.Streams {
			s.printf("  beside it: %s", streamChange(c))
		}
		if a.Cut > 0 {
			s.printf("  cut up to entry %d, kept of these: %v", a.Cut, a.Kept)
		}
	case SeekEvents:
		var calls []string
		for _, id := range a.Waits {
			calls = append(calls, callOfWait(id))
		}
		s.soughtBefore, s.seeking = s.seeking, a
		s.printf("seek events for %s", strings.Join(calls, ", "))
	case SendWorker:
		s.printf("to %s: %s", processName(a.To), s.message(a.Message))
	case Ask:
		s.asked(a.Message)
	case Withdraw:
		s.printf("withdraw %s", s.names[a.Message.Question])
	case Unbound:
		s.printf("no longer bound to %s", a.Message.WorkerId)
	case Watch:
		if a.Incarnation == "" {
			s.printf("watch any process of %s", a.WorkerID)
			return
		}
		s.printf("watch %s", processName(&messages.WorkerRef{WorkerId: a.WorkerID, Incarnation: a.Incarnation}))
	case Unwatch:
		s.printf("unwatch %s", a.WorkerID)
	case StartChild:
		s.printf("start child %s: %s", a.Message.RunId, s.fields(a.Message.Start))
	case ListChildren:
		s.printf("ask the journal which children have ended")
	case CancelChild:
		s.printf("cancel child %s: %s", a.RunID, a.Reason)
	case AskChild:
		s.printf("ask the journal about child %s", a.RunID)
	case TellParent:
		s.printf("tell parent %s of the end", a.Message.RunId)
	case SignalOther:
		s.sending = a
		if k := a.Keyed; k != nil {
			s.printf("start run %s of workflow %s, key %s, input=%s, if it is not there", a.Message.RunId, k.Workflow, k.IdempotencyKey, k.Input)
		}
		s.printf("send to run %s: signal %s %s payload=%s", a.Message.RunId, a.Message.Name, a.Message.MessageId, a.Message.Payload)
	case ReadCalls:
		s.printf("read calls from entry %d for %v", a.From, a.Token)
	case Reply:
		s.reply(a)
	case *SetTimer:
		if s.timer = a.At; !s.timer.IsZero() {
			s.timer = s.timer.Add(-s.clock)
		}
	case Stop:
		s.printf("leaves memory")
		s.stopped, s.timer = true, time.Time{}
	}
}

func callOfWait(id string) string {
	step, name, key := messages.CallOfEventWait(id)
	return step + " " + name + " " + key
}

func (s *script) eventWait(c EventWaitChange) string {
	if c.Over {
		return callOfWait(c.ID) + " waits for no event"
	}
	text := callOfWait(c.ID) + " waits for event " + c.Pattern
	if c.Condition != "" {
		text += " if " + c.Condition
	}
	if !c.Since.IsZero() {
		text += " since " + c.Since.Sub(scriptEpoch).String()
	}
	return text
}

func (s *script) reply(a Reply) {
	switch {
	case a.Found != nil:
		s.printf("reply to %v: %s", a.Token, foundText(a.Found))
	case a.Decided:
		s.printf("reply to %v: it has decided the wait", a.Token)
	case a.Err != nil:
		s.printf("reply to %v: %v", a.Token, a.Err)
	case a.Section != 0:
		s.printf("reply to %v: section %d", a.Token, a.Section)
	case a.ChildRun != "":
		s.printf("reply to %v: %s", a.Token, a.ChildRun)
	case a.Existed:
		s.printf("reply to %v: existed", a.Token)
	case a.Unproven:
		s.printf("reply to %v: done, once it is shown that no other activation went on", a.Token)
	default:
		s.printf("reply to %v: done", a.Token)
	}
}

func streamChange(c StreamChange) string {
	text := fmt.Sprintf("section %d of stream %s", c.Section, c.Stream)
	if c.Attempt != 0 {
		text += fmt.Sprintf(" begins, of %s#%d", c.Step, c.Attempt)
	}
	if c.Over {
		text += " is over"
	}
	return text
}

func foundText(f *messages.FoundRun) string {
	text := fmt.Sprintf("%s, entry %d", strings.ToLower(strings.TrimPrefix(f.Status.String(), "RUN_STATUS_")), f.Entry)
	if f.BoundTo != nil {
		text += fmt.Sprintf(", bound to %s under epoch %d", processName(f.BoundTo), f.Epoch)
	}
	if f.Lost {
		text += ", lost: " + f.LostReason.Words()
	}
	return text
}

func (s *script) asked(p *messages.Place) {
	name := s.names[p.Question]
	again := name != ""
	if !again {
		s.asks++
		name = fmt.Sprintf("q%d", s.asks)
		s.names[p.Question] = name
	}
	s.open[p.Step] = p.Question
	line := fmt.Sprintf("ask %s: a worker with %s", name, strings.Join(p.Steps, ","))
	if again {
		line = "ask again " + line[4:]
	}
	for _, l := range p.Labels {
		line += " label=" + l.Key
	}
	if p.ExcludeWorker != "" {
		line += ", but not " + p.ExcludeWorker
	}
	if p.Move {
		line += ", to move"
	}
	s.printf("%s", line)
}

func (s *script) message(msg proto.Message) string {
	name := kebab(string(msg.ProtoReflect().Descriptor().Name()))
	am, ok := msg.(attemptMessage)
	if !ok {
		return name + s.fieldsBut(msg, "run_id")
	}
	if d, ok := msg.(*messages.Dispatch); ok {
		line := fmt.Sprintf("%s %s#%d", name, am.GetStep(), am.GetAttempt())
		if d.TakeUp {
			line = fmt.Sprintf("take up %s#%d", am.GetStep(), am.GetAttempt())
		}
		for _, f := range []struct {
			on   bool
			text string
		}{
			{d.Epoch != 0, fmt.Sprintf(" epoch=%d", d.Epoch)},
			{d.Bound, " bound"},
			{d.GrantId != 0, " granted"},
			{d.RecordedCalls != 0, fmt.Sprintf(" recorded-calls=%d", d.RecordedCalls)},
			{len(d.LastProgress) > 0, " last-progress=" + payload(d.LastProgress)},
			{d.HeartbeatMs != 0, fmt.Sprintf(" heartbeat=%dms", d.HeartbeatMs)},
			{d.Rebuild, " rebuild"},
			{d.ReadyUs != s.m.s.Step(d.Step).ReadyAt.UnixMicro(), " turn=" + time.UnixMicro(d.ReadyUs).Sub(scriptEpoch).String()},
			{d.Suspect, " suspect"},
			{d.StateNew, fmt.Sprintf(" state-new=%q", d.StateReason.Words())},
			{d.PreviousWorker != "", " previous=" + d.PreviousWorker},
			{len(d.Input) > 0, " input=" + payload(d.Input)},
			{d.InputShared, " input-shared"},
			{len(d.Parents) > 0, fmt.Sprintf(" parents=%s", d.Parents)},
			{len(d.HandedOff) > 0, " handed-off=" + handed(d.HandedOff)},
			{d.Ending != nil, " ending=(" + s.fields(d.Ending) + ")"},
		} {
			if f.on {
				line += f.text
			}
		}
		return line
	}
	return fmt.Sprintf("%s %s#%d%s", name, am.GetStep(), am.GetAttempt(), s.fieldsBut(msg, "run_id", "step", "attempt"))
}

// event prints an event in one line: its kind and the fields that are set.
func (s *script) event(ev *messages.Event) string {
	m := ev.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	body := m.Get(field).Message()
	name := strings.ReplaceAll(string(field.Name()), "_", "-")
	skip := []string{"definition_hash", "input_hash"}
	if step, ok := stepOf(ev); ok {
		name += " " + step
		if f := body.Descriptor().Fields().ByName("attempt"); f != nil {
			name += fmt.Sprintf("#%d", body.Get(f).Int())
		}
		skip = append(skip, "step", "attempt")
	}
	return name + s.fieldsBut(body.Interface(), skip...)
}

func (s *script) fields(msg proto.Message) string { return strings.TrimSpace(s.fieldsBut(msg)) }

// fieldsBut prints the fields of a message that are set, in the order of their
// numbers.
func (s *script) fieldsBut(msg proto.Message, skip ...string) string {
	var b strings.Builder
	m := msg.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) || f.Name() == "carried" || contains(skip, string(f.Name())) {
			continue
		}
		fmt.Fprintf(&b, " %s=%s", strings.TrimSuffix(strings.ReplaceAll(string(f.Name()), "_", "-"), "-us"), s.value(f, m.Get(f)))
	}
	return b.String()
}

func (s *script) value(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch {
	case f.IsList() && f.Name() == "states":
		var states []*messages.HandedState
		for i := range v.List().Len() {
			states = append(states, v.List().Get(i).Message().Interface().(*messages.HandedState))
		}
		return handed(states)
	case f.IsList() && f.Name() == "branches":
		var branches []string
		for i := range v.List().Len() {
			b := v.List().Get(i).Message().Interface().(*messages.WaitBranch)
			branches = append(branches, strings.ToLower(strings.TrimPrefix(b.Kind.String(), "CALL_KIND_"))+strings.ReplaceAll(s.fieldsBut(b, "kind"), " ", ":"))
		}
		return strings.Join(branches, ",")
	case f.IsMap():
		var items []string
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			items = append(items, fmt.Sprintf("%s:%s", k.String(), v.String()))
			return true
		})
		slices.Sort(items)
		return strings.Join(items, ",")
	case f.IsList():
		var items []string
		for i := range v.List().Len() {
			items = append(items, v.List().Get(i).String())
		}
		return strings.Join(items, ",")
	case f.Kind() == protoreflect.MessageKind:
		switch sub := v.Message().Interface().(type) {
		case *messages.WorkerRef:
			return processName(sub)
		case *messages.ChildEnd, *messages.CameEvent, *messages.FailedCondition:
			return "(" + s.fields(sub) + ")"
		case *messages.Failure:
			text := fmt.Sprintf("%s(%s)", sub.Code, sub.Message)
			if sub.Final {
				text += " final"
			}
			return text
		}
	case strings.HasSuffix(string(f.Name()), "_us"):
		return time.UnixMicro(v.Int()).Sub(scriptEpoch).String()
	case f.Kind() == protoreflect.BytesKind:
		return payload(v.Bytes())
	case f.Kind() == protoreflect.EnumKind && f.Enum().FullName() == "limpet.v1.Reason":
		return quoted(messages.Reason(v.Enum()).Words())
	case f.Kind() == protoreflect.EnumKind && f.Enum().FullName() == "limpet.v1.ReleaseReason":
		return quoted(messages.ReleaseReason(v.Enum()).Words())
	case f.Kind() == protoreflect.EnumKind:
		name := string(f.Enum().Values().ByNumber(v.Enum()).Name())
		return strings.ToLower(name[strings.LastIndex(name, "_")+1:])
	case f.Kind() == protoreflect.StringKind:
		return quoted(v.String())
	}
	return v.String()
}

// quoted is a text in quotes if it is of several words.
func quoted(text string) string {
	if strings.Contains(text, " ") {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// payload shows one that is made up of zeros by its size.
func payload(p []byte) string {
	if len(p) > 0 && p[0] == 0 {
		return fmt.Sprintf("%d bytes", len(p))
	}
	return string(p)
}

func handed(states []*messages.HandedState) string {
	var items []string
	for _, st := range states {
		data := string(st.Data)
		if len(data) > 64 {
			data = fmt.Sprintf("(%d bytes)", len(data))
		}
		items = append(items, st.Local+":"+data)
	}
	return strings.Join(items, ",")
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (s *script) shows(what string) {
	st := s.m.State()
	if what != "run" {
		step := st.Step(what)
		s.printf("%s attempt=%d failures=%d lost=%d", step.Phase, step.Attempt, step.Failures, step.Lost)
		if n, last := step.Calls(); n > 0 {
			s.printf("%d calls are recorded, the newest is %s; %d can be asked for", n, last, len(step.calls))
		}
		return
	}
	line := strings.ToLower(strings.TrimPrefix(st.Status.String(), "RUN_STATUS_")) + fmt.Sprintf(" epoch=%d", st.Epoch)
	if b := st.Binding; b.Worker != nil {
		line += " bound to " + processName(b.Worker)
		if b.Lost {
			line += " (lost)"
		}
	}
	for i := range st.Steps {
		line += fmt.Sprintf("; %s %s", st.Steps[i].Def.Name, st.Steps[i].Phase)
	}
	s.printf("%s", line)
}
