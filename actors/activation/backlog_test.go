package activation

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// blocked is a run with an append in flight that does not end.
func blocked(t *testing.T, facts *script, runID string) *Activation {
	t.Helper()
	def := &messages.WorkflowDefinition{Name: "wf"}
	for i := range 60 {
		def.Steps = append(def.Steps, &messages.StepDefinition{Name: fmt.Sprint("s", i)})
	}
	a := &Activation{RunID: runID, facts: facts, cfg: &run.Config{}, fresh: def}
	a.Begin(epoch)
	a.Receive(run.Start{Started: &messages.RunStarted{Workflow: "wf", Input: []byte("1")}}, nil, epoch)
	a.Receive(run.TimerDue{}, nil, epoch.Add(time.Second))
	if !a.m.Appending() {
		t.Fatal("the append is not in flight")
	}
	return a
}

var megabyte = bytes.Repeat([]byte{'1'}, messages.PayloadBytesMax)

func bigResult(runID string, step int) *messages.Result {
	return &messages.Result{RunId: runID, Step: fmt.Sprint("s", step), Attempt: 1, WorkerId: "w1", Incarnation: "i1",
		Outcome: &messages.Result_Output{Output: megabyte}}
}

func isUnavailable(actions []Action) bool {
	for _, action := range actions {
		if r, ok := action.(Respond); ok {
			reply, ok := r.Message.(*messages.CommandReply)
			return ok && reply.Error.GetCode() == string(messages.CodeJournalUnavailable)
		}
	}
	return false
}

// While the journal is out of reach for ten minutes, workers repeat their results:
// one copy of each waits, and no more than the bound of the run.
func TestRepeatedResultsWaitOnce(t *testing.T) {
	facts := &script{}
	facts.owned = [scriptShards]bool{true, true, true, true}
	a := blocked(t, facts, "r0")
	result := bigResult("r0", 0)
	for range 10 * 60 {
		a.Receive(result, nil, epoch.Add(time.Second))
		a.Receive(&messages.Started{RunId: "r0", Step: "s0", Attempt: 1}, nil, epoch.Add(time.Second))
	}
	once := run.BytesOf(result) + run.BytesOf(&messages.Started{RunId: "r0", Step: "s0", Attempt: 1})
	if a.waiting() != once || facts.waits != once {
		t.Errorf("%d bytes wait, %d are counted, a copy of each message has %d", a.waiting(), facts.waits, once)
	}
	for i := range 60 {
		a.Receive(bigResult("r0", i), nil, epoch.Add(time.Second))
		if err := a.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.waiting(); n > messages.RunQueueBytesMax || n < messages.RunQueueBytesMax-2*messages.PayloadBytesMax {
		t.Errorf("of 60 results of 1 MiB %d bytes wait, the most is %d", n, messages.RunQueueBytesMax)
	}
	cancels := 0
	for range 100_000 {
		if isUnavailable(a.Receive(&messages.CancelRun{RunId: "r0"}, "client", epoch.Add(time.Second))) {
			break
		}
		cancels++
	}
	if cancels == 100_000 || a.Check() != nil {
		t.Errorf("cancels are not bounded: %v", a.Check())
	}
	a.Receive(run.Appended{}, nil, epoch.Add(2*time.Second))
	if a.waiting() != 0 && !a.m.Appending() || facts.waits != a.waiting() {
		t.Errorf("after the outage %d bytes wait, %d are counted", a.waiting(), facts.waits)
	}
}

// What waits in all runs of a server together is bounded, and comes back.
func TestWhatWaitsOnAServerIsBounded(t *testing.T) {
	facts := &script{}
	facts.owned = [scriptShards]bool{true, true, true, true}
	var all []*Activation
	for i := range 12 {
		id := fmt.Sprint("r", i)
		a := blocked(t, facts, id)
		all = append(all, a)
		for step := range 31 {
			a.Receive(bigResult(id, step), nil, epoch.Add(time.Second))
		}
	}
	if n := facts.waits; n > messages.ServerQueueBytesMax || n < messages.ServerQueueBytesMax-2*messages.PayloadBytesMax {
		t.Errorf("%d bytes wait, the most is %d", n, messages.ServerQueueBytesMax)
	}
	if last := all[len(all)-1]; !isUnavailable(last.Receive(&messages.CancelRun{RunId: "r11", Reason: string(make([]byte, messages.PayloadBytesMax))}, "client", epoch)) {
		t.Error("a cancel for which there is no room is not refused")
	}
	for i, a := range all {
		if i%2 == 0 {
			a.Abandoned()
			continue
		}
		a.Receive(run.Appended{Err: messages.Errorf(messages.CodeJournalConflict, "another one went on")}, nil, epoch)
	}
	if facts.waits != 0 {
		t.Errorf("%d bytes are counted and nothing waits", facts.waits)
	}
}
