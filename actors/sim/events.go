package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Events that clients publish while runs wait for them. The store is the real one; what
// is modelled are the servers, which publish, deliver, seek and sweep, and die or lose
// the journal between any two of these.

// eventSeeds is where the seeds of events begin.
const eventSeeds = 89 << 40

const (
	// sweepEvery is the time between two sweeps, deliverWithin that for one delivery.
	sweepEvery    = time.Second
	deliverWithin = 5 * time.Second
	// onlyEven is the condition of some waits: the servers evaluate it.
	onlyEven = "even"
)

// listening is one call of a step that waits for an event.
type listening struct {
	branch  *messages.WaitBranch
	timeout time.Duration
}

// drawEvents has steps that receive messages wait for events, too, and clients publish
// some.
func (s *Sim) drawEvents(d dice) {
	if !s.work.receives || !d.chance(0.6) {
		return
	}
	for _, def := range s.work.order {
		for _, st := range def.Def.Steps {
			if b := def.steps[st.Name]; b.receives > 0 {
				for range pick(d, []int{0, 1, 1, 2}) {
					b.listens = append(b.listens, drawListening(d))
					s.work.listens = true
				}
			}
		}
	}
	if !s.work.listens {
		return
	}
	every := pick(d, []time.Duration{300 * time.Millisecond, 2 * time.Second, 10 * time.Second})
	for at, n := d.between(0, every), 0; at < s.world.trouble+20*time.Second; at, n = at+d.between(0, 2*every), n+1 {
		e := journal.Event{ID: fmt.Sprintf("e%d", n), Key: fmt.Sprintf("k:%d", d.IntN(3)), Payload: fmt.Append(nil, n)}
		s.after(at, func() { s.publish(e) })
	}
}

func drawListening(d dice) listening {
	b := &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_EVENT, EventKey: fmt.Sprintf("k:%d", d.IntN(3))}
	if d.chance(0.3) {
		b.EventKey, b.EventPrefix = "k:", true
	}
	if d.chance(0.3) {
		b.Condition = onlyEven
	}
	b.SinceMs = pick(d, []int64{0, 0, 2000, 60_000})
	return listening{b, pick(d, []time.Duration{0, d.between(100*time.Millisecond, 20*time.Second), 90 * time.Second})}
}

// fitsWait says whether an event meets the condition of a wait.
func fitsWait(w *journal.EventWait, e *journal.Event) bool {
	return w.If != onlyEven || strings.ContainsAny(string(e.Payload[len(e.Payload)-1:]), "02468")
}

// listen waits for events, one after the other, without a slot.
func (f *function) listen(i int) {
	listens := f.w.sim.work.byName[f.d.Workflow].steps[f.d.Step].listens
	switch {
	case f.over || f.canceled:
		return
	case i == len(listens):
		f.receive(0)
		return
	}
	l, key := listens[i], fmt.Sprintf("#%d", i)
	f.awaitCall(&messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_EVENT, Name: eventCall, Key: key, TimeoutMs: l.timeout.Milliseconds(),
		Branches: []*messages.WaitBranch{l.branch}}, func(call *messages.CallRecorded) {
		f.w.sim.must(f.w.sim.monitor.callReturned(f, eventCall+key, call.GetEvent().GetEventId()))
		f.listen(i + 1)
	})
}

// eventCall is the name of the calls that wait for events.
const eventCall = "event"

// ---- servers ---------------------------------------------------------------------

// publish has a server publish an event, and another one if its client has no answer:
// the event keeps its id.
func (s *Sim) publish(e journal.Event) {
	p := s.door()
	if p == nil {
		s.after(time.Second, func() { s.publish(e) })
		return
	}
	published := false
	p.server.asking(func(err error) func() {
		if err != nil {
			return func() {}
		}
		e.At = p.server.engine()
		batch := []journal.Event{e}
		s.must(s.store.Publish(background, batch)[0])
		s.tracef("%s publishes %s %s", p.address, e.ID, e.Key)
		s.monitor.published(batch[0])
		// It may hear nothing, and the server may die before it delivers.
		unanswered, left := s.faulty() && s.dice.chance(0.1), s.faulty() && s.dice.chance(0.2)
		return func() {
			if published = !unanswered; published && !left {
				p.server.deliverEvents(batch, func(error) {})
			}
		}
	})
	s.after(3*time.Second, func() {
		if !published {
			s.publish(e)
		}
	})
}

// deliverEvents brings events to the waits that they fit.
func (sv *server) deliverEvents(list []journal.Event, done func(error)) {
	sv.asking(func(err error) func() {
		var patterns []string
		for i := range list {
			patterns = append(patterns, journal.EventPatterns(list[i].Key)...)
		}
		var waits []journal.EventWait
		if err == nil {
			waits, err = sv.sim.store.EventWaits(background, patterns, journal.EventWaitPlace{}, 1<<20)
		}
		return func() { sv.deliverTo(waits, list, err, done) }
	})
}

