package run

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Calls that wait for events of the cluster. The machine does not know of events but by
// what it is told: the shell judges keys and conditions.
//
//	Append       has what an entry changes of the waits for events of the run. It is
//	             stored beside the entry, and found by whoever publishes an event.
//	SeekEvents   After a wait is on record, and when the run comes back to memory, the
//	             shell looks for it among the events that are kept. Until that is
//	             answered no time decides the wait, and the run stays in memory.
//	EventCame    An event that fits was published. It decides the wait whatever the step
//	             does meanwhile: events do not stay for long, so that a later attempt of a
//	             step that was lost or has failed finds it on record. Only one that came
//	             before the time of the wait counts, by the time of the event.
//
// A condition that cannot be evaluated on an event is recorded once for each branch: the
// wait goes on, and says so.
//
// An event that comes twice, or to a wait that is over, does nothing; nor does one for a
// wait of the same call before a replay, or before the run went on as new. That there is no
// such wait is true only if the journal shows the activation to be the newest.

// eventBranch is what a branch of a wait says of events.
type eventBranch struct {
	// id is the EventWaitID.
	id, pattern, condition string
	// since is how far it looks back from when the wait began.
	since time.Duration
	// failed says, in words, on which event the condition could not be evaluated.
	failed string
}

// eventWait is a branch that waits for an event, and whose it is.
type eventWait struct {
	eventBranch
	step, branch int
	key          callKey
	// began is when the call began to wait.
	began time.Time
}

// EventWaitChange is what an entry changes of the waits for events: one begins, or is
// over.
type EventWaitChange struct {
	// ID is an EventWaitID. Pattern of the keys, condition, and how far the wait looks
	// back: zero for not at all.
	ID, Pattern, Condition string
	Since                  time.Time
	Over                   bool
}

// eventWaits are the branches that wait for events, by their ids.
func (s *State) eventWaits() map[string]eventWait {
	if !s.awaitsEvents || s.Ended() {
		return nil
	}
	all := map[string]eventWait{}
	for i := range s.Steps {
		st := &s.Steps[i]
		for key, w := range st.waits {
			for n, b := range w.branches {
				if b.event.id != "" {
					all[b.event.id] = eventWait{b.event, i, n, key, w.since}
				}
			}
		}
	}
	return all
}

// nameEvents gives the branches of a wait that are for events their ids.
func (w *callWait) nameEvents(generation int, st *Step, key callKey, branches []*messages.WaitBranch) (any bool) {
	for i, b := range branches {
		if b.Kind == messages.CallKind_CALL_KIND_EVENT {
			any = true
			id := messages.EventWaitID(generation, st.Def.Name, key.name, key.key, i, b)
			w.branches[i].event = eventBranch{id, b.EventPattern(), b.Condition, time.Duration(b.SinceMs) * time.Millisecond, st.waits[key].failedCondition(id)}
		}
	}
	return any
}

// failedCondition is what is known of the condition of a wait for an event.
func (w callWait) failedCondition(id string) string {
	for _, b := range w.branches {
		if b.event.id == id {
			return b.event.failed
		}
	}
	return ""
}

// applyFailed folds that the condition of a branch could not be evaluated.
func (w callWait) applyFailed(f *messages.FailedCondition) {
	if i := int(f.Branch); i >= 0 && i < len(w.branches) {
		w.branches[i].event.failed = fmt.Sprintf("its condition could not be evaluated on event %s, key %s: %s", f.GetEvent().GetEventId(), f.GetEvent().GetKey(), f.Message)
	}
}

// forEvents says that a call waits for an event, maybe among other things.
func (w callWait) forEvents() bool {
	return slices.ContainsFunc(w.branches, func(b branch) bool { return b.kind == messages.CallKind_CALL_KIND_EVENT })
}

// eventsFault is what is wrong with branches that are for events; nil of those that are on
// record.
func (m *Machine) eventsFault(msg *messages.AwaitCall) error {
	for i, b := range msg.Branches {
		if b.Kind != messages.CallKind_CALL_KIND_EVENT {
			continue
		}
		if _, waits := m.events.stored[messages.EventWaitID(m.s.Generation, msg.Step, msg.Name, msg.Key, i, b)]; waits {
			continue
		}
		err := m.cfg.EventFault(b)
		if b.EventKey == "" && !b.EventPrefix {
			err = messages.Errorf(messages.CodeInvalidArgument, "the key of the event is empty")
		}
		if err != nil {
			return messages.Errorf(messages.CodeOf(err), "call %q %s of step %q: %w", msg.Name, msg.Key, msg.Step, err)
		}
	}
	return nil
}

// eventSeeks are what an activation knows of its waits for events. The zero value has
// none.
type eventSeeks struct {
	// stored are those that the journal has beside the run, as soon as what is
	// appended is durable.
	stored map[string]eventWait
	// of are the seeks.
	of     map[string]*eventSeek
	serial uint64
}

// eventSeek is one for a wait: done, or asked for at a time.
type eventSeek struct {
	// serial is that of the first question about it: what answers a later one is of the
	// wait as well, what answers an earlier one may be of one before.
	serial uint64
	at     time.Time
	done   bool
}

// sought says that a wait was looked for among the events that are kept.
func (e *eventSeeks) sought(b branch) bool {
	s := e.of[b.event.id]
	return s != nil && s.done
}

