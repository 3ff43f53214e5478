package journaltest

import (
	"context"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
)

// PutToken implements journal.AccessStore.
func (f *Faulty) PutToken(ctx context.Context, t journal.Token) error {
	t.Data = slices.Clone(t.Data)
	return f.name(ctx, func(m *journal.Memory) error { return m.PutToken(context.Background(), t) })
}

// Tokens implements journal.AccessStore.
func (f *Faulty) Tokens(ctx context.Context) ([]journal.Token, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Tokens(ctx)
}

// DeleteToken implements journal.AccessStore.
func (f *Faulty) DeleteToken(ctx context.Context, id string) (there bool, err error) {
	err = f.name(ctx, func(m *journal.Memory) (err error) {
		there, err = m.DeleteToken(context.Background(), id)
		return err
	})
	return there, err
}

// WriteAudit implements journal.AccessStore.
func (f *Faulty) WriteAudit(ctx context.Context, c journal.AuditChunk) error {
	c.Data = slices.Clone(c.Data)
	return f.name(ctx, func(m *journal.Memory) error { return m.WriteAudit(context.Background(), c) })
}

// ReadAudit implements journal.AccessStore.
func (f *Faulty) ReadAudit(ctx context.Context, before int64, limit int) ([]journal.AuditChunk, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.ReadAudit(ctx, before, limit)
}

// TrimAudit implements journal.AccessStore.
func (f *Faulty) TrimAudit(ctx context.Context, older time.Time, recordsMax int64) (gone int, err error) {
	err = f.name(ctx, func(m *journal.Memory) (err error) {
		gone, err = m.TrimAudit(context.Background(), older, recordsMax)
		return err
	})
	return gone, err
}
