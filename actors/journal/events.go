package journal

import (
	"cmp"
	"context"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Events of the cluster, and the calls of runs that wait for one.
//
// An event and a wait for it meet whichever comes first: events become visible in
// the order of their Seq, a wait notes the newest Seq that there was as it was
// stored (From), and whoever stores one of the two looks for the other afterwards.
// Of an event and a wait that are stored at the same time, the one that becomes
// durable last sees the other one.

// Event is one that is kept.
type Event struct {
	// Seq is its place among all events, from 1: who sees one sees all before it.
	Seq     uint64
	ID, Key string
	At      time.Time
	Payload []byte
}

// same says that an event is another one again.
func (e *Event) same(other *Event) bool {
	return e.Key == other.Key && messages.SamePayload(e.Payload, other.Payload)
}

// Again is the error of an event whose id another one has that is kept; nil if it is
// the same.
func (e *Event) Again(had *Event) error {
	if e.same(had) {
		return nil
	}
	return messages.Errorf(messages.CodeIdempotencyMismatch, "event id %q was pushed before with another key, payload or metadata; give this event an id of its own", e.ID)
}

// EventWait is a call of a run that waits for an event.
type EventWait struct {
	RunID string
	// ID names it in its run.
	ID string
	// Pattern of the key: the key, or a prefix and *.
	Pattern string
	// If is a condition that the event has to meet; empty for none. It means nothing
	// to the store.
	If string
	// Since is how far the wait looks back; zero for not at all.
	Since time.Time
	// From is the newest Seq as the wait was stored. The store sets it.
	From uint64
}

// Place is the wait's in the order of EventWaits.
func (w *EventWait) Place() EventWaitPlace { return EventWaitPlace{w.Pattern, w.RunID, w.ID} }

// Counts says that an event with the key of the wait came late enough for it.
func (w *EventWait) Counts(e *Event) bool {
	return e.Seq > w.From || !w.Since.IsZero() && Micros(e.At) >= Micros(w.Since)
}

// EventWaitPlace is a place in the order of EventWaits; the zero value is before all.
type EventWaitPlace struct{ Pattern, RunID, ID string }

func (p EventWaitPlace) compare(other EventWaitPlace) int {
	return cmp.Or(cmp.Compare(p.Pattern, other.Pattern), cmp.Compare(p.RunID, other.RunID), cmp.Compare(p.ID, other.ID))
}

// EventWaitChange is a wait that begins with an entry, or is over with it.
type EventWaitChange struct {
	Wait EventWait
	// Over: of Wait only the ID is looked at.
	Over bool
}

// EventPatterns are the patterns that fit a key.
func EventPatterns(key string) []string {
	patterns := make([]string, 0, len(key)+2)
	patterns = append(patterns, key)
	for i := range len(key) + 1 {
		patterns = append(patterns, key[:i]+"*")
	}
	return patterns
}

// EventFilter selects events; the zero value selects all.
type EventFilter struct {
	// Pattern of the keys; empty for all.
	Pattern string
	// From selects those with a greater Seq, Since those that are no older: an event
	// needs to be in one of the two. A zero Since selects none.
	From  uint64
	Since time.Time
}

// ByTimeOnly is the From that selects nothing.
const ByTimeOnly = 1<<63 - 1

// Matches says whether the filter selects an event.
func (f *EventFilter) Matches(e *Event) bool {
	by := EventWait{From: f.From, Since: f.Since}
	return by.Counts(e) && (f.Pattern == "" || messages.MatchesEvent(f.Pattern, e.Key))
}

// EventCursor is how far events were looked at for those that wait.
type EventCursor struct {
	// Delivered is up to where all that waited had what fits.
	Delivered uint64
	// Newest is that of the newest event, kept or not.
	Newest uint64
}

// EventStore is what a Store does with events.
type EventStore interface {
	// Publish makes events durable in one commit, and sets their Seq, in the order of
	// the batch: unless one with its ID is kept, whose Seq and At it then has. One
	// error for each event: IDEMPOTENCY_MISMATCH if that one has another key or
	// payload, INVALID_ARGUMENT for an event without ID or Key; neither harms the
	// others. A failure of the commit is returned for every event: JOURNAL_UNAVAILABLE
	// leaves open whether they are stored, and publishing them again settles it.
	Publish(ctx context.Context, batch []Event) []error

	// Events returns events that the filter selects, in the order of Seq, after one, at
	// most limit.
	Events(ctx context.Context, f EventFilter, after uint64, limit int) ([]Event, error)

	// EventWaits returns the waits with one of these patterns, in the order of the
	// patterns, runs and ids, after a place, at most limit. It costs one look into an
	// index for each pattern.
	EventWaits(ctx context.Context, patterns []string, after EventWaitPlace, limit int) ([]EventWait, error)

	// EventWaitsOf returns the waits of a run, in the order of their ids.
	EventWaitsOf(ctx context.Context, runID string) ([]EventWait, error)

	// EventCursor returns how far events were delivered, and the newest Seq.
	EventCursor(ctx context.Context) (EventCursor, error)
	// MoveEventCursor notes that all events up to a Seq were delivered; a lesser one
	// than is noted changes nothing.
	MoveEventCursor(ctx context.Context, delivered uint64) error

	// DeleteEvents deletes events from before a time that were delivered, the earliest
	// first, at most limit, and returns how many. Their Seqs are not used again.
	DeleteEvents(ctx context.Context, before time.Time, limit int) (int, error)
}

// Validate reports what is wrong with an event whatever is stored.
func (e *Event) Validate() error {
	if e.ID == "" || e.Key == "" {
		return messages.Errorf(messages.CodeInvalidArgument, "event %q with the key %q: both must be given", e.ID, e.Key)
	}
	return nil
}

// Fresh sorts a batch for a store: the events to be stored are the first of their
// ids that Validate admits; settle fills in the others, and the errors, once those
// have their Seq. had are those of kept events with the ids of fresh ones.
func Fresh(batch []Event, errs []error) (fresh []*Event, settle func(had map[string]*Event)) {
	first := map[string]*Event{}
	for i := range batch {
		e := &batch[i]
		if errs[i] != nil {
			continue
		}
		if errs[i] = e.Validate(); errs[i] == nil && first[e.ID] == nil {
			first[e.ID] = e
			fresh = append(fresh, e)
		}
	}
	return fresh, func(had map[string]*Event) {
		for i := range batch {
			e := &batch[i]
			if errs[i] != nil {
				continue
			}
			stored := first[e.ID]
			if kept := had[e.ID]; kept != nil {
				stored = kept
			}
			if errs[i] = e.Again(stored); errs[i] == nil {
				e.Seq, e.At = stored.Seq, stored.At
			}
		}
	}
}
