package localcluster

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
)

// Journaled is what servers have asked of their store so far.
type Journaled struct {
	// Commits are calls of Append, Appends their elements, Bytes those of the
	// entries.
	Commits int64 `json:"commits"`
	Appends int64 `json:"appends"`
	Bytes   int64 `json:"bytes"`
	// Took is the time in Append, of all calls together.
	Took time.Duration `json:"took"`
}

// Add adds what another server asked.
func (j *Journaled) Add(other Journaled) {
	j.Commits += other.Commits
	j.Appends += other.Appends
	j.Bytes += other.Bytes
	j.Took += other.Took
}

// Since is what was asked after an earlier moment.
func (j Journaled) Since(before Journaled) Journaled {
	return Journaled{j.Commits - before.Commits, j.Appends - before.Appends, j.Bytes - before.Bytes, j.Took - before.Took}
}

// meter counts what goes into a store.
type meter struct {
	journal.Store
	commits, appends, bytes, took atomic.Int64
}

// Append implements journal.Store.
func (m *meter) Append(ctx context.Context, batch []journal.Append) []error {
	size := 0
	for i := range batch {
		size += len(batch[i].Entry)
	}
	begin := time.Now()
	errs := m.Store.Append(ctx, batch)
	m.took.Add(int64(time.Since(begin)))
	m.commits.Add(1)
	m.appends.Add(int64(len(batch)))
	m.bytes.Add(int64(size))
	return errs
}

// Commits is how many commits at one time are best for the store.
func (m *meter) Commits() int {
	if s, ok := m.Store.(interface{ Commits() int }); ok {
		return s.Commits()
	}
	return 1
}

func (m *meter) read() Journaled {
	return Journaled{m.commits.Load(), m.appends.Load(), m.bytes.Load(), time.Duration(m.took.Load())}
}

// Journaled is what the servers that now run have asked of their store, since
// each was started.
func (c *Cluster) Journaled(ctx context.Context) (Journaled, error) {
	var all Journaled
	for _, p := range c.liveServers() {
		var one Journaled
		if err := p.Ask(ctx, orderJournaled, nil, &one); err != nil {
			return all, err
		}
		all.Add(one)
	}
	return all, nil
}