func (sv *server) deliverTo(waits []journal.EventWait, list []journal.Event, err error, done func(error)) {
	under := 1
	told := func(failed error) {
		if err == nil {
			err = failed
		}
		if under--; under == 0 {
			done(err)
		}
	}
	for _, w := range waits {
		i := slices.IndexFunc(list, func(e journal.Event) bool {
			return messages.MatchesEvent(w.Pattern, e.Key) && w.Counts(&e) && fitsWait(&w, &e)
		})
		if i >= 0 {
			under++
			sv.deliverEvent(w, list[i], told)
		}
	}
	told(nil)
}

func (sv *server) deliverEvent(w journal.EventWait, e journal.Event, told func(error)) {
	sv.call(w.RunID, deliverWithin, func(owner *server, reply func(any)) {
		owner.deliver(w.RunID, deliveryOf(w, e), asker(func(answer any) {
			if err := messages.FromFailure(answer.(*messages.CommandReply).Error); !messages.CodeOf(err).Retryable() {
				reply(true)
			}
		}))
	}, func(answer any) {
		if answer == nil {
			told(unavailable)
			return
		}
		told(nil)
	})
}

func deliveryOf(w journal.EventWait, e journal.Event) *messages.DeliverEvent {
	return &messages.DeliverEvent{RunId: w.RunID, WaitId: w.ID, Event: &messages.CameEvent{Key: e.Key, EventId: e.ID, AtUs: journal.Micros(e.At)}, Payload: e.Payload}
}

// sweepLoop delivers what those that published it did not. newest is what there was at
// the last look.
func (sv *server) sweepLoop(newest uint64) {
	if !sv.sim.work.listens {
		return
	}
	sv.later(sweepEvery, func() {
		if sv.ownerIn("events", "events") != sv.proc {
			sv.sweepLoop(newest)
			return
		}
		sv.asking(func(err error) func() { return sv.sweep(newest, err) })
	})
}

func (sv *server) sweep(newest uint64, err error) (then func()) {
	if err != nil {
		return func() { sv.sweepLoop(newest) }
	}
	st := sv.sim.store
	cursor, _ := st.EventCursor(background)
	upTo := min(newest, cursor.Newest)
	list, _ := st.Events(background, journal.EventFilter{}, cursor.Delivered, 1<<20)
	list = slices.DeleteFunc(list, func(e journal.Event) bool { return e.Seq > upTo })
	return func() {
		if len(list) == 0 {
			sv.sweepLoop(cursor.Newest)
			return
		}
		sv.deliverEvents(list, func(err error) {
			if err == nil {
				sv.sim.must(st.MoveEventCursor(background, upTo))
			}
			sv.sweepLoop(cursor.Newest)
		})
	}
}

// seekEvents looks for waits of a run among the events that are kept.
func (a *actor) seekEvents(act run.SeekEvents) {
	a.sv.asking(func(err error) func() {
		sought, st := run.EventsSought{Of: act, Err: err}, a.sv.sim.store
		waits, _ := st.EventWaitsOf(background, a.id())
		for _, w := range waits {
			if err != nil || !slices.Contains(act.Waits, w.ID) {
				continue
			}
			list, _ := st.Events(background, journal.EventFilter{Pattern: w.Pattern, From: w.From, Since: w.Since}, 0, 1<<20)
			if i := slices.IndexFunc(list, func(e journal.Event) bool { return fitsWait(&w, &e) }); i >= 0 {
				sought.Came = append(sought.Came, deliveryOf(w, list[i]))
			}
		}
		return func() { a.receive(sought) }
	})
}

// eventWaits are the changes that an entry makes as the journal has them.
func eventWaits(changes []run.EventWaitChange) (all []journal.EventWaitChange) {
	for _, c := range changes {
		all = append(all, journal.EventWaitChange{Over: c.Over, Wait: journal.EventWait{ID: c.ID, Pattern: c.Pattern, If: c.Condition, Since: c.Since}})
	}
	return all
}

// ---- what is checked -------------------------------------------------------------

// listeners are what the monitor knows of events and of the calls that wait for them.
type listeners struct {
	events []publishedEvent
	// waits by run, step and call.
	waits map[string]*listener
}

type publishedEvent struct {
	journal.Event
	// at is when it was durable.
	at time.Time
}

// listener is a call that waits for an event.
type listener struct {
	wait     journal.EventWait
	deadline time.Time
	// stored is when the wait was durable, kept the event that was there by then and
	// that it looks back to, if any.
	stored time.Time
	kept   string
}

func (m *monitor) published(e journal.Event) {
	if slices.ContainsFunc(m.listeners.events, func(had publishedEvent) bool { return had.ID == e.ID }) {
		return
	}
	m.counts.Events++
	m.listeners.events = append(m.listeners.events, publishedEvent{e, m.sim.now})
}

