package worker

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/slots"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

func history(numbered ...*messages.Event) []*messages.NumberedEntry {
	var entries []*messages.NumberedEntry
	for i, ev := range numbered {
		entries = append(entries, &messages.NumberedEntry{Number: uint64(i + 1), Entry: &messages.Entry{Events: []*messages.Event{ev}}})
	}
	return entries
}

func childHistory(output string) []*messages.NumberedEntry {
	return history(
		&messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{}}},
		&messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "child", Output: []byte(output)}}},
		&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}},
	)
}

// childEnded is the record of a wait for the child of that history.
var childEnded = &messages.RecordedCallsReply{Calls: []*messages.CallRecorded{{Step: "parent", Attempt: 1, Kind: messages.CallKind_CALL_KIND_CHILD,
	Name: "child", Key: "c#0", Child: &messages.ChildEnd{ChildRun: "c", Entry: 3, Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}}}

// spawning spawns a child, waits for it and returns the output of its step.
func spawning(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
	id, err := a.Calls.SpawnChild(ctx, &messages.SpawnChild{Workflow: "w", Key: "0", Sticky: true})
	if err != nil {
		return nil, err
	}
	call, err := a.Calls.AwaitCall(ctx, &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_CHILD, Name: "child", Key: id + "#0", TimeoutMs: 60_000,
		Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_CHILD, ChildRun: id}}})
	if err != nil {
		return nil, err
	}
	outputs, err := a.Calls.Outputs(ctx, call.Child)
	return outputs["child"], err
}

// With one slot, a parent that waits for its child on the same worker completes.
func TestWorkerFreesSlotForChild(t *testing.T) {
	s := startWorkerServer(t)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"parent": spawning,
		"child":  func(context.Context, *attempt.Attempt) ([]byte, error) { return []byte(`"from the child"`), nil },
	}})
	hard := func(d *messages.Dispatch) { d.Sticky, d.Epoch = messages.Sticky_STICKY_HARD, 1 }
	var output atomic.Pointer[[]byte]
	s.answers(func(_ actor.Context, m proto.Message) proto.Message {
		switch m := m.(type) {
		case *messages.SpawnChild:
			if m.RunId != "p" || m.Step != "parent" || m.Attempt != 1 || m.Epoch != 1 {
				return &messages.SpawnChildReply{Error: &messages.Failure{Code: "INTERNAL", Message: m.String()}}
			}
			w.dispatch("c", "child", hard)
			return &messages.SpawnChildReply{ChildRun: "c"}
		case *messages.AwaitCall:
			if output.Load() != nil {
				return childEnded
			}
			return &messages.RecordedCallsReply{}
		case *messages.WatchRun:
			return &messages.WatchRunReply{Entries: childHistory(string(*output.Load())), Ended: true}
		}
		return nil
	})
	w.dispatch("p", "parent", hard)
	r, _ := nextHeard[*messages.Result](s)
	if r.RunId != "c" {
		t.Fatalf("the child should have run first: %v", r)
	}
	w.ack(r)
	out := r.GetOutput()
	output.Store(&out)
	w.dispatch("p", "parent", hard, func(d *messages.Dispatch) { d.TakeUp = true })
	if r, _ = nextHeard[*messages.Result](s); r.RunId != "p" || string(r.GetOutput()) != `"from the child"` {
		t.Fatalf("parent: %v", r)
	}
}

// A cancel ends a wait for a child at once, though the only slot is taken.
func TestWorkerCancelsWait(t *testing.T) {
	s := startWorkerServer(t)
	watched, entered := make(chan struct{}, 10), make(chan string, 10)
	s.answers(func(_ actor.Context, m proto.Message) proto.Message {
		switch m.(type) {
		case *messages.SpawnChild:
			return &messages.SpawnChildReply{ChildRun: "c"}
		case *messages.AwaitCall:
			watched <- struct{}{}
			return &messages.RecordedCallsReply{}
		}
		return nil
	})
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"parent": spawning, "busy": untilCanceled(entered)}})
	w.dispatch("p", "parent")
	<-watched
	w.dispatch("b", "busy")
	<-entered
	sent := time.Now()
	w.send(&messages.CancelAttempt{RunId: "p", Step: "parent", Attempt: 1, Reason: messages.Reason_REASON_RUN_CANCELED, Text: "enough"})
	r, _ := nextHeard[*messages.Result](s)
	if r.RunId != "p" || !r.Canceled || r.GetFailure().GetCode() != "CANCELED" || time.Since(sent) >= slots.CancelGrace {
		t.Fatalf("after %v heard %v", time.Since(sent), r)
	}
}

func TestWorkerReturnsSpawnErrors(t *testing.T) {
	s := startWorkerServer(t)
	s.answers(func(_ actor.Context, m proto.Message) proto.Message {
		if _, ok := m.(*messages.SpawnChild); ok {
			return &messages.SpawnChildReply{Error: messages.ToFailure(messages.Errorf(messages.CodeChildNotOnWorker, "w1 has no such"))}
		}
		return nil
	})
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{"parent": spawning}})
	w.dispatch("p", "parent")
	if r, _ := nextHeard[*messages.Result](s); r.GetFailure().GetCode() != "CHILD_NOT_ON_WORKER" {
		t.Fatalf("parent: %v", r)
	}
}

// A wait for a child survives the loss of the server that it asked.
func TestWorkerAwaitSurvivesServer(t *testing.T) {
	s := startWorkerServer(t)
	watched := make(chan struct{}, 10)
	s.answers(func(_ actor.Context, m proto.Message) proto.Message {
		switch m.(type) {
		case *messages.SpawnChild:
			return &messages.SpawnChildReply{ChildRun: "c"}
		case *messages.AwaitCall:
			watched <- struct{}{}
		}
		return nil
	})
	registered := make(chan struct{}, 10)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{"parent": spawning},
		hooks: &Hooks{Admitted: func() { registered <- struct{}{} }}})
	<-registered
	w.dispatch("p", "parent")
	<-watched
	s.node.Kill()
	second := &workerServer{t: t, heard: s.heard, loads: s.loads, register: admit, acked: s.acked}
	second.answers(func(_ actor.Context, m proto.Message) proto.Message {
		switch m := m.(type) {
		case *messages.AwaitCall:
			return childEnded
		case *messages.WatchRun:
			if m.RunId == "c" {
				return &messages.WatchRunReply{Entries: childHistory("7"), Ended: true}
			}
		}
		return nil
	})
	second.start(cluster.Config{Join: []string{w.node.Self().GossipAddress}})
	if r, by := nextHeard[*messages.Result](second); string(r.GetOutput()) != "7" || by != "p" {
		t.Fatalf("%s heard %v", by, r)
	}
	<-registered
}
