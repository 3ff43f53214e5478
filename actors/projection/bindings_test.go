package projection

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func worker(id string) *messages.WorkerRef {
	return &messages.WorkerRef{WorkerId: id, Incarnation: id + "-i", Address: id + ":1"}
}

// describe is a binding on a line; times are the numbers of entries.
func describe(b *api.BindingRecord) string {
	at := func(t interface{ AsTime() time.Time }) string { return fmt.Sprint(t.AsTime().Unix()) }
	line := fmt.Sprintf("%d %s(%s) from %q to %q: %s at %s", b.Epoch, b.WorkerId, b.Incarnation, b.FromWorker, b.ToWorker, b.Reason.Words(), at(b.At))
	if b.Until != nil {
		line += " until " + at(b.Until)
	}
	if b.LostAt != nil {
		line += fmt.Sprintf(", lost at %s: %s", at(b.LostAt), b.LostReason.Words())
	}
	if b.Restored > 0 {
		line += fmt.Sprintf(", back %d", b.Restored)
	}
	for _, r := range b.Rebuilds {
		line += fmt.Sprintf(", rebuilds %s for %s from %s", r.Step, r.ForStep, at(r.BeganAt))
		if r.EndedAt != nil {
			line += fmt.Sprintf(" to %s as #%d", at(r.EndedAt), r.Attempt)
		}
	}
	if h := b.HandOff; h != nil {
		line += fmt.Sprintf(", hands off at %s", at(h.At))
		for _, l := range h.Locals {
			line += fmt.Sprintf(" %s(%d)", l.Name, l.Bytes)
		}
		line += " " + h.Failure.GetCode()
	}
	return line
}

func TestBindingHistory(t *testing.T) {
	entries := [][]*messages.Event{
		{{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 1, Worker: worker("w1"), Reason: messages.Reason_REASON_FIRST}}}},
		{{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: 1, Reason: messages.Reason_REASON_WORKER_LOST}}}},
		{{Kind: &messages.Event_BindingRestored{BindingRestored: &messages.BindingRestored{Epoch: 1}}}},
		{
			{Kind: &messages.Event_StateHandedOff{StateHandedOff: &messages.StateHandedOff{Epoch: 1, States: []*messages.HandedState{{Local: "cache", Data: []byte("12345")}},
				Failure: &messages.Failure{Code: "USER_ERROR"}}}},
			{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: 1, Reason: messages.Reason_REASON_WORKER_DRAINING}}},
		},
		{{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 2, Worker: worker("w2"), Reason: messages.Reason_REASON_WORKER_DRAINING, FromWorker: "w1", FromIncarnation: "w1-i"}}}},
		{
			{Kind: &messages.Event_RebuildBegan{RebuildBegan: &messages.RebuildBegan{Step: "load", Epoch: 2, ForStep: "ask"}}},
			{Kind: &messages.Event_RebuildBegan{RebuildBegan: &messages.RebuildBegan{Step: "index", Epoch: 2, ForStep: "ask"}}},
		},
		{{Kind: &messages.Event_StepRebuilt{StepRebuilt: &messages.StepRebuilt{Step: "load", Attempt: 2}}}},
		{{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 3, Worker: worker("w3"), Reason: messages.Reason_REASON_WORKER_BUSY, FromWorker: "w2", FromIncarnation: "w2-i"}}}},
		{{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}}},
		{{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{}}}},
	}
	record := &journal.Record{}
	for i, events := range entries {
		data, err := messages.Marshal(&messages.Entry{AtUs: int64(i+1) * 1_000_000, Events: events})
		if err != nil {
			t.Fatal(err)
		}
		record.Entries = append(record.Entries, data)
	}
	var got []string
	for _, b := range bindings(record) {
		got = append(got, describe(b))
	}
	want := []string{
		`1 w1(w1-i) from "" to "w2": first at 1 until 4, lost at 4: worker draining, back 1, hands off at 4 cache(5) USER_ERROR`,
		`2 w2(w2-i) from "w1" to "w3": worker draining at 5 until 8, rebuilds load for ask from 6 to 7 as #2, rebuilds index for ask from 6`,
		`3 w3(w3-i) from "w2" to "": worker busy at 8 until 9`,
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("the bindings are\n%s\nwant\n%s", a, b)
	}
}
