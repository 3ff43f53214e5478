package journaltest

import (
	"context"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
)

// Publish implements journal.EventStore. It has the faults of Append.
func (f *Faulty) Publish(ctx context.Context, batch []journal.Event) []error {
	kept := make([]journal.Event, len(batch))
	for i, e := range batch {
		e.Payload = slices.Clone(e.Payload)
		kept[i] = e
	}
	errs := f.commit(ctx, len(batch), func(m *journal.Memory) []error { return m.Publish(context.Background(), kept) })
	for i := range batch {
		batch[i].Seq, batch[i].At = kept[i].Seq, kept[i].At
	}
	return errs
}

// Events implements journal.EventStore.
func (f *Faulty) Events(ctx context.Context, filter journal.EventFilter, after uint64, limit int) ([]journal.Event, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Events(ctx, filter, after, limit)
}

// EventWaits implements journal.EventStore.
func (f *Faulty) EventWaits(ctx context.Context, patterns []string, after journal.EventWaitPlace, limit int) ([]journal.EventWait, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.EventWaits(ctx, patterns, after, limit)
}

// EventWaitsOf implements journal.EventStore.
func (f *Faulty) EventWaitsOf(ctx context.Context, runID string) ([]journal.EventWait, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.EventWaitsOf(ctx, runID)
}

// EventCursor implements journal.EventStore.
func (f *Faulty) EventCursor(ctx context.Context) (journal.EventCursor, error) {
	m, err := f.store()
	if err != nil {
		return journal.EventCursor{}, err
	}
	return m.EventCursor(ctx)
}

// MoveEventCursor implements journal.EventStore.
func (f *Faulty) MoveEventCursor(ctx context.Context, delivered uint64) error {
	return f.name(ctx, func(m *journal.Memory) error { return m.MoveEventCursor(context.Background(), delivered) })
}

// DeleteEvents implements journal.EventStore.
func (f *Faulty) DeleteEvents(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if err := (Fault{}).wait(ctx); err != nil {
		return 0, err
	}
	if down := f.change(true, func(m *journal.Memory) { n, err = m.DeleteEvents(context.Background(), before, limit) }); down != nil {
		return 0, down
	}
	return n, err
}
