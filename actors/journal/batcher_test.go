package journal_test

import (
	"slices"
	"testing"

	"github.com/limpetrun/limpet/actors/journal"
)

// TestABatcherStoresTogetherWhatCameMeanwhile in order, in bounded commits, and holds no
// more bytes than it may.
func TestABatcherStoresTogetherWhatCameMeanwhile(t *testing.T) {
	var commits [][]int
	var run func()
	batcher := &journal.Batcher[int]{QueueMax: 10, Background: func(f func()) {
		if run != nil {
			t.Error("two goroutines store")
		}
		run = f
	}}
	take := func(write, rows int, bytes, full int64) {
		t.Helper()
		if got := batcher.Take(write, rows, bytes); got != full {
			t.Errorf("write %d: %d bytes would wait, want %d", write, got, full)
		}
	}
	take(1, 1, 100, 0) // alone it may have more
	take(2, 1, 1, 101)
	batcher.Store = func(batch []int) {
		commits = append(commits, slices.Clone(batch))
		if len(commits) == 1 {
			// The bytes in flight count, but a write that comes when none waits is taken.
			take(3, 500, 4, 0)
			take(4, 13, 4, 108)
		}
	}
	run()
	run = nil
	take(5, 500, 4, 0)
	take(6, 12, 4, 0)
	take(7, 1, 2, 0) // a commit has 512 rows at most
	take(8, 1, 1, 11)
	run()
	if want := [][]int{{1}, {3}, {5, 6}, {7}}; !slices.EqualFunc(commits, want, slices.Equal[[]int]) {
		t.Errorf("commits are %v, want %v", commits, want)
	}
}
