package journaltest

import (
	"context"
	"slices"

	"github.com/limpetrun/limpet/actors/journal"
)

// WriteLogs implements journal.LogStore. It has the faults of Append.
func (f *Faulty) WriteLogs(ctx context.Context, batch []journal.LogWrite) error {
	kept := slices.Clone(batch)
	for i := range kept {
		kept[i].Data = slices.Clone(kept[i].Data)
	}
	return f.commit(ctx, 1, func(m *journal.Memory) []error { return []error{m.WriteLogs(context.Background(), kept)} })[0]
}

// ReadLog implements journal.LogStore.
func (f *Faulty) ReadLog(ctx context.Context, runID string, after int64, bytesMax int) ([]journal.StoredLog, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.ReadLog(ctx, runID, after, bytesMax)
}

// CountRuns implements journal.Store.
func (f *Faulty) CountRuns(ctx context.Context, filter journal.Filter, limit int) ([]journal.GroupCount, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.CountRuns(ctx, filter, limit)
}
