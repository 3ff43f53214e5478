package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// scripted is a memory store whose appends go through a function.
type scripted struct {
	*journal.Memory
	mu      sync.Mutex
	batches [][]journal.Append
	// append stands in for Memory.Append if set; n counts from 1.
	append func(ctx context.Context, n int, batch []journal.Append) []error
}

func (s *scripted) Append(ctx context.Context, batch []journal.Append) []error {
	s.mu.Lock()
	s.batches = append(s.batches, slices.Clone(batch))
	n := len(s.batches)
	s.mu.Unlock()
	if s.append != nil {
		return s.append(ctx, n, batch)
	}
	return s.Memory.Append(ctx, batch)
}

func (s *scripted) sizes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int
	for _, b := range s.batches {
		out = append(out, len(b))
	}
	return out
}

func row(id string) *journal.Row {
	return &journal.Row{RunID: id, Workflow: "w", Status: messages.RunStatus_RUN_STATUS_RUNNING, CreatedAt: time.Unix(1, 0)}
}

func entry(run string, number uint64) journal.Append {
	a := journal.Append{RunID: run, Number: number, Entry: fmt.Appendf(nil, "%s/%d", run, number)}
	if number == 1 {
		a.Row = row(run)
	}
	return a
}

func failAll(batch []journal.Append, err error) []error {
	errs := make([]error, len(batch))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

var errDown = messages.Errorf(messages.CodeJournalUnavailable, "down")

// results collects what callbacks are told, in their order.
type results struct {
	mu    sync.Mutex
	order []string
	errs  map[string]error
}

func (r *results) append(c *journal.Committer, a journal.Append) {
	name := fmt.Sprintf("%s/%d", a.RunID, a.Number)
	c.Append(a, func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.errs == nil {
			r.errs = make(map[string]error)
		}
		r.order = append(r.order, name)
		r.errs[name] = err
	})
}

func (r *results) code(name string) messages.Code {
	r.mu.Lock()
	defer r.mu.Unlock()
	err, done := r.errs[name]
	if !done {
		return "PENDING"
	}
	return messages.CodeOf(err)
}

func mustClose(t *testing.T, c *journal.Committer) {
	t.Helper()
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCommitterGathersWhileACommitIsInFlight(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &scripted{Memory: journal.NewMemory()}
		release := make(chan struct{})
		store.append = func(ctx context.Context, n int, batch []journal.Append) []error {
			<-release
			return store.Memory.Append(ctx, batch)
		}
		c := journal.NewCommitter(store, journal.CommitterConfig{MaxBatch: 4})
		defer mustClose(t, c)
		var got results
		got.append(c, entry("a", 1))
		synctest.Wait()
		got.append(c, entry("a", 2))
		for i := range 4 {
			got.append(c, entry(fmt.Sprint("b", i), 1))
		}
		synctest.Wait()
		if n := c.Waiting(); n != 5 {
			t.Errorf("waiting: %d, want 5", n)
		}
		close(release)
		synctest.Wait()
		if sizes := store.sizes(); !slices.Equal(sizes, []int{1, 4, 1}) {
			t.Errorf("batches of %v, want 1, 4, 1", sizes)
		}
		want := []string{"a/1", "a/2", "b0/1", "b1/1", "b2/1", "b3/1"}
		if !slices.Equal(got.order, want) {
			t.Errorf("callbacks in order %v, want %v", got.order, want)
		}
	})
}

// A commit begins beside another one once a quarter as much waits as that has.
func TestCommitterBeginsNoSmallCommitBesideALargeOne(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &scripted{Memory: journal.NewMemory()}
		release := make(chan struct{})
		store.append = func(ctx context.Context, n int, batch []journal.Append) []error {
			<-release
			return store.Memory.Append(ctx, batch)
		}
		c := journal.NewCommitter(store, journal.CommitterConfig{InFlight: 2})
		defer mustClose(t, c)
		var got results
		began := func(runs int, want ...int) {
			t.Helper()
			for range runs {
				got.append(c, entry(fmt.Sprint("r", c.Waiting()+sum(store.sizes())), 1))
			}
			synctest.Wait()
			if sizes := store.sizes(); !slices.Equal(sizes, want) {
				t.Errorf("batches of %v, want %v", sizes, want)
			}
		}
		began(1, 1)
		began(1, 1, 1) // a single one waits for nobody while there is room
		began(8, 1, 1)
		release <- struct{}{}
		synctest.Wait()
		began(0, 1, 1, 8)
		release <- struct{}{}
		synctest.Wait()
		began(1, 1, 1, 8)
		began(1, 1, 1, 8, 2)
		close(release)
	})
}

func sum(sizes []int) (n int) {
	for _, size := range sizes {
		n += size
	}
	return n
}

