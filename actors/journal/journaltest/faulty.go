package journaltest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// Fault is what happens to one call of Append. The zero value is no fault.
type Fault struct {
	Kind FaultKind
	// Delay passes before anything happens.
	Delay time.Duration
	// Until, if not nil, is waited for after Delay, before anything happens.
	Until <-chan struct{}
}

// FaultKind is what happens to an append.
type FaultKind int

const (
	// None: the append goes through.
	None FaultKind = iota
	// FailBefore: nothing is stored, every element gets JOURNAL_UNAVAILABLE.
	FailBefore
	// FailAfter: the batch is stored, yet every element gets
	// JOURNAL_UNAVAILABLE.
	FailAfter
	// Unsynced: the append goes through, but Crash loses it unless Sync, or an
	// append without this fault, came before.
	Unsynced
)

// FaultyConfig is the chance of each fault, from 0 to 1, for appends that no
// script covers.
type FaultyConfig struct {
	// Seed of the drawing; the same calls in the same order get the same
	// faults.
	Seed                            uint64
	FailBefore, FailAfter, Unsynced float64
	// Delay is the chance of a delay of up to DelayMax.
	Delay    float64
	DelayMax time.Duration
}

// Faulty is a store in memory that fails on purpose. Its methods may be called
// concurrently.
type Faulty struct {
	cfg FaultyConfig
	id  string

	mu     sync.Mutex
	rng    *rand.Rand
	script []Fault
	// changes are all that were made, the first synced of which outlive a
	// crash.
	changes []func(*journal.Memory)
	synced  int
	// visible is what the next call sees.
	visible *journal.Memory
	down    error
	counts  map[FaultKind]int
}

var _ journal.Store = (*Faulty)(nil)

// Identity implements journal.Store.
func (f *Faulty) Identity() string { return f.id }

// NewFaulty returns an empty store.
func NewFaulty(cfg FaultyConfig) *Faulty {
	return &Faulty{
		cfg: cfg, id: journal.NewMemory().Identity(), rng: rand.New(rand.NewPCG(cfg.Seed, 0)),
		visible: journal.NewMemory(), counts: make(map[FaultKind]int),
	}
}

// Script adds faults for the next appends, one each, before any are drawn.
func (f *Faulty) Script(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = append(f.script, faults...)
}

// Heal ends the script and the drawing of faults.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = nil
	f.cfg = FaultyConfig{}
}

// SetDown makes every call fail with JOURNAL_UNAVAILABLE, and none again.
func (f *Faulty) SetDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = nil
	if down {
		f.down = messages.Errorf(messages.CodeJournalUnavailable, "journal: down on purpose")
	}
}

// Sync makes everything outlive a crash.
func (f *Faulty) Sync() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced = len(f.changes)
}

// Crash loses what was not synced, as a machine without power does. Calls that
// are under way may still write to what is lost.
func (f *Faulty) Crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = f.changes[:f.synced]
	f.visible = journal.NewMemory()
	for _, change := range f.changes {
		change(f.visible)
	}
}

// Count returns how many appends had a fault of the kind.
func (f *Faulty) Count(kind FaultKind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[kind]
}

func (f *Faulty) draw() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := Fault{}
	if len(f.script) > 0 {
		fault, f.script = f.script[0], f.script[1:]
	} else {
		which, delay, length := f.rng.Float64(), f.rng.Float64(), f.rng.Float64()
		for _, c := range []struct {
			kind   FaultKind
			chance float64
		}{{FailBefore, f.cfg.FailBefore}, {FailAfter, f.cfg.FailAfter}, {Unsynced, f.cfg.Unsynced}} {
			if which < c.chance {
				fault.Kind = c.kind
				break
			}
			which -= c.chance
		}
		if delay < f.cfg.Delay {
			fault.Delay = time.Duration(length * float64(f.cfg.DelayMax))
		}
	}
	f.counts[fault.Kind]++
	return fault
}

// Now implements journal.Store.
func (f *Faulty) Now(ctx context.Context) (time.Time, error) {
	m, err := f.store()
	if err != nil {
		return time.Time{}, err
	}
	return m.Now(ctx)
}

// Time implements journal.Store.
func (f *Faulty) Time(ctx context.Context) (time.Time, journal.KeptTime, error) {
	m, err := f.store()
	if err != nil {
		return time.Time{}, journal.KeptTime{}, err
	}
	return m.Time(ctx)
}

