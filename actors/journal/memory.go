package journal

import (
	"cmp"
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/limpetrun/limpet/messages"
)

// Memory is a Store that forgets everything with its process. Several servers
// of one process may share one; Close leaves it as it is, for the others and
// for a server that is started again.
type Memory struct {
	id   string
	mu   sync.RWMutex
	runs map[string]*memoryRun
	// Ordered views of runs; a run is in those that its row puts it in.
	active   *btree.BTreeG[*memoryRun] // unfinished, not dormant: by id
	due      *btree.BTreeG[*memoryRun] // dormant with a WakeAt: by it, id
	onUp     *btree.BTreeG[*memoryRun] // dormant with a WakeOnUp: by it, id
	onGone   *btree.BTreeG[*memoryRun] // dormant with a WakeOnGone: by it, id
	inLine   *btree.BTreeG[*memoryRun] // dormant in a line: by it, LineSince, id
	created  *btree.BTreeG[*memoryRun] // all: by CreatedAt, id
	finished *btree.BTreeG[*memoryRun] // finished, not kept: by FinishedAt, id
	kept     *btree.BTreeG[*memoryRun] // finished, kept for the run above: by that, id
	// bound counts unfinished runs by pool and worker id.
	bound       map[boundKey]int
	definitions map[string]Definition
	names       map[string]memoryName
	heartbeats  Heartbeats
	presences   []Presence
	keptTime    KeptTime
	events      memoryEvents
	logPlace    int64
	access      memoryAccess
}

var _ Store = (*Memory)(nil)

// Identity implements Store.
func (m *Memory) Identity() string { return m.id }

type boundKey struct{ pool, worker string }

type memoryRun struct {
	row      Row
	metadata map[string]string
	entries  [][]byte
	// cut counts entries that were cut; aside are those of them that were kept.
	cut   uint64
	aside map[uint64][]byte
	// kept: the run has finished longer ago than the retention, and stays for the
	// run above.
	kept    bool
	log     memoryLog
	streams memoryStreams
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	view := func(key func(a, b *Row) int) *btree.BTreeG[*memoryRun] {
		return btree.NewG(32, func(a, b *memoryRun) bool {
			return cmp.Or(key(&a.row, &b.row), cmp.Compare(a.row.RunID, b.row.RunID)) < 0
		})
	}
	return &Memory{
		id:     messages.StoreInMemory + strings.ToLower(rand.Text()),
		runs:   make(map[string]*memoryRun),
		active: view(func(a, b *Row) int { return 0 }),
		due:    view(func(a, b *Row) int { return a.WakeAt.Compare(b.WakeAt) }),
		onUp:   view(func(a, b *Row) int { return cmp.Compare(a.WakeOnUp, b.WakeOnUp) }),
		onGone: view(func(a, b *Row) int { return cmp.Compare(a.WakeOnGone, b.WakeOnGone) }),
		inLine: view(func(a, b *Row) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), a.LineSince.Compare(b.LineSince))
		}),
		created:     view(func(a, b *Row) int { return a.CreatedAt.Compare(b.CreatedAt) }),
		kept:        view(func(a, b *Row) int { return cmp.Compare(a.ParentRun, b.ParentRun) }),
		finished:    view(func(a, b *Row) int { return a.FinishedAt.Compare(b.FinishedAt) }),
		bound:       make(map[boundKey]int),
		definitions: make(map[string]Definition),
		names:       make(map[string]memoryName),
		events:      newMemoryEvents(),
	}
}

// Now implements Store: the clock of the process.
func (m *Memory) Now(ctx context.Context) (time.Time, error) {
	now, _, err := m.Time(ctx)
	return now, err
}

