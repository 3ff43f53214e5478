package run

import (
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// where answers once the turn is durable: then its entry is the newest.
func (m *Machine) where(in Where) {
	found := m.s.Found()
	if m.turn.any() {
		found.Entry++
	}
	m.later(Reply{Token: in.Token, Found: found})
}

// Found says where the local state of the run is.
func (s *State) Found() *messages.FoundRun {
	f := &messages.FoundRun{Workflow: s.Def.Name, Status: s.Status, Sticky: s.Def.Sticky, Entry: s.Number}
	if b := &s.Binding; b.Worker != nil && !s.Ended() {
		f.BoundTo, f.Epoch, f.Lost, f.LostReason = proto.CloneOf(b.Worker), b.Epoch, b.Lost, b.LostReason
	}
	return f
}
