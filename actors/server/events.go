package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/condition"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// How events come to the calls that wait for them.
//
//	publish   The event is made durable, then its publisher looks for waits and
//	          delivers it. The answer to the push says to how many.
//	wait      The wait is made durable, with the entry that says so, then its run seeks
//	          among the events that are kept. So the one sees the other: see
//	          journal/events.go. A run that comes back to memory seeks again.
//	sweep     A publisher may die in between, or not reach a run. One server, the owner
//	          of eventsKind, goes over all events that were not delivered yet a moment
//	          after they were published, and notes how far it came.
//	deliver   is a command to the run, whichever server owns it and whether it is in
//	          memory. One entry of the run decides the wait; a delivery that comes twice
//	          or late does nothing, nor does one for a wait of the same call before a
//	          replay, or before the run went on as new. Of events that fit one wait any
//	          may be the one that decides it; looking back the earliest is.
//
// Conditions are evaluated before a run is brought to memory. That one cannot be evaluated
// is said to the run as well, once: the wait goes on, and shows it.

const (
	// eventsKind names the identity whose owner sweeps.
	eventsKind = "events"
	// sweepEvery is the time between two looks for events that were not delivered, and
	// about what their publishers have for it.
	sweepEvery = time.Second
	// sweepPage is how many events are read at once, which may be large; waitsPage is
	// how many waits.
	sweepPage = 32
	waitsPage = 500
	// sweepNote is after how many pages it is noted how far a long sweep came.
	sweepNote = 100
	// deliveriesMax bounds the deliveries that a server has under way, deliverWithin
	// the time of one.
	deliveriesMax = 64
	deliverWithin = 5 * time.Second
	// sweepTries is how often a page is tried of which a delivery fails: the runs that
	// do not get it seek it themselves when they are back in memory.
	sweepTries = 120
	// failedKnown bounds what a server knows of runs that were told of their conditions;
	// one that is told again does nothing.
	failedKnown = 10_000
	// failedShown is how many failed conditions a push is told of.
	failedShown = 10
	// seekPage is how many events a run that seeks reads at once.
	seekPage = 16
)

// DefaultEventsKept is how long events are kept by default.
const DefaultEventsKept = time.Hour

// events is what a host does with the events of the cluster.
type events struct {
	host       *Host
	publisher  *journal.Publisher
	conditions condition.Cache
	room       chan struct{}

	mu sync.Mutex
	// failed are waits whose runs know that their condition could not be evaluated.
	failed map[string]bool
}

func newEvents(h *Host) *events {
	return &events{host: h, publisher: journal.NewPublisher(h.cfg.Store), room: make(chan struct{}, deliveriesMax)}
}