func TestCommitterBoundsABatchByBytes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &scripted{Memory: journal.NewMemory()}
		release := make(chan struct{})
		store.append = func(ctx context.Context, n int, batch []journal.Append) []error {
			<-release
			return store.Memory.Append(ctx, batch)
		}
		c := journal.NewCommitter(store, journal.CommitterConfig{MaxBytes: 100})
		defer mustClose(t, c)
		var got results
		for i, size := range []int{1, 60, 40, 500, 1} {
			a := entry(fmt.Sprint("r", i), 1)
			a.Entry = make([]byte, size)
			got.append(c, a)
			synctest.Wait()
		}
		close(release)
		synctest.Wait()
		if sizes := store.sizes(); !slices.Equal(sizes, []int{1, 2, 1, 1}) {
			t.Errorf("batches of %v, want 1, 2, 1, 1", sizes)
		}
	})
}

func TestCommitterRefusesBeyondItsQueue(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &scripted{Memory: journal.NewMemory()}
		release := make(chan struct{})
		store.append = func(ctx context.Context, n int, batch []journal.Append) []error {
			<-release
			return store.Memory.Append(ctx, batch)
		}
		refused := 0
		c := journal.NewCommitter(store, journal.CommitterConfig{
			QueueMax: 2, QueueBytesMax: 107,
			Hooks: journal.CommitterHooks{Refused: func(error) { refused++ }},
		})
		var got results
		got.append(c, entry("flying", 1))
		synctest.Wait()
		big := entry("big", 1)
		big.Entry = make([]byte, 96)
		got.append(c, big)
		bytes := entry("bytes", 1)
		bytes.Entry = make([]byte, 12)
		got.append(c, bytes)          // too many
		got.append(c, entry("ok", 1)) // 4 bytes
		got.append(c, entry("count", 1))
		if errs := store.Memory.Append(t.Context(), []journal.Append{entry("begun", 1)}); errs[0] != nil {
			t.Fatal(errs[0])
		}
		got.append(c, entry("begun", 2)) // 7 bytes: what has begun goes on
		for _, name := range []string{"bytes/1", "count/1"} {
			if code := got.code(name); code != messages.CodeJournalUnavailable {
				t.Errorf("%s: %q at once, want JOURNAL_UNAVAILABLE", name, code)
			}
		}
		close(release)
		mustClose(t, c)
		for _, name := range []string{"flying/1", "big/1", "ok/1", "begun/2"} {
			if code := got.code(name); code != "" {
				t.Errorf("%s: %s, want success", name, code)
			}
		}
		got.append(c, entry("late", 1))
		if code := got.code("late/1"); code != messages.CodeJournalUnavailable {
			t.Errorf("append after Close: %q", code)
		}
		if refused != 3 {
			t.Errorf("refused hook called %d times, want 3", refused)
		}
	})
}

func TestCommitterSettlesAmbiguousFailures(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &scripted{Memory: journal.NewMemory()}
		if errs := store.Memory.Append(t.Context(), []journal.Append{entry("taken", 1)}); errs[0] != nil {
			t.Fatal(errs[0])
		}
		store.append = func(ctx context.Context, n int, batch []journal.Append) []error {
			switch n {
			case 1: // stores all, says nothing
				store.Memory.Append(ctx, batch)
				return failAll(batch, errDown)
			case 2: // stores nothing
				return failAll(batch, errDown)
			}
			return store.Memory.Append(ctx, batch)
		}
		var waits []time.Duration
		c := journal.NewCommitter(store, journal.CommitterConfig{
			RetryMin: 100 * time.Millisecond,
			Hooks: journal.CommitterHooks{Retrying: func(err error, try int, wait time.Duration) {
				if !errors.Is(err, errDown) {
					t.Errorf("retrying because of %v", err)
				}
				waits = append(waits, wait)
			}},
		})
		defer mustClose(t, c)
		var got results
		other := entry("taken", 1)
		other.Entry = []byte("another activation")
		got.append(c, entry("a", 1))
		got.append(c, entry("a", 2))
		got.append(c, other)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(waits) != 2 || waits[0] < 50*time.Millisecond || waits[0] > 100*time.Millisecond || waits[1] < 100*time.Millisecond || waits[1] > 200*time.Millisecond {
			t.Errorf("waits %v, want about 100 ms and 200 ms", waits)
		}
		for name, want := range map[string]messages.Code{"a/1": "", "a/2": "", "taken/1": messages.CodeJournalConflict} {
			if code := got.code(name); code != want {
				t.Errorf("%s: %q, want %q", name, code, want)
			}
		}
	})
}

func TestCommitterKeepsAGenuineConflict(t *testing.T) {
	store := journal.NewMemory()
	c := journal.NewCommitter(store, journal.CommitterConfig{})
	var got results
	got.append(c, entry("a", 1))
	got.append(c, entry("a", 1))
	got.append(c, entry("a", 3))
	got.append(c, entry("b", 1))
	mustClose(t, c)
	for name, want := range map[string]messages.Code{"a/1": messages.CodeJournalConflict, "a/3": messages.CodeJournalConflict, "b/1": ""} {
		if code := got.code(name); code != want {
			t.Errorf("%s: %q, want %q", name, code, want)
		}
	}
}

func TestCommitterCloseGivesUpWithItsContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &scripted{Memory: journal.NewMemory()}
		store.append = func(ctx context.Context, n int, batch []journal.Append) []error {
			return failAll(batch, errDown)
		}
		c := journal.NewCommitter(store, journal.CommitterConfig{})
		var got results
		got.append(c, entry("a", 1))
		synctest.Wait()
		got.append(c, entry("b", 1))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		err := c.Close(ctx)
		if code := messages.CodeOf(err); code != messages.CodeJournalUnavailable {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Close took %v, want the 10 s of its context", took)
		}
		for _, name := range []string{"a/1", "b/1"} {
			if code := got.code(name); code != messages.CodeJournalUnavailable {
				t.Errorf("%s: %q, want JOURNAL_UNAVAILABLE", name, code)
			}
		}
	})
}

func TestCommitterKeepsTheOrderOfARunWithSeveralCommitsInFlight(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &scripted{Memory: journal.NewMemory()}
		store.append = func(ctx context.Context, n int, batch []journal.Append) []error {
			time.Sleep(time.Duration(1+n*7%5) * time.Millisecond)
			return store.Memory.Append(ctx, batch)
		}
		flying, most := 0, 0
		inner := store.append
		store.append = func(ctx context.Context, n int, batch []journal.Append) []error {
			store.mu.Lock()
			flying++
			most = max(most, flying)
			store.mu.Unlock()
			defer func() { store.mu.Lock(); flying--; store.mu.Unlock() }()
			return inner(ctx, n, batch)
		}
		c := journal.NewCommitter(store, journal.CommitterConfig{InFlight: 3, MaxBatch: 4})
		var got results
		var want []string
		for n := uint64(1); n <= 20; n++ {
			for _, run := range []string{"a", "b", "c"} {
				got.append(c, entry(run, n))
				want = append(want, fmt.Sprintf("%s/%d", run, n))
			}
			if n%3 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		mustClose(t, c)
		for _, name := range want {
			if code := got.code(name); code != "" {
				t.Errorf("%s: %s", name, code)
			}
		}
		for _, run := range []string{"a", "b", "c"} {
			last := 0
			for _, name := range got.order {
				var n int
				if _, err := fmt.Sscanf(name, run+"/%d", &n); err == nil {
					if n != last+1 {
						t.Fatalf("run %s: callback %d after %d", run, n, last)
					}
					last = n
				}
			}
		}
		if most < 2 {
			t.Errorf("at most %d commits in flight, want more than one", most)
		}
	})
}

func TestHooksHearWhatBecameDurable(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := journal.NewCommitter(journal.NewMemory(), journal.CommitterConfig{})
		defer mustClose(t, c)
		var got results
		var first, second []uint64
		cancel1 := c.Stored().Add("a", func(s journal.Stored) {
			n, e, r := s.Number, s.Entry, s.Row
			if want := fmt.Sprintf("a/%d", n); string(e) != want || (r != nil) != (n == 1) {
				t.Errorf("listener got %d %q %v", n, e, r)
			}
			if code := got.code(fmt.Sprintf("a/%d", n)); code != "" {
				t.Errorf("listener called before the append's own callback: %s", code)
			}
			first = append(first, n)
		})
		cancel2 := c.Stored().Add("a", func(s journal.Stored) { second = append(second, s.Number) })
		got.append(c, entry("a", 1))
		got.append(c, entry("a", 1)) // refused: not told
		got.append(c, entry("b", 1)) // another run
		synctest.Wait()
		cancel1()
		cancel1()
		got.append(c, entry("a", 2))
		synctest.Wait()
		cancel2()
		got.append(c, entry("a", 3))
		synctest.Wait()
		if !slices.Equal(first, []uint64{1}) || !slices.Equal(second, []uint64{1, 2}) {
			t.Errorf("listeners got %v and %v, want [1] and [1 2]", first, second)
		}
	})
}

func BenchmarkCommitterMemory(b *testing.B) {
	c := journal.NewCommitter(journal.NewMemory(), journal.CommitterConfig{QueueMax: 1 << 30, QueueBytesMax: 1 << 40})
	var wg sync.WaitGroup
	payload := make([]byte, 200)
	done := func(error) { wg.Done() }
	ids := make([]string, 256)
	for i := range ids {
		ids[i] = fmt.Sprint("run", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		wg.Add(1)
		c.Append(journal.Append{RunID: ids[i%256], Number: uint64(i/256 + 1), Entry: payload, Row: row(ids[i%256])}, done)
	}
	wg.Wait()
}