// KeepTime implements journal.Store.
func (f *Faulty) KeepTime(ctx context.Context, k journal.KeptTime) (kept bool, err error) {
	if err := (Fault{}).wait(ctx); err != nil {
		return false, err
	}
	k.Data = slices.Clone(k.Data)
	if down := f.change(true, func(m *journal.Memory) { kept, err = m.KeepTime(context.Background(), k) }); down != nil {
		return false, down
	}
	return kept, err
}

// Append implements journal.Store.
func (f *Faulty) Append(ctx context.Context, batch []journal.Append) []error {
	kept := make([]journal.Append, len(batch))
	for i, a := range batch {
		a.Entry = slices.Clone(a.Entry)
		if a.Row != nil {
			row := *a.Row
			a.Row = &row
		}
		kept[i] = a
	}
	return f.commit(ctx, len(batch), func(m *journal.Memory) []error { return m.Append(context.Background(), kept) })
}

// commit makes a change of n elements, with the next fault.
func (f *Faulty) commit(ctx context.Context, n int, apply func(*journal.Memory) []error) (errs []error) {
	fault := f.draw()
	if err := fault.wait(ctx); err != nil {
		return same(n, err)
	}
	if fault.Kind == FailBefore {
		return same(n, messages.Errorf(messages.CodeJournalUnavailable, "journal: failed on purpose, before writing"))
	}
	if err := f.change(fault.Kind != Unsynced, func(m *journal.Memory) { errs = apply(m) }); err != nil {
		return same(n, err)
	}
	if fault.Kind == FailAfter {
		return same(n, messages.Errorf(messages.CodeJournalUnavailable, "journal: failed on purpose, after writing"))
	}
	return errs
}