// Time implements Store.
func (m *Memory) Time(ctx context.Context) (time.Time, KeptTime, error) {
	if err := unavailable(ctx); err != nil {
		return time.Time{}, KeptTime{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return time.Now(), m.keptTime, nil
}

// KeepTime implements Store.
func (m *Memory) KeepTime(ctx context.Context, k KeptTime) (bool, error) {
	if err := unavailable(ctx); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.Version != m.keptTime.Version+1 {
		return false, nil
	}
	m.keptTime = KeptTime{Version: k.Version, Data: slices.Clone(k.Data)}
	return true, nil
}

// Append implements Store.
func (m *Memory) Append(ctx context.Context, batch []Append) []error {
	errs := make([]error, len(batch))
	if err := unavailable(ctx); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		errs[i] = m.append(&batch[i])
	}
	return errs
}

func (m *Memory) append(a *Append) error {
	if err := a.Validate(); err != nil {
		return err
	}
	run := m.runs[a.RunID]
	var has uint64
	if run != nil {
		has = run.last()
	}
	if a.Number != has+1 {
		return Conflict(a.RunID, a.Number, has)
	}
	if run == nil {
		run = &memoryRun{}
		m.runs[a.RunID] = run
	}
	run.entries = append(run.entries, slices.Clone(a.Entry))
	run.cutTo(a.Cut, a.Kept)
	m.events.changeWaits(a.RunID, a.Waits)
	run.changeStreams(a.Number, a.Streams)
	if a.Row != nil {
		if has > 0 {
			m.unlink(run)
		}
		old := run.row
		run.row = *a.Row
		run.row.Normalize()
		run.kept = false
		if has > 0 {
			run.row.Keep(&old)
		} else {
			run.metadata = maps.Clone(a.Metadata)
		}
		m.link(run)
	}
	return nil
}

// views calls fn for every view that the run's row puts it in.
func (m *Memory) views(run *memoryRun, fn func(*btree.BTreeG[*memoryRun])) {
	row := &run.row
	fn(m.created)
	switch {
	case Finished(row.Status):
		switch {
		case run.kept:
			fn(m.kept)
		case !row.FinishedAt.IsZero():
			fn(m.finished)
		}
		return
	case !row.Dormant:
		fn(m.active)
		return
	}
	if !row.WakeAt.IsZero() {
		fn(m.due)
	}
	if row.WakeOnUp != "" {
		fn(m.onUp)
	}
	if row.WakeOnGone != "" {
		fn(m.onGone)
	}
	if row.Line != 0 {
		fn(m.inLine)
	}
}

func (m *Memory) link(run *memoryRun) {
	m.views(run, func(v *btree.BTreeG[*memoryRun]) { v.ReplaceOrInsert(run) })
	m.count(run, 1)
}

func (m *Memory) unlink(run *memoryRun) {
	m.views(run, func(v *btree.BTreeG[*memoryRun]) { v.Delete(run) })
	m.count(run, -1)
}

func (m *Memory) count(run *memoryRun, n int) {
	if run.row.BoundWorker == "" {
		return
	}
	key := boundKey{run.row.Pool, run.row.BoundWorker}
	if m.bound[key] += n; m.bound[key] == 0 {
		delete(m.bound, key)
	}
}

// read locks the store for a method that reads.
func (m *Memory) read(ctx context.Context) error {
	if err := unavailable(ctx); err != nil {
		return err
	}
	m.mu.RLock()
	return nil
}

// Load implements Store.
func (m *Memory) Load(ctx context.Context, runID string) (Record, error) {
	if err := m.read(ctx); err != nil {
		return Record{}, err
	}
	defer m.mu.RUnlock()
	run := m.runs[runID]
	if run == nil {
		return Record{}, UnknownRun(runID)
	}
	return run.record(), nil
}

func (r *memoryRun) record() Record {
	return Record{Row: r.row, Entries: cloneAll(r.entries), After: r.cut}
}

func cloneAll(entries [][]byte) [][]byte {
	out := make([][]byte, len(entries))
	for i, e := range entries {
		out[i] = slices.Clone(e)
	}
	return out
}

// Entries implements Store.
func (m *Memory) Entries(ctx context.Context, runID string, after uint64, limit int) (Record, error) {
	if err := m.read(ctx); err != nil {
		return Record{}, err
	}
	defer m.mu.RUnlock()
	run := m.runs[runID]
	if run == nil {
		return Record{}, UnknownRun(runID)
	}
	from := max(after, run.cut)
	left := run.entries[min(from, run.last())-run.cut:]
	rec := Record{Row: run.row, Entries: cloneAll(left[:min(len(left), max(limit, 0))]), After: after}
	if len(rec.Entries) > 0 {
		rec.After = from
	}
	return rec, nil
}

// Entry implements Store.
func (m *Memory) Entry(ctx context.Context, runID string, number uint64) ([]byte, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	run := m.runs[runID]
	if run == nil {
		return nil, UnknownRun(runID)
	}
	return slices.Clone(run.entry(number)), nil
}

// Active implements Store.
func (m *Memory) Active(ctx context.Context, shards []int, after string, limit int) ([]Record, error) {
	return ofActive(ctx, m, shards, after, limit, (*memoryRun).record)
}

// Heads implements Store.
func (m *Memory) Heads(ctx context.Context, shards []int, after string, limit int) ([]Head, error) {
	return ofActive(ctx, m, shards, after, limit, func(r *memoryRun) Head { return Head{r.row.RunID, r.last()} })
}

func ofActive[T any](ctx context.Context, m *Memory, shards []int, after string, limit int, take func(*memoryRun) T) ([]T, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	set := NewShardSet(shards)
	var out []T
	m.active.AscendGreaterOrEqual(&memoryRun{row: Row{RunID: after}}, func(run *memoryRun) bool {
		if len(out) >= limit {
			return false
		}
		if run.row.RunID > after && set.Has(run.row.Shard) {
			out = append(out, take(run))
		}
		return true
	})
	return out, nil
}

// Due implements Store.
func (m *Memory) Due(ctx context.Context, shards []int, now time.Time, limit int) (due []string, next time.Time, err error) {
	if err := m.read(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer m.mu.RUnlock()
	set := NewShardSet(shards)
	m.due.Ascend(func(run *memoryRun) bool {
		switch {
		case !set.Has(run.row.Shard):
			return true
		case len(due) >= limit || run.row.WakeAt.After(now):
			next = run.row.WakeAt
			return false
		}
		due = append(due, run.row.RunID)
		return true
	})
	return due, next, nil
}

// WokenByUp implements Store.
func (m *Memory) WokenByUp(ctx context.Context, shards []int, workerID, after string, limit int) ([]Record, error) {
	from := Row{RunID: after, WakeOnUp: workerID}
	return m.woken(ctx, shards, m.onUp, from, limit, func(r *Row) string { return r.WakeOnUp })
}

// WokenByGone implements Store.
func (m *Memory) WokenByGone(ctx context.Context, shards []int, workerID, after string, limit int) ([]Record, error) {
	from := Row{RunID: after, WakeOnGone: workerID}
	return m.woken(ctx, shards, m.onGone, from, limit, func(r *Row) string { return r.WakeOnGone })
}

func (m *Memory) woken(ctx context.Context, shards []int, view *btree.BTreeG[*memoryRun], from Row, limit int, key func(*Row) string) ([]Record, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	set := NewShardSet(shards)
	var out []Record
	view.AscendGreaterOrEqual(&memoryRun{row: from}, func(run *memoryRun) bool {
		if len(out) >= limit || key(&run.row) != key(&from) {
			return false
		}
		if run.row.RunID > from.RunID && set.Has(run.row.Shard) {
			out = append(out, run.record())
		}
		return true
	})
	return out, nil
}

// WatchedWorkers implements Store.
func (m *Memory) WatchedWorkers(ctx context.Context, shards []int) ([]string, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	set := NewShardSet(shards)
	var out []string
	m.onGone.Ascend(func(run *memoryRun) bool {
		worker := run.row.WakeOnGone
		if set.Has(run.row.Shard) && (len(out) == 0 || out[len(out)-1] != worker) {
			out = append(out, worker)
		}
		return true
	})
	return out, nil
}

// BoundCounts implements Store.
func (m *Memory) BoundCounts(ctx context.Context, pool string) (map[string]int, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	out := make(map[string]int)
	for key, n := range m.bound {
		if key.pool == pool {
			out[key.worker] = n
		}
	}
	return out, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, f Filter, limit int, token string) ([]Row, string, error) {
	cursor, err := ParsePageToken(token)
	if err != nil {
		return nil, "", err
	}
	if err := m.read(ctx); err != nil {
		return nil, "", err
	}
	defer m.mu.RUnlock()
	var out []Row
	more := false
	visit := func(run *memoryRun) bool {
		switch {
		case !cursor.before(&run.row) || !f.Matches(&run.row) || !f.MatchesMetadata(run.metadata):
			return true
		case len(out) >= limit:
			more = limit > 0
			return false
		}
		out = append(out, run.row)
		return true
	}
	if token == "" {
		m.created.Descend(visit)
	} else {
		m.created.DescendLessOrEqual(&memoryRun{row: Row{RunID: cursor.RunID, CreatedAt: cursor.CreatedAt}}, visit)
	}
	if !more {
		return out, "", nil
	}
	return out, NewPageToken(&out[len(out)-1]), nil
}

// CountRuns implements Store.
func (m *Memory) CountRuns(ctx context.Context, f Filter, limit int) ([]GroupCount, error) {
	if limit <= 0 {
		return nil, nil
	}
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	counts := map[Group]int{}
	m.created.Descend(func(run *memoryRun) bool {
		if f.Matches(&run.row) && f.MatchesMetadata(run.metadata) {
			counts[Group{Workflow: run.row.Workflow, Status: run.row.Status}]++
		}
		return true
	})
	var groups []GroupCount
	for g, n := range counts {
		groups = append(groups, GroupCount{Workflow: g.Workflow, Status: g.Status, Rows: n})
	}
	return CountsOf(groups, limit), nil
}

// Heartbeat implements Store.
func (m *Memory) Heartbeat(ctx context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error) {
	if err := unavailable(ctx); err != nil {
		return nil, err
	}
	return m.heartbeats.Heartbeat(server, data), nil
}

// NotePresence implements Store.
func (m *Memory) NotePresence(ctx context.Context, at time.Time, gap time.Duration) ([]Presence, error) {
	if err := unavailable(ctx); err != nil {
		return nil, err
	}
	at = time.UnixMicro(Micros(at)).UTC()
	m.mu.Lock()
	defer m.mu.Unlock()
	switch n := len(m.presences); {
	case n == 0 || at.Sub(m.presences[n-1].To) > gap:
		m.presences = append(m.presences[max(0, n+1-PresencesKept):], Presence{at, at})
	case at.After(m.presences[n-1].To):
		m.presences[n-1].To = at
	}
	return slices.Clone(m.presences), nil
}

// Close implements Store; the store goes on working.
func (m *Memory) Close() error { return nil }

func unavailable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return messages.Errorf(messages.CodeJournalUnavailable, "journal: %w", err)
	}
	return nil
}