// waitsChanged notes what the store has of the waits of a run, after an entry.
func (m *monitor) waitsChanged(runID string, changes []journal.EventWaitChange) error {
	if len(changes) == 0 {
		return nil
	}
	stored, err := m.sim.store.EventWaitsOf(background, runID)
	for _, c := range changes {
		step, _, key := messages.CallOfEventWait(c.Wait.ID)
		at := callOf(runID, step, eventCall+key)
		i := slices.IndexFunc(stored, func(w journal.EventWait) bool { return w.ID == c.Wait.ID })
		switch {
		case c.Over != (i < 0):
			return fmt.Errorf("wait %s of %s is over: %v, and stored are %v", c.Wait.ID, runID, c.Over, stored)
		case c.Over:
			delete(m.listeners.waits, at)
		default:
			l := &listener{wait: stored[i], stored: m.sim.now, deadline: m.deadlineOf(runID, step, key)}
			l.kept = m.firstFor(l, m.sim.now).ID
			m.listeners.waits[at] = l
		}
	}
	return err
}

// deadlineOf is the time of a call that waits for an event: as it is on record, as the
// attempt may have been lost in the entry in which it began to wait.
func (m *monitor) deadlineOf(runID, step, key string) time.Time {
	return time.UnixMicro(m.suspensions.waits[waitOf(runID, step, eventCall, key)].GetDeadlineUs())
}

// firstFor is the first event that fits a wait, was durable by a time and came before the
// end of the wait; the zero value if there is none.
func (m *monitor) firstFor(l *listener, by time.Time) publishedEvent {
	for _, e := range m.listeners.events {
		switch {
		case !messages.MatchesEvent(l.wait.Pattern, e.Key) || !l.wait.Counts(&e.Event) || !fitsWait(&l.wait, &e.Event):
		case e.at.After(by) || e.At.After(l.deadline):
			return publishedEvent{}
		default:
			return e
		}
	}
	return publishedEvent{}
}

// listened checks how a call that waits for an event came out.
func (m *monitor) listened(runID string, k *messages.CallRecorded) error {
	l, came := m.listeners.waits[callOf(runID, k.Step, eventCall+k.Key)], k.GetEvent()
	switch {
	case came == nil && l == nil:
		return nil // it was over as it began
	case came == nil:
		m.counts.WaitsOver++
		if l.kept != "" {
			return fmt.Errorf("call %s of step %s has no event, and %s was kept as it began to wait", k.Key, k.Step, l.kept)
		}
		return m.unheard(runID, l)
	case l == nil:
		return fmt.Errorf("call %s of step %s has event %s, and does not wait", k.Key, k.Step, came.EventId)
	}
	m.counts.EventsCame++
	i := slices.IndexFunc(m.listeners.events, func(e publishedEvent) bool { return e.ID == came.EventId })
	if i < 0 {
		return fmt.Errorf("call %s of step %s has event %s, which is not durable", k.Key, k.Step, came.EventId)
	}
	e := m.listeners.events[i]
	if !messages.MatchesEvent(l.wait.Pattern, e.Key) || !fitsWait(&l.wait, &e.Event) || string(k.GetOutput()) != string(e.Payload) {
		return fmt.Errorf("call %s of step %s waits for %s if %q and has %q from event %v", k.Key, k.Step, l.wait.Pattern, l.wait.If, k.GetOutput(), e)
	}
	early := e.Seq <= l.wait.From && (l.wait.Since.IsZero() || e.At.Before(l.wait.Since.Add(-time.Microsecond)))
	if early || e.At.After(l.deadline) {
		return fmt.Errorf("call %s of step %s has event %v, which came before it began to wait, or too late: %+v", k.Key, k.Step, e, l)
	}
	return nil
}

// unheard checks that no call waits for long for an event that is there.
func (m *monitor) unheard(runID string, l *listener) error {
	patience := soon + 2*deliverWithin
	if m.sim.world.loss > 0 {
		patience += 30 * time.Second
	}
	by := m.sim.now.Add(-patience)
	if m.sim.faulty() || m.sim.settledAt.After(by) || l.stored.After(by) {
		return nil
	}
	if e := m.firstFor(l, by); e.ID != "" {
		return fmt.Errorf("run %s: wait %s does not have event %s, which is there since %.4f s", runID, l.wait.ID, e.ID, e.at.Sub(epoch).Seconds())
	}
	return nil
}

// allHeard checks that of all calls.
func (m *monitor) allHeard() error {
	for _, at := range slices.Sorted(maps.Keys(m.listeners.waits)) {
		l := m.listeners.waits[at]
		if err := m.unheard(l.wait.RunID, l); err != nil {
			return err
		}
	}
	return nil
}
