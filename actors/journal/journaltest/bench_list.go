package journaltest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

const (
	// fewRuns and manyRuns are how many a store has when its pages are measured.
	fewRuns, manyRuns = 1_000, 300_000
	// rareRuns of them have what a filter for something rare asks for, whatever
	// their number.
	rareRuns = 50
	pageRuns = 100
	// fillBatch is how many runs are appended at once.
	fillBatch = 500
	// pageReads is how often a page is read for its median.
	pageReads = 15
)

// pageFilters are what pages are measured with. A filter for what is common has
// full pages, one for what is rare has pages of less than rareRuns.
var pageFilters = []struct {
	name   string
	filter journal.Filter
}{
	{"all", journal.Filter{}},
	{"workflow-common", journal.Filter{Workflow: "common"}},
	{"workflow-rare", journal.Filter{Workflow: "rare"}},
	{"failed", journal.Filter{Statuses: []messages.RunStatus{failed}}},
	{"running", journal.Filter{Statuses: []messages.RunStatus{running}}},
	{"succeeded", journal.Filter{Statuses: []messages.RunStatus{succeeded}}},
	{"unsuccessful", journal.Filter{Statuses: []messages.RunStatus{failed, canceled}}},
	{"workflow-and-failed", journal.Filter{Workflow: "rare", Statuses: []messages.RunStatus{failed}}},
	{"common-and-failed", journal.Filter{Workflow: "common", Statuses: []messages.RunStatus{failed}}},
	{"worker-rare", journal.Filter{BoundWorker: "rare"}},
	{"children-of", journal.Filter{ParentRun: "parent"}},
	{"roots", journal.Filter{Roots: true}},
	{"metadata-rare", journal.Filter{Metadata: map[string]string{"who": "rare"}}},
	{"metadata-common", journal.Filter{Metadata: map[string]string{"who": "common"}}},
	{"metadata-both", journal.Filter{Metadata: map[string]string{"who": "common", "what": "rare"}}},
	{"metadata-and-failed", journal.Filter{Metadata: map[string]string{"who": "common"}, Statuses: []messages.RunStatus{failed}}},
	{"metadata-and-roots", journal.Filter{Metadata: map[string]string{"who": "rare"}, Roots: true}},
	{"metadata-and-worker", journal.Filter{Metadata: map[string]string{"who": "common"}, BoundWorker: "rare"}},
	{"after", journal.Filter{CreatedAfter: epoch.Add(time.Minute)}},
	{"before", journal.Filter{CreatedBefore: epoch.Add(time.Minute)}},
	{"workflow-in-a-minute", journal.Filter{Workflow: "common", CreatedAfter: epoch, CreatedBefore: epoch.Add(time.Minute)}},
}

// BenchmarkPages measures a page of runs for each filter in a store of 1,000 runs
// and in the same one with 300,000: ms/page of the larger one, and how many times
// that of the smaller one this is. The store is empty before.
func BenchmarkPages(b *testing.B, store journal.Store) {
	fillRuns(b, store, 0, fewRuns)
	few := map[string]time.Duration{}
	for _, f := range pageFilters {
		few[f.name], _ = pageTime(b, store, f.filter)
	}
	fillRuns(b, store, fewRuns, manyRuns)
	for _, f := range pageFilters {
		b.Run(f.name, func(b *testing.B) {
			var took time.Duration
			rows := 0
			for b.Loop() {
				took, rows = pageTime(b, store, f.filter)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(rows), "rows")
			b.ReportMetric(float64(took.Microseconds())/1000, "ms/page")
			b.ReportMetric(float64(took)/float64(few[f.name]), "times-that-of-1000")
		})
	}
}

// pageTime is the median time of a first page.
func pageTime(b *testing.B, store journal.Store, filter journal.Filter) (median time.Duration, rows int) {
	took := make([]time.Duration, pageReads)
	for i := range took {
		began := time.Now()
		page, _, err := store.List(b.Context(), filter, pageRuns, "")
		if err != nil {
			b.Fatal(err)
		}
		took[i], rows = time.Since(began), len(page)
	}
	slices.Sort(took)
	return took[pageReads/2], rows
}

// fillRuns appends runs from a number to another one. What is rare is among the
// oldest, where a list that is read from the newest on meets it last.
func fillRuns(b *testing.B, store journal.Store, from, to int) {
	b.Helper()
	payload := make([]byte, chainBytes)
	for n := from; n < to; n += fillBatch {
		var batch []journal.Append
		for i := n; i < min(n+fillBatch, to); i++ {
			batch = append(batch, filledRun(i, payload))
		}
		for _, err := range store.Append(b.Context(), batch) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func filledRun(i int, payload []byte) journal.Append {
	id := fmt.Sprintf("run-%07d", i)
	row := &journal.Row{
		RunID: id, Shard: i % messages.Shards, Workflow: "common", Pool: "default", DefinitionHash: "3f5a9c0d7be14c28a6e0f4417b2d9c55",
		Sticky: messages.Sticky_STICKY_SOFT, Trigger: "api", Status: succeeded, Priority: 2,
		CreatedAt: epoch.Add(time.Duration(i) * 100 * time.Millisecond), FinishedAt: epoch,
	}
	metadata := map[string]string{"who": "common", "what": "common"}
	if i < fewRuns {
		switch i % (fewRuns / rareRuns) {
		case 0:
			row.Workflow, row.ParentRun, metadata["who"] = "rare", "parent", "rare"
		case 1:
			row.Status, row.FinishedAt, row.BoundWorker, metadata["what"] = running, time.Time{}, "rare", "rare"
		case 2:
			row.Status = failed
		}
	}
	return journal.Append{RunID: id, Number: 1, Entry: payload, Row: row, Metadata: metadata}
}
