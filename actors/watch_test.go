package actors

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// longRun stores a run that has ended after so many outputs of a megabyte.
func (w *hostWorld) longRun(id string, outputs, inOneEntry int) {
	w.t.Helper()
	var events []*messages.Event
	number := uint64(0)
	put := func(status messages.RunStatus) {
		data, err := messages.Marshal(&messages.Entry{AtUs: 1, Events: events})
		if err != nil {
			w.t.Fatal(err)
		}
		events = nil
		number++
		errs := w.store.Store.Append(w.t.Context(), []journal.Append{{RunID: id, Number: number, Entry: data,
			Row: &journal.Row{RunID: id, Shard: cluster.Shard(id), Status: status, CreatedAt: time.Now(), FinishedAt: time.Now()}}})
		if errs[0] != nil {
			w.t.Fatal(errs[0])
		}
	}
	output := append(append([]byte{'"'}, bytes.Repeat([]byte("x"), messages.PayloadBytesMax-2)...), '"')
	for i := range outputs {
		events = append(events, &messages.Event{Kind: &messages.Event_StepSucceeded{
			StepSucceeded: &messages.StepSucceeded{Step: fmt.Sprint("s", i), Output: output}}})
		if len(events) == inOneEntry {
			put(messages.RunStatus_RUN_STATUS_RUNNING)
		}
	}
	events = append(events, &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: succeeded}}})
	put(succeeded)
}

// A step that waits for a child gets all its outputs, however large.
func TestParentGetsTheOutputsOfALargeChild(t *testing.T) {
	for _, inOneEntry := range []int{1, 16} {
		hostBubble(t, func(w *hostWorld) {
			w.server("s1")
			p := w.worker("w1", w.workflow("build", none, succeed))
			w.longRun("r1", 48, inOneEntry)
			e := &attemptEngine{worker: p.Worker, life: w.t.Context()}
			begin := time.Now()
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
			defer cancel()
			end, outputs, err := e.watch(ctx, "r1")
			if err != nil || end.GetStatus() != succeeded || len(outputs) != 48 {
				w.t.Fatalf("end %v with %d outputs, %v", end, len(outputs), err)
			}
			if took := time.Since(begin); took > time.Second {
				w.t.Errorf("it took %v", took)
			}
		})
	}
}