// PublishEvent makes an event durable and begins to deliver it. delivered waits for
// that, but no longer than for its context. Errors: IDEMPOTENCY_MISMATCH.
func (e *Engine) PublishEvent(ctx context.Context, event journal.Event) (delivered func(context.Context) (waits int, failed []*api.FailedCondition), err error) {
	ev := e.host.events
	event.At = e.host.clock.Now()
	event, err = ev.publisher.Publish(ctx, event)
	if err != nil {
		return nil, err
	}
	d := newDelivery(ev, []journal.Event{event})
	done := make(chan struct{})
	e.host.background(func() {
		defer close(done)
		if err := d.run(e.host.ctx); err != nil {
			e.host.log.Debug("an event is delivered later", "event", event.ID, "error", err)
		}
	})
	return func(ctx context.Context) (int, []*api.FailedCondition) {
		select {
		case <-done:
		case <-ctx.Done():
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.decided, slices.Clone(d.failed)
	}, nil
}

// Events returns events that are kept.
func (e *Engine) Events(ctx context.Context, f journal.EventFilter, after uint64, limit int) ([]journal.Event, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	return e.host.cfg.Store.Events(ctx, f, after, limit)
}

// delivery brings events to the waits that they fit.
type delivery struct {
	of     *events
	events []journal.Event
	// byPattern are the indices of the events that a pattern fits.
	byPattern map[string][]int

	mu      sync.Mutex
	decided int
	failed  []*api.FailedCondition
	// err is of a delivery that may succeed later.
	err error
}

// newDelivery is one of events in the order of their Seq.
func newDelivery(of *events, list []journal.Event) *delivery {
	d := &delivery{of: of, events: list, byPattern: map[string][]int{}}
	for i := range list {
		for _, pattern := range journal.EventPatterns(list[i].Key) {
			d.byPattern[pattern] = append(d.byPattern[pattern], i)
		}
	}
	return d
}

// run goes over all waits. An error means that some may be left without the event.
func (d *delivery) run(ctx context.Context) error {
	patterns := slices.Collect(maps.Keys(d.byPattern))
	var under sync.WaitGroup
	defer under.Wait()
	for after := (journal.EventWaitPlace{}); ; {
		page, err := d.of.host.cfg.Store.EventWaits(ctx, patterns, after, waitsPage)
		if err != nil {
			return err
		}
		for _, w := range page {
			msg := d.firstFor(&w)
			if msg == nil {
				continue
			}
			select {
			case d.of.room <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			under.Go(func() {
				defer func() { <-d.of.room }()
				d.note(d.of.deliver(ctx, &w, msg))
			})
		}
		if len(page) < waitsPage {
			break
		}
		after = page[len(page)-1].Place()
	}
	under.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// firstFor has the first event that fits a wait, or says that its condition could not be
// evaluated on one; nil for neither.
func (d *delivery) firstFor(w *journal.EventWait) (msg *messages.DeliverEvent) {
	for _, i := range d.byPattern[w.Pattern] {
		event := &d.events[i]
		if !w.Counts(event) {
			continue
		}
		fits, err := d.of.fits(w, event)
		switch {
		case fits:
			return deliveryOf(w, event)
		case err != nil:
			d.conditionFailed(w, err)
			if msg == nil && !d.of.knowsFailed(w) {
				msg = failureOf(w, event, err)
			}
		}
	}
	return msg
}

func (d *delivery) conditionFailed(w *journal.EventWait, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.failed) >= failedShown {
		return
	}
	step, name, key := messages.CallOfEventWait(w.ID)
	d.failed = append(d.failed, &api.FailedCondition{RunId: w.RunID, Step: step, Call: name + " " + key, Condition: w.If, Message: messages.ToFailure(err).Message})
}

func (d *delivery) note(decided bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if decided {
		d.decided++
	}
	d.err = cmp.Or(d.err, err)
}

// fits says whether an event meets the condition of a wait. What cannot be evaluated
// is logged: the step waits on.
func (ev *events) fits(w *journal.EventWait, e *journal.Event) (bool, error) {
	fits, err := ev.conditions.Fits(w.If, condition.Event{Key: e.Key, ID: e.ID, Payload: e.Payload})
	if err != nil {
		step, name, key := messages.CallOfEventWait(w.ID)
		ev.host.log.Warn("the condition of a call that waits for an event cannot be evaluated, so the event does not fit it",
			"run", w.RunID, "step", step, "call", name+" "+key, "event", e.ID, "key", e.Key, "condition", w.If, "error", err)
	}
	return fits, err
}

// deliver tells a run of an event. What will never succeed is no error: a run that
// ended waits for nothing, and one that cannot be read seeks the event when it can.
func (ev *events) deliver(ctx context.Context, w *journal.EventWait, msg *messages.DeliverEvent) (decided bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, deliverWithin)
	defer cancel()
	reply, err := ev.host.engine.commandReply(ctx, w.RunID, msg)
	if err != nil && !messages.CodeOf(err).Retryable() {
		ev.host.log.Debug("a run does not take an event", "run", w.RunID, "event", msg.Event.EventId, "error", err)
		err = nil
	}
	if err == nil && msg.Failed != nil {
		ev.noteFailed(w)
	}
	return reply.GetDecided(), err
}

// knowsFailed says that the run of a wait knows that its condition could not be evaluated.
func (ev *events) knowsFailed(w *journal.EventWait) bool {
	ev.mu.Lock()
	defer ev.mu.Unlock()
	return ev.failed[waitKey(w)]
}

func (ev *events) noteFailed(w *journal.EventWait) {
	ev.mu.Lock()
	defer ev.mu.Unlock()
	if len(ev.failed) >= failedKnown || ev.failed == nil {
		ev.failed = map[string]bool{}
	}
	ev.failed[waitKey(w)] = true
}

// waitKey names a wait among all that there ever were.
func waitKey(w *journal.EventWait) string { return fmt.Sprintf("%s %d %s", w.RunID, w.From, w.ID) }

func deliveryOf(w *journal.EventWait, e *journal.Event) *messages.DeliverEvent {
	return &messages.DeliverEvent{RunId: w.RunID, WaitId: w.ID, Event: &messages.CameEvent{Key: e.Key, EventId: e.ID, AtUs: journal.Micros(e.At)}, Payload: e.Payload}
}

func failureOf(w *journal.EventWait, e *journal.Event, err error) *messages.DeliverEvent {
	return &messages.DeliverEvent{RunId: w.RunID, Event: &messages.CameEvent{Key: e.Key, EventId: e.ID, AtUs: journal.Micros(e.At)},
		Failed: &messages.FailedWait{WaitId: w.ID, Message: messages.ToFailure(err).Message}}
}

// fault is what is wrong with a branch of a wait.
func (ev *events) fault(b *messages.WaitBranch) error {
	if kept := ev.host.cfg.EventsKept; kept > 0 && time.Duration(b.SinceMs)*time.Millisecond > kept {
		return messages.Errorf(messages.CodeInvalidArgument, "the wait for event %q looks back for %v, but events are kept for %v; see --events-kept of the server",
			b.EventPattern(), time.Duration(b.SinceMs)*time.Millisecond, kept)
	}
	if b.Condition == "" {
		return nil
	}
	_, err := ev.conditions.Compile(b.Condition)
	return err
}

// eventWaits are the changes that an entry makes as the journal has them.
func eventWaits(changes []run.EventWaitChange) []journal.EventWaitChange {
	if len(changes) == 0 {
		return nil
	}
	all := make([]journal.EventWaitChange, len(changes))
	for i, c := range changes {
		all[i] = journal.EventWaitChange{Over: c.Over, Wait: journal.EventWait{ID: c.ID, Pattern: c.Pattern, If: c.Condition, Since: c.Since}}
	}
	return all
}

// ---- looking back --------------------------------------------------------------

// seekEvents answers a run that looks for events that are kept.
func (a *runActor) seekEvents(ctx actor.Context, act run.SeekEvents) {
	root, self, ev, id := ctx.ActorSystem().Root, a.self, a.host.events, a.id
	a.host.loader.Schedule(func() {
		sought := run.EventsSought{Of: act}
		sought.Err = ev.host.guard.Do(func() (err error) {
			sought.Came, err = ev.seek(id, act.Waits)
			return err
		})
		root.Send(self, sought)
	})
}

// seek finds for each wait the earliest event that fits it, if one is kept.
func (ev *events) seek(runID string, ids []string) (came []*messages.DeliverEvent, err error) {
	waits, err := ev.host.cfg.Store.EventWaitsOf(ev.host.ctx, runID)
	if err != nil {
		return nil, err
	}
	for i := range waits {
		if !slices.Contains(ids, waits[i].ID) {
			continue
		}
		msg, err := ev.earliest(&waits[i])
		if err != nil {
			return nil, err
		}
		if msg != nil {
			came = append(came, msg)
		}
	}
	return came, nil
}

// earliest has the first event that is kept and fits a wait, or says that its condition
// could not be evaluated on one; nil for neither.
func (ev *events) earliest(w *journal.EventWait) (msg *messages.DeliverEvent, err error) {
	filter := journal.EventFilter{Pattern: w.Pattern, From: w.From, Since: w.Since}
	for after := uint64(0); ; {
		page, err := ev.host.cfg.Store.Events(ev.host.ctx, filter, after, seekPage)
		if err != nil {
			return nil, err
		}
		for i := range page {
			fits, err := ev.fits(w, &page[i])
			switch {
			case fits:
				return deliveryOf(w, &page[i]), nil
			case err != nil && msg == nil:
				msg = failureOf(w, &page[i], err)
			}
		}
		if len(page) < seekPage {
			return msg, nil
		}
		after = page[len(page)-1].Seq
	}
}

// ---- the sweep -----------------------------------------------------------------

// sweepLoop delivers what its publishers did not.
func (ev *events) sweepLoop() {
	var s sweep
	for backoff.Sleep(ev.host.ctx, sweepEvery) == nil {
		owner, ok := ev.host.cfg.Node.View().OwnerOf(eventsKind, eventsKind)
		if !ok || owner.Name != ev.host.cfg.Node.Self().Name {
			continue
		}
		if err := ev.host.guard.Do(func() error { return ev.sweep(&s) }); err != nil && ev.host.ctx.Err() == nil {
			ev.host.log.Warn("events could not be delivered, trying again", "error", err)
		}
	}
}

// sweep is how far this server came.
type sweep struct {
	// newest Seq at the last look: what was published up to there has had its time.
	newest uint64
	// tries of the page after failing.
	failing uint64
	tries   int
}

// sweep goes over what was published before the last look and is not delivered.
func (ev *events) sweep(s *sweep) error {
	ctx, store := ev.host.ctx, ev.host.cfg.Store
	cursor, err := store.EventCursor(ctx)
	if err != nil {
		return err
	}
	upTo := min(s.newest, cursor.Newest)
	s.newest = cursor.Newest
	at := cursor.Delivered
	for pages := 1; at < upTo && err == nil; pages++ {
		var page []journal.Event
		if page, err = store.Events(ctx, journal.EventFilter{}, at, sweepPage); err != nil {
			break
		}
		page = slices.DeleteFunc(page, func(e journal.Event) bool { return e.Seq > upTo })
		if len(page) == 0 {
			at = upTo // those up to there are deleted
			break
		}
		if err = newDelivery(ev, page).run(ctx); err == nil || !s.tryAgain(at) {
			at, err = page[len(page)-1].Seq, nil
		}
		if pages%sweepNote == 0 {
			err = cmp.Or(err, store.MoveEventCursor(ctx, at))
		}
	}
	if at == cursor.Delivered {
		return err
	}
	return cmp.Or(err, store.MoveEventCursor(ctx, at))
}

// tryAgain says whether a page that failed is to be tried again.
func (s *sweep) tryAgain(after uint64) bool {
	if s.failing != after || s.tries >= sweepTries {
		s.failing, s.tries = after, 0
	}
	s.tries++
	return s.tries < sweepTries
}

// deleteLoop deletes events that were kept for long enough.
func (ev *events) deleteLoop() {
	for {
		n, err := ev.host.cfg.Store.DeleteEvents(ev.host.ctx, ev.host.clock.Now().Add(-ev.host.cfg.EventsKept), deletePage)
		if err != nil && ev.host.ctx.Err() == nil {
			ev.host.log.Warn("delete events", "error", err)
		}
		if n == deletePage && err == nil {
			continue
		}
		if backoff.Sleep(ev.host.ctx, deletePause) != nil {
			return
		}
	}
}
