package sim

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Texts for the trace, made only when it is printed.
type (
	describeInput   struct{ in run.Input }
	describeAction  struct{ action run.Action }
	describeMessage struct{ msg proto.Message }
	describeAny     struct{ msg any }
)

func (d describeAny) String() string {
	switch msg := d.msg.(type) {
	case *run.WorkerChanged:
		return describeInput{*msg}.String()
	case run.Input:
		return describeInput{msg}.String()
	case proto.Message:
		return describeMessage{msg}.String()
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", d.msg), "*")
}

func (d describeInput) String() string {
	switch in := d.in.(type) {
	case run.Start:
		return "start"
	case run.FromWorker:
		return describeMessage{in.Message}.String()
	case run.Placed:
		return describeMessage{in.Message}.String()
	case run.PlaceWaiting:
		return describeMessage{in.Message}.String()
	case run.WorkerChanged:
		return fmt.Sprintf("%s~%s %s %s", in.Worker.WorkerId, in.Worker.Incarnation, in.State, in.Reason.Words())
	case run.Spawn:
		return describeMessage{in.Message}.String()
	case run.Cancel, run.Replay:
		return strings.TrimPrefix(fmt.Sprintf("%T", in), "run.")
	}
	return strings.TrimPrefix(fmt.Sprintf("%T%+v", d.in, d.in), "run.")
}

func (d describeAction) String() string {
	switch a := d.action.(type) {
	case run.Append:
		var kinds []string
		for _, ev := range a.Entry.Events {
			kinds = append(kinds, eventText(ev))
		}
		return fmt.Sprintf("append %d [%s]", a.Number, strings.Join(kinds, "; "))
	case run.SendWorker:
		return fmt.Sprintf("to %s~%s: %s", a.To.WorkerId, a.To.Incarnation, describeMessage{a.Message})
	case run.Ask:
		return describeMessage{a.Message}.String()
	case run.Withdraw:
		return describeMessage{a.Message}.String()
	case run.Unbound:
		return describeMessage{a.Message}.String()
	case *run.SetTimer:
		return fmt.Sprintf("timer at %.4f", a.At.Sub(epoch).Seconds())
	case run.Reply:
		return fmt.Sprintf("reply %s %v", a.ChildRun, a.Err)
	case run.StartChild:
		return "start child " + a.Message.RunId
	case activation.Respond, activation.PassOn, activation.PassOver, activation.Resolve:
		return fmt.Sprintf("%T", a)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T%+v", d.action, d.action), "run.")
}

func eventText(ev *messages.Event) string {
	m := ev.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	return string(f.Name()) + fieldsText(m.Get(f).Message())
}

func (d describeMessage) String() string {
	if d.msg == nil {
		return "nothing"
	}
	m := d.msg.ProtoReflect()
	return string(m.Descriptor().Name()) + fieldsText(m)
}

var dull = map[protoreflect.Name]bool{"reply_address": true, "reply_actor_id": true, "definition_hash": true, "address": true,
	"actor_id": true, "pool": true, "workflow": true, "metadata": true, "sticky": true, "input": true, "parents": true}

func fieldsText(m protoreflect.Message) string {
	var b strings.Builder
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) || dull[f.Name()] {
			continue
		}
		v := m.Get(f)
		switch sub, _ := v.Interface().(protoreflect.Message); {
		case f.IsList():
			fmt.Fprintf(&b, " %s(%d)", f.Name(), v.List().Len())
		case f.IsMap():
			fmt.Fprintf(&b, " %s(%d)", f.Name(), v.Map().Len())
		case sub != nil:
			fmt.Fprintf(&b, " %s{%s}", f.Name(), strings.TrimSpace(fieldsText(sub)))
		case f.Kind() == protoreflect.BytesKind:
			fmt.Fprintf(&b, " %s=%q", f.Name(), v.Bytes())
		default:
			fmt.Fprintf(&b, " %s=%v", f.Name(), v)
		}
	}
	return b.String()
}

func attemptKey(runID, step string, attempt int32) string {
	return fmt.Sprintf("%s/%s#%d", runID, step, attempt)
}

func processKey(w *messages.WorkerRef) string { return w.GetWorkerId() + "~" + w.GetIncarnation() }
