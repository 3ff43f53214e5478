package actorstest

import (
	"context"
	"fmt"
	"math"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Within waits until a condition holds, and returns how long that took.
func (w *World) Within(limit time.Duration, what string, holds func() bool) time.Duration {
	w.T.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > limit {
			w.T.Errorf("%s: not within %v", what, limit)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(begin)
}

// Bulk starts runs at once, and wants all of them durable.
func (w *World) Bulk(s *Server, def *messages.WorkflowDefinition, n int) []string {
	w.T.Helper()
	ids, runs := make([]string, n), make([]*messages.StartRun, n)
	for i := range n {
		ids[i] = fmt.Sprintf("r%d", i)
		runs[i] = StartOf(ids[i], def)
	}
	replies, err := s.Host.Engine().StartRuns(w.T.Context(), runs)
	if err != nil {
		w.T.Fatal(err)
	}
	for i, r := range replies {
		if r.Error != nil || r.Existed {
			w.T.Errorf("start of %s: %v", ids[i], r)
		}
	}
	return ids
}

// RecordedOnce wants one result in each history.
func (w *World) RecordedOnce(ids []string) {
	w.T.Helper()
	for _, id := range ids {
		record, err := w.Store.Store.Load(w.T.Context(), id)
		if err != nil {
			w.T.Fatal(err)
		}
		results, ends := 0, 0
		for _, data := range record.Entries {
			entry := new(messages.Entry)
			if err := messages.Unmarshal(data, entry); err != nil {
				w.T.Fatal(err)
			}
			for _, ev := range entry.Events {
				switch ev.Kind.(type) {
				case *messages.Event_StepSucceeded:
					results++
				case *messages.Event_RunEnded:
					ends++
				}
			}
		}
		if results != 1 || ends != 1 {
			w.T.Errorf("run %s has %d results and %d ends: %s", id, results, ends, w.History(id))
		}
	}
}

// Events counts the events of a run's history by what is said of each.
func (w *World) Events(id string) map[string]int {
	w.T.Helper()
	record, err := w.Store.Store.Load(w.T.Context(), id)
	if err != nil {
		w.T.Fatal(err)
	}
	n := map[string]int{}
	for _, data := range record.Entries {
		entry := new(messages.Entry)
		if err := messages.Unmarshal(data, entry); err != nil {
			w.T.Fatal(err)
		}
		for _, ev := range entry.Events {
			n[fmt.Sprintf("%T", ev.Kind)]++
		}
	}
	return n
}

// NotRepeated wants runs that were dispatched once, and lost nothing.
func (w *World) NotRepeated(ids []string) {
	w.T.Helper()
	w.RecordedOnce(ids)
	for _, id := range ids {
		n := w.Events(id)
		if n["*messages.Event_StepDispatched"] != 1 || n["*messages.Event_AttemptLost"] != 0 || n["*messages.Event_BindingLost"] != 0 {
			w.T.Errorf("run %s: %v: %s", id, n, w.History(id))
		}
	}
}

// Workflow defines a workflow of one step.
func (w *World) Workflow(name string, sticky messages.Sticky, f attempt.Function) *messages.WorkflowDefinition {
	w.Functions[name] = map[string]attempt.Function{"work": f}
	return &messages.WorkflowDefinition{Name: name, Sticky: sticky,
		Steps: []*messages.StepDefinition{{Name: "work", ScheduleTimeoutMs: messages.TimeoutNeverMs, Retries: 3, BackoffMs: 10_000}}}
}

// Record makes a definition known without a worker.
func (w *World) Record(def *messages.WorkflowDefinition) {
	w.T.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		w.T.Fatal(err)
	}
	err = w.Store.PutDefinition(w.T.Context(), journal.Definition{Hash: messages.HashDefinition(def), Name: def.Name, Data: data, RegisteredAt: time.Now()})
	if err != nil {
		w.T.Fatal(err)
	}
}

// StartOf is the start of a run of a definition.
func StartOf(id string, def *messages.WorkflowDefinition) *messages.StartRun {
	return &messages.StartRun{RunId: id, Start: &messages.RunStarted{Workflow: def.Name, DefinitionHash: messages.HashDefinition(def),
		Input: []byte("null"), Sticky: def.Sticky, Pool: "default", Trigger: "test"}}
}

// Start starts a run, which is durable when this returns.
func (w *World) Start(s *Server, id string, def *messages.WorkflowDefinition) {
	w.T.Helper()
	replies, err := s.Host.Engine().StartRuns(w.T.Context(), []*messages.StartRun{StartOf(id, def)})
	if err == nil {
		err = messages.FromFailure(replies[0].Error)
	}
	if err != nil {
		w.T.Fatalf("start %s: %v", id, err)
	}
}

// Ends waits for the end of a run and checks its status.
func (w *World) Ends(s *Server, id string, within time.Duration, want messages.RunStatus) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), within)
	defer cancel()
	var reply *messages.WatchRunReply
	for begin := time.Now(); ; {
		var err error
		reply, err = s.Host.Engine().WatchRun(ctx, &messages.WatchRun{RunId: id, After: math.MaxInt64, WaitMs: (within - time.Since(begin)).Milliseconds(),
			UntilEnded: true, WithoutEntries: true})
		if err != nil {
			w.T.Fatalf("run %s: %v", id, err)
		}
		// Who watches a run that moves is sent away, to ask again.
		if reply.Ended || time.Since(begin) >= within {
			break
		}
	}
	if !reply.Ended || reply.Status != want {
		w.T.Fatalf("run %s is %v after %v, want %v: %s", id, reply.Status, within, want, w.History(id))
	}
}

// History is for messages of failed tests.
func (w *World) History(id string) string {
	record, err := w.Store.Store.Load(context.Background(), id)
	if err != nil {
		return err.Error()
	}
	out := ""
	for _, e := range record.Entries {
		entry := new(messages.Entry)
		_ = proto.Unmarshal(e, entry)
		text, _ := protojson.Marshal(entry)
		out += "\n" + string(text)
	}
	return out
}

// Dormant waits until the run is out of memory and its row says so.
func (w *World) Dormant(s *Server, id string) journal.Row {
	w.T.Helper()
	for range 2000 {
		synctest.Wait()
		record, err := w.Store.Store.Load(w.T.Context(), id)
		if err != nil {
			w.T.Fatal(err)
		}
		if record.Row.Dormant && s.Host.ActiveRuns() == 0 {
			return record.Row
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.T.Fatalf("run %s does not become dormant: %s", id, w.History(id))
	return journal.Row{}
}

// ForChild is a call that waits for the end of a child.
func ForChild(id string) *messages.AwaitCall {
	return &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_CHILD, Name: "child", Key: id + "#0", TimeoutMs: messages.WaitMsMax,
		Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_CHILD, ChildRun: id}}}
}
