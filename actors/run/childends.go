package run

import (
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Who waits for the end of a child learns of it from the journal.
//
//	the parent asks   When a call begins to wait for a child, and when the run comes
//	                  back to memory with such a call, it reads whether the child has
//	                  ended: after the wait is on record.
//	the child tells   Once its end is on record it tells its parent, whether or not that
//	                  waits, and stays in memory until that has answered. The parent,
//	                  which is brought back to memory for it, reads again: it believes
//	                  the journal alone. It answers when the wait is decided and durable;
//	                  that it does not wait is true only if it is the newest activation.
//	a server dies     between the end of a child and the telling: nobody tells. So the
//	                  parent reads again after half of the time that it has waited, after
//	                  askChildLeast at the earliest and askChildMost at the latest. A
//	                  dormant one is woken for that.
//
// So a child that ended before the wait is found by the reading, one that ended after it
// tells, and both are harmless together.

const (
	askChildLeast = 30 * time.Second
	askChildMost  = time.Hour
	// tellFor is how long a parent is told that does not answer.
	tellFor = time.Minute
)

// childAsk is what is known of a child that calls wait for.
type childAsk struct {
	// serial numbers the newest reading, at is when it began; answered: it said that
	// the child goes on.
	serial   uint64
	at       time.Time
	answered bool
	// end is how the child ended, lost why that cannot be known any more.
	end  *messages.ChildEnd
	lost error
	// tellers wait for an answer.
	tellers []any
}

// childAsks are those of an activation, by the run ids of the children. The zero value
// has none.
type childAsks struct {
	of     map[string]*childAsk
	serial uint64
}

// open says that the journal has not answered about a child.
func (c *childAsks) open() bool {
	for _, a := range c.of {
		if !a.answered {
			return true
		}
	}
	return false
}

// giveUp takes the tokens of all who wait.
func (c *childAsks) giveUp() (tokens []any) {
	for _, child := range slices.Sorted(maps.Keys(c.of)) {
		tokens = append(tokens, c.of[child].tellers...)
	}
	c.of = nil
	return tokens
}

// telling is the telling of the parent by a run that has ended.
type telling struct {
	// of is the entry that has the end; 0 for a run that has nothing to tell.
	of uint64
	// began is when it began to tell, at when it did last.
	began, at time.Time
}

// ---- the parent ----------------------------------------------------------------

// spawned says that a run is a child of this one.
func (s *State) spawned(runID string) bool {
	return slices.ContainsFunc(s.Children, func(c Child) bool { return c.RunID == runID })
}

// awaitedChildren are the children that calls wait for, and since when.
func (s *State) awaitedChildren() (children map[string]time.Time) {
	for i := range s.Steps {
		st := &s.Steps[i]
		if len(st.waits) == 0 {
			continue // as most: this is asked with each input
		}
		for _, w := range st.waits {
			if !st.awaits(w) {
				continue
			}
			for _, b := range w.branches {
				if b.kind != messages.CallKind_CALL_KIND_CHILD {
					continue
				}
				if children == nil {
					children = map[string]time.Time{}
				}
				if since, ok := children[b.name]; !ok || w.since.Before(since) {
					children[b.name] = w.since
				}
			}
		}
	}
	return children
}

// askChildren reads what became of children that calls wait for, and forgets those that
// nobody waits for any more.
func (m *Machine) askChildren() {
	var awaited map[string]time.Time
	if m.s.Start != nil && !m.s.Ended() && m.s.Cancel == nil {
		awaited = m.s.awaitedChildren()
	}
	if len(awaited)+len(m.asks.of) == 0 {
		return
	}
	for _, child := range slices.Sorted(maps.Keys(m.asks.of)) {
		if _, ok := awaited[child]; !ok {
			m.answerTellers(m.asks.of[child], true)
			delete(m.asks.of, child)
		}
	}
	for _, child := range slices.Sorted(maps.Keys(awaited)) {
		if a := m.asks.of[child]; a == nil || m.due(m.askAgainAt(a, awaited[child])) {
			m.askChild(child)
		}
	}
}

// askAgainAt is when it is read again what became of a child.
func (m *Machine) askAgainAt(a *childAsk, since time.Time) time.Time {
	if !a.answered {
		return a.at.Add(m.cfg.ResendAfter)
	}
	return a.at.Add(min(max(a.at.Sub(since)/2, askChildLeast), askChildMost))
}

func (m *Machine) askChild(child string) {
	a := m.asks.of[child]
	if a == nil {
		if a = new(childAsk); m.asks.of == nil {
			m.asks.of = map[string]*childAsk{}
		}
		m.asks.of[child] = a
	}
	m.asks.serial++
	a.serial, a.at, a.answered = m.asks.serial, m.now, false
	m.later(AskChild{RunID: child, Serial: a.serial})
}

// asksFor says that it is not known yet whether a child has ended that a wait is for.
func (m *Machine) asksFor(w callWait) bool {
	return slices.ContainsFunc(w.branches, func(b branch) bool {
		a := m.asks.of[b.name]
		return b.kind == messages.CallKind_CALL_KIND_CHILD && (a == nil || !a.answered)
	})
}

// childCame is how a wait for a child comes out now; nil for not yet.
func (m *Machine) childCame(child string) *messages.CallRecorded {
	switch a := m.asks.of[child]; {
	case a == nil:
	case a.end != nil:
		return &messages.CallRecorded{Child: a.end}
	case a.lost != nil:
		return failed(a.lost)
	}
	return nil
}

// childEnded is told by a child, which gets an answer.
func (m *Machine) childEnded(in ChildEnded) {
	a := m.asks.of[in.ChildRun]
	if a == nil {
		m.later(Reply{Token: in.Token, Unproven: true})
		return
	}
	a.tellers = append(a.tellers, in.Token)
	m.askChild(in.ChildRun)
}

// childAsked is what the journal says of a child. One that is not there was deleted.
func (m *Machine) childAsked(in ChildAsked) {
	a := m.asks.of[in.RunID]
	switch {
	case a == nil, in.End == nil && in.Serial != a.serial:
		return
	case messages.CodeOf(in.Err) == messages.CodeUnknownRun:
		a.lost = in.Err
	case in.Err != nil:
		return
	}
	a.answered, a.end = true, in.End
	m.settle(func(w callWait) bool { return w.isFor(messages.CallKind_CALL_KIND_CHILD, in.RunID) })
	m.answerTellers(a, false)
}

func (m *Machine) answerTellers(a *childAsk, unproven bool) {
	for _, token := range a.tellers {
		m.later(Reply{Token: token, Unproven: unproven})
	}
	a.tellers = nil
}

// askTimers: it is read again what became of children.
func (m *Machine) askTimers(next *earliest) {
	if len(m.asks.of) == 0 {
		return
	}
	for child, since := range m.s.awaitedChildren() {
		if a := m.asks.of[child]; a != nil {
			next.add(m.askAgainAt(a, since))
		}
	}
}

// ---- the child -----------------------------------------------------------------

// tells says that the run has ended and its parent does not know yet, and tells it.
func (m *Machine) tells() bool {
	t := &m.telling
	switch {
	case t.of == 0:
		return false
	case m.due(t.began.Add(tellFor)):
		m.telling = telling{}
		return false
	case t.at.IsZero() || m.due(t.at.Add(m.cfg.ResendAfter)):
		t.at = m.now
		m.do(TellParent{Of: t.of, Message: &messages.ChildEnded{RunId: m.s.Start.ParentRun, ChildRun: m.s.RunID}})
	}
	return true
}

// parentTold ends the telling.
func (m *Machine) parentTold(in ParentTold) {
	if in.Of == m.telling.of {
		m.telling = telling{}
	}
}

// ChildHistory finds out from the entries of a run how it ended. The zero value is
// ready.
type ChildHistory struct {
	number uint64
	end    *messages.ChildEnd
}

// Add takes the next entry, which has a number.
func (h *ChildHistory) Add(number uint64, entry []byte) error {
	e, err := DecodeEntry(entry)
	if err != nil {
		return err
	}
	h.number = number
	for _, ev := range e.Events {
		switch k := ev.Kind.(type) {
		case *messages.Event_RunEnded:
			h.end = &messages.ChildEnd{Entry: h.number, Status: k.RunEnded.Status, Failure: k.RunEnded.Failure}
		case *messages.Event_RunReplayed:
			h.end = nil
		}
	}
	return nil
}

// Number is that of the newest entry that it has taken.
func (h *ChildHistory) Number() uint64 { return h.number }

// End is how the run ended, by the entries so far; nil if it goes on.
func (h *ChildHistory) End(runID string) *messages.ChildEnd {
	if h.end != nil {
		h.end.ChildRun = runID
	}
	return h.end
}