func (fault Fault) wait(ctx context.Context) error {
	if fault.Delay > 0 {
		_ = backoff.Sleep(ctx, fault.Delay)
	}
	if fault.Until != nil {
		select {
		case <-fault.Until:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return messages.Errorf(messages.CodeJournalUnavailable, "journal: %w", err)
	}
	return nil
}

func same(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// change applies a change and notes it for after a crash.
func (f *Faulty) change(synced bool, apply func(*journal.Memory)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return f.down
	}
	apply(f.visible)
	f.changes = append(f.changes, apply)
	if synced {
		f.synced = len(f.changes)
	}
	return nil
}

func (f *Faulty) store() (*journal.Memory, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.visible, f.down
}

// Load implements journal.Store.
func (f *Faulty) Load(ctx context.Context, runID string) (journal.Record, error) {
	m, err := f.store()
	if err != nil {
		return journal.Record{}, err
	}
	return m.Load(ctx, runID)
}

// Entries implements journal.Store.
func (f *Faulty) Entries(ctx context.Context, runID string, after uint64, limit int) (journal.Record, error) {
	m, err := f.store()
	if err != nil {
		return journal.Record{}, err
	}
	return m.Entries(ctx, runID, after, limit)
}

// Entry implements journal.Store.
func (f *Faulty) Entry(ctx context.Context, runID string, number uint64) ([]byte, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Entry(ctx, runID, number)
}

// Active implements journal.Store.
func (f *Faulty) Active(ctx context.Context, shards []int, after string, limit int) ([]journal.Record, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Active(ctx, shards, after, limit)
}

// Heads implements journal.Store.
func (f *Faulty) Heads(ctx context.Context, shards []int, after string, limit int) ([]journal.Head, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Heads(ctx, shards, after, limit)
}

// Heartbeat implements journal.Store.
func (f *Faulty) Heartbeat(ctx context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Heartbeat(ctx, server, data)
}

// NotePresence implements journal.Store.
func (f *Faulty) NotePresence(ctx context.Context, at time.Time, gap time.Duration) ([]journal.Presence, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.NotePresence(ctx, at, gap)
}

// Due implements journal.Store.
func (f *Faulty) Due(ctx context.Context, shards []int, now time.Time, limit int) ([]string, time.Time, error) {
	m, err := f.store()
	if err != nil {
		return nil, time.Time{}, err
	}
	return m.Due(ctx, shards, now, limit)
}

// WokenByUp implements journal.Store.
func (f *Faulty) WokenByUp(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.WokenByUp(ctx, shards, workerID, after, limit)
}

// WokenByGone implements journal.Store.
func (f *Faulty) WokenByGone(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.WokenByGone(ctx, shards, workerID, after, limit)
}

// WatchedWorkers implements journal.Store.
func (f *Faulty) WatchedWorkers(ctx context.Context, shards []int) ([]string, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.WatchedWorkers(ctx, shards)
}

// InLine implements journal.Store.
func (f *Faulty) InLine(ctx context.Context, shards []int, line int64, after journal.Place, limit int) ([]journal.Record, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.InLine(ctx, shards, line, after, limit)
}

// Lines implements journal.Store.
func (f *Faulty) Lines(ctx context.Context, shards []int) ([]int64, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Lines(ctx, shards)
}

// CountInLine implements journal.Store.
func (f *Faulty) CountInLine(ctx context.Context, shards []int, line int64, limit int) (int, error) {
	m, err := f.store()
	if err != nil {
		return 0, err
	}
	return m.CountInLine(ctx, shards, line, limit)
}

// CountWokenByUp implements journal.Store.
func (f *Faulty) CountWokenByUp(ctx context.Context, shards []int, limit int) (int, error) {
	m, err := f.store()
	if err != nil {
		return 0, err
	}
	return m.CountWokenByUp(ctx, shards, limit)
}

// BoundCounts implements journal.Store.
func (f *Faulty) BoundCounts(ctx context.Context, pool string) (map[string]int, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.BoundCounts(ctx, pool)
}

// List implements journal.Store.
func (f *Faulty) List(ctx context.Context, filter journal.Filter, limit int, token string) ([]journal.Row, string, error) {
	m, err := f.store()
	if err != nil {
		return nil, "", err
	}
	return m.List(ctx, filter, limit, token)
}

// PutDefinition implements journal.Store.
func (f *Faulty) PutDefinition(ctx context.Context, d journal.Definition) error {
	d.Data = slices.Clone(d.Data)
	return f.name(ctx, func(m *journal.Memory) error { return m.PutDefinition(context.Background(), d) })
}

// Definition implements journal.Store.
func (f *Faulty) Definition(ctx context.Context, hash string) (journal.Definition, error) {
	m, err := f.store()
	if err != nil {
		return journal.Definition{}, err
	}
	return m.Definition(ctx, hash)
}

// Workflows implements journal.Store.
func (f *Faulty) Workflows(ctx context.Context) ([]journal.Workflow, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Workflows(ctx)
}

// Versions implements journal.Store.
func (f *Faulty) Versions(ctx context.Context, name string, limit int) ([]journal.Definition, error) {
	m, err := f.store()
	if err != nil {
		return nil, err
	}
	return m.Versions(ctx, name, limit)
}

// ChooseVersion implements journal.Store.
func (f *Faulty) ChooseVersion(ctx context.Context, name, hash string, at time.Time) error {
	return f.name(ctx, func(m *journal.Memory) error { return m.ChooseVersion(context.Background(), name, hash, at) })
}

// RetireWorkflow implements journal.Store.
func (f *Faulty) RetireWorkflow(ctx context.Context, name string, at time.Time) error {
	return f.name(ctx, func(m *journal.Memory) error { return m.RetireWorkflow(context.Background(), name, at) })
}

// NoteUnserved implements journal.Store.
func (f *Faulty) NoteUnserved(ctx context.Context, names []string, since time.Time) error {
	return f.name(ctx, func(m *journal.Memory) error { return m.NoteUnserved(context.Background(), names, since) })
}

// name changes what is recorded of the name of a workflow.
func (f *Faulty) name(ctx context.Context, set func(*journal.Memory) error) (err error) {
	if err := (Fault{}).wait(ctx); err != nil {
		return err
	}
	if down := f.change(true, func(m *journal.Memory) { err = set(m) }); down != nil {
		return down
	}
	return err
}

// DeleteFinished implements journal.Store.
func (f *Faulty) DeleteFinished(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if err := (Fault{}).wait(ctx); err != nil {
		return 0, err
	}
	if down := f.change(true, func(m *journal.Memory) { n, err = m.DeleteFinished(context.Background(), before, limit) }); down != nil {
		return 0, down
	}
	return n, err
}

// Close implements journal.Store; the store goes on working.
func (f *Faulty) Close() error { return nil }
