package projection

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// bindings lists every binding that the run ever had, with what became of it: of a history
// that was cut, from the one that the first entry carries on.
func bindings(record *journal.Record) []*api.BindingRecord {
	var h bindingHistory
	for i, data := range record.Entries {
		e, err := run.DecodeEntry(data)
		if err != nil {
			continue
		}
		h.at = timestamppb.New(time.UnixMicro(e.AtUs))
		if i == 0 && record.After > 0 {
			h.carried(e)
		}
		for _, ev := range e.Events {
			h.add(ev)
		}
	}
	return h.list
}

// bindingHistory folds the events of a run to its bindings.
type bindingHistory struct {
	list []*api.BindingRecord
	// at is the time of the present entry.
	at *timestamppb.Timestamp
}

// last is the newest binding; an empty one, which is not listed, if there is
// none.
func (h *bindingHistory) last() *api.BindingRecord {
	if n := len(h.list); n > 0 {
		return h.list[n-1]
	}
	return &api.BindingRecord{}
}

func (h *bindingHistory) add(ev *messages.Event) {
	last := h.last()
	switch k := ev.Kind.(type) {
	case *messages.Event_Bound:
		h.bound(k.Bound)
	case *messages.Event_BindingLost:
		last.LostAt, last.LostReason = h.at, k.BindingLost.Reason
		last.Until = h.at
	case *messages.Event_BindingRestored:
		last.LostAt, last.LostReason, last.Until = nil, 0, nil
		last.Restored++
	case *messages.Event_StateHandedOff:
		last.HandOff = handOff(k.StateHandedOff, h.at)
	case *messages.Event_RebuildBegan:
		b := k.RebuildBegan
		last.Rebuilds = append(last.Rebuilds, &api.Rebuild{Step: b.Step, ForStep: b.ForStep, Reason: b.Reason, BeganAt: h.at})
	case *messages.Event_StepRebuilt:
		for i := len(last.Rebuilds) - 1; i >= 0; i-- {
			if b := last.Rebuilds[i]; b.Step == k.StepRebuilt.Step && b.EndedAt == nil {
				b.EndedAt, b.Attempt = h.at, k.StepRebuilt.Attempt
				break
			}
		}
	case *messages.Event_RunEnded, *messages.Event_RunReplayed:
		h.over(last)
	}
}

// over ends a binding, unless it has ended.
func (h *bindingHistory) over(b *api.BindingRecord) {
	if b.Until == nil {
		b.Until = h.at
	}
}

func (h *bindingHistory) bound(b *messages.Bound) {
	last := h.last()
	h.over(last)
	last.ToWorker = b.Worker.GetWorkerId()
	h.list = append(h.list, &api.BindingRecord{
		Epoch: b.Epoch, WorkerId: b.Worker.GetWorkerId(), Incarnation: b.Worker.GetIncarnation(), Address: b.Worker.GetAddress(),
		Reason: b.Reason, FromWorker: b.FromWorker, FromIncarnation: b.FromIncarnation, At: h.at,
	})
}

// carried begins with the binding that a run kept when it went on as new.
func (h *bindingHistory) carried(e *messages.Entry) {
	for _, ev := range e.Events {
		c := ev.GetRunContinued().GetCarried()
		b := c.GetBinding()
		if b == nil {
			continue
		}
		h.list = []*api.BindingRecord{{Epoch: c.GetEpoch(), WorkerId: b.GetWorker().GetWorkerId(), Incarnation: b.GetWorker().GetIncarnation(),
			Address: b.GetWorker().GetAddress(), Reason: b.GetReason(), At: timestamppb.New(time.UnixMicro(b.GetSinceUs()))}}
		if b.GetLost() {
			at := timestamppb.New(time.UnixMicro(b.GetLostUs()))
			h.list[0].LostAt, h.list[0].LostReason, h.list[0].Until = at, b.GetLostReason(), at
		}
	}
}

func handOff(s *messages.StateHandedOff, at *timestamppb.Timestamp) *api.HandOff {
	v := &api.HandOff{At: at, Failure: s.Failure}
	for _, l := range s.States {
		v.Locals = append(v.Locals, &api.HandedLocal{Name: l.Local, Bytes: int64(len(l.Data))})
	}
	return v
}
