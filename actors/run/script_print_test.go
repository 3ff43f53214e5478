package run

import (
	"fmt"
	"reflect"
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
	case ReadCalls:
		s.printf("read calls from entry %d for %v", a.From, a.Token)
	case Reply:
		s.reply(a)
	case SetTimer:
		if s.timer = a.At; !s.timer.IsZero() {
			s.timer = s.timer.Add(-s.clock)
		}
	case Stop:
		s.printf("leaves memory")
		s.stopped, s.timer = true, time.Time{}
	}
}

func (s *script) reply(a Reply) {
	switch {
	case a.Err != nil:
		s.printf("reply to %v: %v", a.Token, a.Err)
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
			{d.Rebuild, " rebuild"},
			{d.ReadyUs != s.m.s.Step(d.Step).ReadyAt.UnixMicro(), " turn=" + time.UnixMicro(d.ReadyUs).Sub(scriptEpoch).String()},
			{d.Suspect, " suspect"},
			{d.StateNew, fmt.Sprintf(" state-new=%q", d.StateReason.Words())},
			{d.PreviousWorker != "", " previous=" + d.PreviousWorker},
			{len(d.Input) > 0, " input=" + payload(d.Input)},
			{d.InputShared, " input-shared"},
			{len(d.Parents) > 0, fmt.Sprintf(" parents=%s", d.Parents)},
			{len(d.HandedOff) > 0, " handed-off=" + handed(d.HandedOff)},
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
		if !m.Has(f) || contains(skip, string(f.Name())) {
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

// difference compares two states in all that folding makes of entries.
func difference(a, b *State) string {
	if a.Number != b.Number {
		return fmt.Sprintf("number %d and %d", a.Number, b.Number)
	}
	for i := range a.Steps {
		if text := differ(a.Steps[i], b.Steps[i]); text != "" {
			return fmt.Sprintf("step %q: %s", a.Steps[i].Def.Name, text)
		}
	}
	x, y := *a, *b
	x.Steps, y.Steps = nil, nil
	return differ(x, y)
}

// differ compares structs field by field, protobuf messages by proto.Equal.
func differ(a, b any) string {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		name := va.Type().Field(i).Name
		x, y := va.Field(i), vb.Field(i)
		if !sameValue(x, y) {
			return fmt.Sprintf("%s: %v and %v", name, x, y)
		}
	}
	return ""
}

func sameValue(x, y reflect.Value) bool {
	if x.CanInterface() {
		if m, ok := x.Interface().(proto.Message); ok {
			return proto.Equal(m, y.Interface().(proto.Message))
		}
		if t, ok := x.Interface().(time.Time); ok {
			return t.Equal(y.Interface().(time.Time))
		}
		if x.Kind() == reflect.Pointer && x.Type().Elem().Kind() == reflect.Struct && !x.IsNil() && !y.IsNil() {
			x, y = x.Elem(), y.Elem()
		}
		if x.Kind() == reflect.Struct {
			return differ(x.Interface(), y.Interface()) == ""
		}
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}
