package worker_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// longRun stores a run that has ended after so many outputs of a megabyte, and returns
// the number of its last entry.
func longRun(w *actorstest.World, id string, outputs, inOneEntry int) uint64 {
	w.T.Helper()
	var events []*messages.Event
	number := uint64(0)
	put := func(status messages.RunStatus) {
		data, err := messages.Marshal(&messages.Entry{AtUs: 1, Events: events})
		if err != nil {
			w.T.Fatal(err)
		}
		events = nil
		number++
		errs := w.Store.Store.Append(w.T.Context(), []journal.Append{{RunID: id, Number: number, Entry: data,
			Row: &journal.Row{RunID: id, Shard: messages.Shard(id), Status: status, CreatedAt: time.Now(), FinishedAt: time.Now()}}})
		if errs[0] != nil {
			w.T.Fatal(errs[0])
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
	events = append(events, &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}})
	put(messages.RunStatus_RUN_STATUS_SUCCEEDED)
	return number
}

// A step that waits for a child gets all its outputs, however large.
func TestParentGetsTheOutputsOfALargeChild(t *testing.T) {
	for _, inOneEntry := range []int{1, 16} {
		actorstest.Bubble(t, func(w *actorstest.World) {
			w.Server("s1")
			p := w.Worker("w1", w.Workflow("build", messages.Sticky_STICKY_NONE, func(context.Context, *attempt.Attempt) ([]byte, error) { return nil, nil }))
			entries := longRun(w, "r1", 48, inOneEntry)
			begin := time.Now()
			ctx, cancel := context.WithTimeout(w.T.Context(), time.Minute)
			defer cancel()
			outputs, err := p.OutputsOf(ctx, w.T.Context(), &messages.ChildEnd{ChildRun: "r1", Entry: entries})
			if err != nil || len(outputs) != 48 {
				w.T.Fatalf("%d outputs, %v", len(outputs), err)
			}
			if took := time.Since(begin); took > time.Second {
				w.T.Errorf("it took %v", took)
			}
		})
	}
}
