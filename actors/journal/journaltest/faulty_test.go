package journaltest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

func TestFaultyWithoutFaults(t *testing.T) {
	journaltest.Exercise(t, func(*testing.T) journal.Store {
		return journaltest.NewFaulty(journaltest.FaultyConfig{})
	}, nil)
}

func entry(run string, number uint64) journal.Append {
	return journal.Append{
		RunID: run, Number: number, Entry: fmt.Appendf(nil, "%s#%d", run, number),
		Row: &journal.Row{RunID: run, Status: messages.RunStatus_RUN_STATUS_RUNNING, CreatedAt: time.Unix(1, 0)},
	}
}

func appendOne(t *testing.T, s journal.Store, run string, number uint64) messages.Code {
	t.Helper()
	errs := s.Append(t.Context(), []journal.Append{entry(run, number)})
	return messages.CodeOf(errs[0])
}

func entries(t *testing.T, s journal.Store, run string) int {
	t.Helper()
	rec, err := s.Load(t.Context(), run)
	if code := messages.CodeOf(err); err != nil && code != messages.CodeUnknownRun {
		t.Fatal(err)
	}
	return len(rec.Entries)
}

func TestFaultyScript(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := journaltest.NewFaulty(journaltest.FaultyConfig{})
		hold := make(chan struct{})
		f.Script(
			journaltest.Fault{Kind: journaltest.FailBefore},
			journaltest.Fault{Kind: journaltest.FailAfter},
			journaltest.Fault{Delay: time.Minute},
			journaltest.Fault{Until: hold},
		)
		for i, want := range []struct {
			code    messages.Code
			entries int
			took    time.Duration
		}{
			{messages.CodeJournalUnavailable, 0, 0},
			{messages.CodeJournalUnavailable, 1, 0},
			{messages.CodeJournalConflict, 1, time.Minute},
		} {
			start := time.Now()
			code := appendOne(t, f, "a", 1)
			if took := time.Since(start); code != want.code || entries(t, f, "a") != want.entries || took != want.took {
				t.Errorf("append %d: %q after %v, %d entries, want %+v", i, code, took, entries(t, f, "a"), want)
			}
		}
		done := make(chan messages.Code, 1)
		go func() { done <- appendOne(t, f, "a", 2) }()
		synctest.Wait()
		if n := entries(t, f, "a"); n != 1 {
			t.Errorf("the append that is held has stored its entry: %d", n)
		}
		close(hold)
		if code := <-done; code != "" || entries(t, f, "a") != 2 {
			t.Errorf("the append that was held: %q", code)
		}
		f.SetDown(true)
		if code := appendOne(t, f, "a", 3); code != messages.CodeJournalUnavailable {
			t.Errorf("append while down: %q", code)
		}
		if _, err := f.Load(t.Context(), "a"); messages.CodeOf(err) != messages.CodeJournalUnavailable {
			t.Errorf("load while down: %v", err)
		}
		f.SetDown(false)
		if code := appendOne(t, f, "a", 3); code != "" {
			t.Errorf("append when up again: %q", code)
		}
		if n := f.Count(journaltest.FailAfter); n != 1 {
			t.Errorf("%d faults of the kind FailAfter, want 1", n)
		}
	})
}

func TestFaultyLosesWhatWasNotSynced(t *testing.T) {
	f := journaltest.NewFaulty(journaltest.FaultyConfig{Unsynced: 1})
	step := func(number uint64) {
		t.Helper()
		if code := appendOne(t, f, "a", number); code != "" {
			t.Fatalf("append %d: %s", number, code)
		}
	}
	crash := func(want int) {
		t.Helper()
		f.Crash()
		if n := entries(t, f, "a"); n != want {
			t.Errorf("%d entries after the crash, want %d", n, want)
		}
	}
	step(1)
	crash(0)
	step(1)
	step(2)
	f.Sync()
	step(3)
	crash(2)
	f.Heal()
	step(3)
	crash(3)
}

func TestFaultyIsSeeded(t *testing.T) {
	run := func(seed uint64) (codes []messages.Code) {
		f := journaltest.NewFaulty(journaltest.FaultyConfig{Seed: seed, FailBefore: 0.3, FailAfter: 0.3})
		for i := range uint64(50) {
			codes = append(codes, appendOne(t, f, fmt.Sprint(i), 1))
		}
		return codes
	}
	if !slices.Equal(run(1), run(1)) {
		t.Error("the same seed gave different faults")
	}
	if slices.Equal(run(1), run(2)) {
		t.Error("different seeds gave the same faults")
	}
}

// TestCommittersOverFaults lets two servers compete for the entries of the
// same runs over a store that fails in every way: each entry goes to the one
// that was told so, and nothing is told twice.
func TestCommittersOverFaults(t *testing.T) {
	for seed := range uint64(20) {
		bubble.Test(t, func(t *testing.T) {
			f := journaltest.NewFaulty(journaltest.FaultyConfig{
				Seed: seed, FailBefore: 0.2, FailAfter: 0.2, Delay: 0.5, DelayMax: 20 * time.Millisecond,
			})
			const runs, numbers = 5, 12
			var mu sync.Mutex
			winner := make(map[string]string)
			var group sync.WaitGroup
			for _, server := range []string{"one", "two"} {
				c := journal.NewCommitter(f, journal.CommitterConfig{MaxBatch: 3, InFlight: 1 + int(seed%2)})
				var live sync.WaitGroup
				var next func(run string, number uint64)
				next = func(run string, number uint64) {
					a := entry(run, number)
					a.Entry = fmt.Appendf(nil, "%s#%d by %s", run, number, server)
					c.Append(a, func(err error) {
						mu.Lock()
						switch key := fmt.Sprintf("%s#%d", run, number); messages.CodeOf(err) {
						case "":
							if other, won := winner[key]; won {
								t.Errorf("%s won by %s and by %s", key, other, server)
							}
							winner[key] = server
						case messages.CodeJournalConflict:
						default:
							t.Error(err)
						}
						mu.Unlock()
						if number < numbers {
							next(run, number+1)
							return
						}
						live.Done()
					})
				}
				for r := range runs {
					live.Add(1)
					next(fmt.Sprint("r", r), 1)
				}
				group.Go(func() {
					live.Wait()
					if err := c.Close(context.Background()); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			for r := range runs {
				run := fmt.Sprint("r", r)
				rec, err := f.Load(t.Context(), run)
				if err != nil || len(rec.Entries) != numbers {
					t.Fatalf("seed %d, %s: %d entries, %v", seed, run, len(rec.Entries), err)
				}
				for i, e := range rec.Entries {
					key := fmt.Sprintf("%s#%d", run, i+1)
					if want := key + " by " + winner[key]; string(e) != want {
						t.Errorf("seed %d: stored %q, told %q", seed, e, want)
					}
				}
			}
			if f.Count(journaltest.FailBefore) == 0 || f.Count(journaltest.FailAfter) == 0 {
				t.Errorf("seed %d: no faults", seed)
			}
		})
	}
}
