package journaltest

import (
	"context"
	"slices"

	"github.com/limpetrun/limpet/actors/journal"
)

// WriteStreams implements journal.StreamStore. It has the faults of Append.
func (f *Faulty) WriteStreams(ctx context.Context, batch []journal.StreamWrite) (out []journal.StreamWritten) {
	kept := slices.Clone(batch)
	for i := range kept {
		kept[i].Pieces = slices.Clone(kept[i].Pieces)
		for j, piece := range kept[i].Pieces {
			kept[i].Pieces[j] = slices.Clone(piece)
		}
	}
	errs := f.commit(ctx, len(batch), func(m *journal.Memory) []error {
		out = m.WriteStreams(context.Background(), kept)
		return make([]error, len(batch))
	})
	for i, err := range errs {
		if err != nil {
			return journal.AllStreams(batch, errs[i])
		}
	}
	return out
}

// ReadStream implements journal.StreamStore.
func (f *Faulty) ReadStream(ctx context.Context, runID, stream string, from journal.StreamPlace, bytesMax int) (journal.StreamPage, error) {
	m, err := f.store()
	if err != nil {
		return journal.StreamPage{}, err
	}
	return m.ReadStream(ctx, runID, stream, from, bytesMax)
}

// Streams implements journal.StreamStore.
func (f *Faulty) Streams(ctx context.Context, runID string) ([]journal.StreamInfo, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Streams(ctx, runID)
}