// eventChanges are what the entry that is appended now changes of the waits.
func (m *Machine) eventChanges() (changes []EventWaitChange) {
	if !m.s.awaitsEvents {
		return nil
	}
	now := m.s.eventWaits()
	for _, id := range slices.Sorted(maps.Keys(m.events.stored)) {
		if _, waits := now[id]; !waits {
			changes = append(changes, EventWaitChange{ID: id, Over: true})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if _, waits := m.events.stored[id]; waits {
			continue
		}
		w := now[id]
		change := EventWaitChange{ID: id, Pattern: w.pattern, Condition: w.condition}
		if w.since > 0 {
			change.Since = w.began.Add(-w.since)
		}
		changes = append(changes, change)
	}
	m.events.stored = now
	return changes
}

// seekEvents has the shell look for waits among the events that are kept.
func (m *Machine) seekEvents() {
	e := &m.events
	if len(e.stored)+len(e.of) == 0 {
		return
	}
	maps.DeleteFunc(e.of, func(id string, _ *eventSeek) bool { _, waits := e.stored[id]; return !waits })
	var ids []string
	for id := range e.stored {
		if s := e.of[id]; s == nil || !s.done && m.due(s.at.Add(m.cfg.ResendAfter)) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	e.serial++
	for _, id := range ids {
		if e.of == nil {
			e.of = map[string]*eventSeek{}
		}
		if e.of[id] == nil {
			e.of[id] = &eventSeek{serial: e.serial}
		}
		e.of[id].at = m.now
	}
	m.later(SeekEvents{Serial: e.serial, Waits: ids})
}

// seekTimers: what was not answered is sought again.
func (m *Machine) seekTimers(next *earliest) {
	for _, s := range m.events.of {
		next.addIf(s.at.Add(m.cfg.ResendAfter), !s.done)
	}
}

// seeksEvents says that a wait is not stored yet, or not sought.
func (m *Machine) seeksEvents() bool {
	for id := range m.s.eventWaits() {
		if s := m.events.of[id]; s == nil || !s.done {
			return true
		}
	}
	return false
}

// eventsSought takes what was found, of the waits that were sought with that.
func (m *Machine) eventsSought(in EventsSought) {
	if in.Err != nil {
		return
	}
	for _, id := range in.Of.Waits {
		if s := m.events.of[id]; s != nil && in.Of.Serial >= s.serial {
			s.done = true
		}
	}
	for _, came := range in.Came {
		m.decideByEvent(came)
	}
}

// eventCame takes an event that was published.
func (m *Machine) eventCame(in EventCame) {
	decided := m.decideByEvent(in.Message)
	m.later(Reply{Token: in.Token, Decided: decided, Unproven: !decided})
}

// decideByEvent says that the event decides a wait.
func (m *Machine) decideByEvent(msg *messages.DeliverEvent) bool {
	if f := msg.Failed; f != nil {
		m.conditionFailed(f, msg.Event)
		return false
	}
	stored, w, ok := m.eventWait(msg.WaitId, msg.Event)
	if !ok {
		return false
	}
	st := &m.s.Steps[stored.step]
	m.turn.bytes += len(msg.Payload)
	m.emitCall(st, stored.key, w, &messages.CallRecorded{Branch: int32(stored.branch), Event: msg.Event,
		Outcome: &messages.CallRecorded_Output{Output: msg.Payload}})
	if st.awaits(w) {
		m.tellOf(stored.step, stored.key, w)
	}
	return true
}

// eventWait is a wait that is stored, and goes on as an event came; false for none. It
// may have been decided since, or be another one.
func (m *Machine) eventWait(id string, came *messages.CameEvent) (eventWait, callWait, bool) {
	stored, ok := m.events.stored[id]
	if !ok {
		return eventWait{}, callWait{}, false
	}
	w, waits := m.s.Steps[stored.step].waits[stored.key]
	ok = waits && stored.branch < len(w.branches) && w.branches[stored.branch].event.id == id && !time.UnixMicro(came.AtUs).After(w.deadline)
	return stored, w, ok
}

// conditionFailed records the first event on which the condition of a wait could not be
// evaluated.
func (m *Machine) conditionFailed(f *messages.FailedWait, event *messages.CameEvent) {
	stored, w, ok := m.eventWait(f.WaitId, event)
	if !ok || w.branches[stored.branch].event.failed != "" {
		return
	}
	branches := make([]*messages.WaitBranch, len(w.branches))
	for i, b := range w.branches {
		branches[i] = b.message()
	}
	m.emit(&messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: m.s.Steps[stored.step].Def.Name, Attempt: w.attempt, Kind: w.kind,
		Name: stored.key.name, Key: stored.key.key, DeadlineUs: w.deadline.UnixMicro(), Branches: branches, AllKey: w.all,
		FailedCondition: &messages.FailedCondition{Branch: int32(stored.branch), Event: event, Message: f.Message}}}})
}

// eventWords say what a branch waits for.
func (b branch) eventWords() string {
	words := fmt.Sprintf("event %q", b.name)
	if b.event.condition == "" {
		return words
	}
	const shown = 100
	condition := b.event.condition
	if runes := []rune(condition); len(runes) > shown {
		condition = string(runes[:shown]) + "…"
	}
	words += " if " + condition
	if b.event.failed != "" {
		words += " (" + b.event.failed + ")"
	}
	return words
}
