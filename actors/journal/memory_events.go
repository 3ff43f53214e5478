package journal

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"time"

	"github.com/google/btree"
)

// memoryEvents are the events of a Memory and those who wait for them.
type memoryEvents struct {
	// kept in the order of Seq.
	kept   []*Event
	byID   map[string]*Event
	cursor EventCursor
	// waits by run and id, and in the order of EventWaits.
	waits   map[string]map[string]EventWait
	ordered *btree.BTreeG[EventWait]
}

func newMemoryEvents() memoryEvents {
	return memoryEvents{byID: map[string]*Event{}, waits: map[string]map[string]EventWait{},
		ordered: btree.NewG(32, func(a, b EventWait) bool { return a.Place().compare(b.Place()) < 0 })}
}

// changeWaits carries out what an entry says.
func (m *memoryEvents) changeWaits(runID string, changes []EventWaitChange) {
	for _, c := range changes {
		old, there := m.waits[runID][c.Wait.ID]
		switch {
		case c.Over && there:
			m.ordered.Delete(old)
			delete(m.waits[runID], c.Wait.ID)
			if len(m.waits[runID]) == 0 {
				delete(m.waits, runID)
			}
		case !c.Over && !there:
			w := c.Wait
			w.RunID, w.From, w.Since = runID, m.cursor.Newest, FromMicros(Micros(w.Since))
			if m.waits[runID] == nil {
				m.waits[runID] = map[string]EventWait{}
			}
			m.waits[runID][w.ID] = w
			m.ordered.ReplaceOrInsert(w)
		}
	}
}

func (m *memoryEvents) forget(runID string) {
	for _, w := range m.waits[runID] {
		m.ordered.Delete(w)
	}
	delete(m.waits, runID)
}

// Publish implements EventStore.
func (m *Memory) Publish(ctx context.Context, batch []Event) []error {
	errs := make([]error, len(batch))
	if err := unavailable(ctx); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh, settle := Fresh(batch, errs)
	had := map[string]*Event{}
	for _, e := range fresh {
		if kept := m.events.byID[e.ID]; kept != nil {
			had[e.ID] = kept
			continue
		}
		m.events.cursor.Newest++
		e.Seq, e.At = m.events.cursor.Newest, FromMicros(Micros(e.At))
		stored := *e
		stored.Payload = slices.Clone(e.Payload)
		m.events.byID[e.ID] = &stored
		m.events.kept = append(m.events.kept, &stored)
	}
	settle(had)
	return errs
}

// Events implements EventStore.
func (m *Memory) Events(ctx context.Context, f EventFilter, after uint64, limit int) (out []Event, err error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	kept := m.events.kept
	from := sort.Search(len(kept), func(i int) bool { return kept[i].Seq > after })
	for _, e := range kept[from:] {
		if len(out) >= limit {
			break
		}
		if f.Matches(e) {
			found := *e
			found.Payload = slices.Clone(e.Payload)
			out = append(out, found)
		}
	}
	return out, nil
}

// EventWaits implements EventStore.
func (m *Memory) EventWaits(ctx context.Context, patterns []string, after EventWaitPlace, limit int) (out []EventWait, err error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	for _, pattern := range slices.Compact(slices.Sorted(slices.Values(patterns))) {
		from := EventWait{Pattern: pattern}
		if pattern == after.Pattern {
			from.RunID, from.ID = after.RunID, after.ID
		}
		m.events.ordered.AscendGreaterOrEqual(from, func(w EventWait) bool {
			if w.Pattern != pattern || len(out) >= limit {
				return false
			}
			if w.Place().compare(after) > 0 {
				out = append(out, w)
			}
			return true
		})
	}
	return out, nil
}

// EventWaitsOf implements EventStore.
func (m *Memory) EventWaitsOf(ctx context.Context, runID string) (out []EventWait, err error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	for _, w := range m.events.waits[runID] {
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b EventWait) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// EventCursor implements EventStore.
func (m *Memory) EventCursor(ctx context.Context) (EventCursor, error) {
	if err := m.read(ctx); err != nil {
		return EventCursor{}, err
	}
	defer m.mu.RUnlock()
	return m.events.cursor, nil
}

// MoveEventCursor implements EventStore.
func (m *Memory) MoveEventCursor(ctx context.Context, delivered uint64) error {
	if err := unavailable(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events.cursor.Delivered = max(m.events.cursor.Delivered, delivered)
	return nil
}

// DeleteEvents implements EventStore.
func (m *Memory) DeleteEvents(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := unavailable(ctx); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var old []*Event
	for _, e := range m.events.kept {
		if Micros(e.At) < Micros(before) && e.Seq <= m.events.cursor.Delivered {
			old = append(old, e)
		}
	}
	slices.SortStableFunc(old, func(a, b *Event) int { return a.At.Compare(b.At) })
	old = old[:min(len(old), max(0, limit))]
	doomed := map[uint64]bool{}
	for _, e := range old {
		delete(m.events.byID, e.ID)
		doomed[e.Seq] = true
	}
	m.events.kept = slices.DeleteFunc(m.events.kept, func(e *Event) bool { return doomed[e.Seq] })
	return len(old), nil
}
