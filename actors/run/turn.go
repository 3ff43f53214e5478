package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// turn is what a machine decides between two appends: events for one entry, and
// the actions that they cause.
type turn struct {
	// at is the time of the first event, and of the entry.
	at     time.Time
	events []*messages.Event
	// notes counts those that change nothing.
	notes int
	// bytes of the outputs that the events record.
	bytes int
	// after are the actions to be done once the events are durable; acks come
	// last of them.
	after, acks []Action
	afterRoom   actionRoom
	// row is what the stored row shows of the state before the turn.
	row rowKey
	// continued: the run goes on as new in it.
	continued bool
	// boundNow: the turn bound the run by a grant, so that its first steps
	// compete with those of other new runs.
	boundNow bool
}

// turnBytesMax bounds the outputs that one entry records: beyond it the rest
// of the queue waits for the next turn. An entry has to fit into a message
// between two nodes.
const turnBytesMax = 16 << 20

// record adds an event.
func (t *turn) record(ev *messages.Event, now time.Time) {
	if len(t.events) == 0 {
		t.at = now
		t.events = make([]*messages.Event, 0, 4)
	}
	t.events = append(t.events, ev)
}

// atOr is the time of the entry, if a first event has the given time.
func (t *turn) atOr(now time.Time) time.Time {
	if t.any() {
		return t.at
	}
	return now
}

// full says that the turn takes no further input.
func (t *turn) full() bool { return t.bytes > turnBytesMax }

// any says that there is something to append.
func (t *turn) any() bool { return len(t.events) > 0 }

// entry takes the events. The actions stay until they are durable.
func (t *turn) entry() *messages.Entry {
	e := &messages.Entry{AtUs: t.at.UnixMicro(), Events: t.events}
	t.events, t.bytes, t.notes = nil, 0, 0
	return e
}

// close puts the acknowledgements after all other actions, so that a draining
// worker gets the next dispatch before it hears that a result is recorded.
func (t *turn) close() {
	for _, ack := range t.acks {
		t.later(ack)
	}
	t.acks = nil
}

// later adds an action to be done once the events are durable.
func (t *turn) later(a Action) {
	if t.after == nil {
		t.after = t.afterRoom.empty()
	}
	t.after = append(t.after, a)
}

// done moves the actions to others: what caused them is durable.
func (t *turn) done(to []Action) []Action {
	to = append(to, t.after...)
	t.afterRoom.empty()
	t.after, t.boundNow, t.continued = nil, false, false
	return to
}

// actionRoom has room for as many actions as most lists have, so that none is made
// for each input.
type actionRoom [4]Action

// empty returns the room as an empty list; what was in it is forgotten.
func (r *actionRoom) empty() []Action {
	clear(r[:])
	return r[:0]
}

// rowKey is the part of the state that the stored row shows.
type rowKey struct {
	status       messages.RunStatus
	worker       string
	epoch        uint64
	dormant      bool
	wakeAt       int64
	onUp, onGone string
	line, since  int64
}

func (s *State) rowKey() rowKey {
	k := rowKey{status: s.Status, worker: s.BoundWorker(), epoch: s.Epoch}
	if d := s.Dormant; d != nil {
		k.dormant, k.wakeAt, k.onUp, k.onGone = true, d.WakeAtUs, d.WakeOnUp, d.WakeOnGone
		k.line, k.since = d.Line, d.LineSinceUs
	}
	return k
}

// BoundWorker is the worker id that counts the run among its bound runs;
// empty for none.
func (s *State) BoundWorker() string {
	if s.Binding.Worker == nil || s.Ended() || (s.Binding.Lost && s.soft()) {
		return ""
	}
	return s.Binding.Worker.WorkerId
}
