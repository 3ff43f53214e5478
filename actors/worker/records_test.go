package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// A step that makes its calls in the order of before asks once for each page; what
// is out of order is asked for by itself, and what is new is not asked for once all
// records were taken.
func TestWorkerReadsRecordsInPages(t *testing.T) {
	s := startWorkerServer(t)
	var mu sync.Mutex
	var asked []string
	s.answers(func(_ actor.Context, m proto.Message) proto.Message {
		find, ok := m.(*messages.RecordedCalls)
		if !ok {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, find.Key)
		reply := &messages.RecordedCallsReply{}
		var from int
		if _, err := fmt.Sscanf(find.Key, "#%d", &from); err != nil || from >= 6 {
			return reply
		}
		for i := from; i < min(from+3, 6); i++ {
			reply.Calls = append(reply.Calls, &messages.CallRecorded{Step: "s", Attempt: 1, Kind: messages.CallKind_CALL_KIND_DO, Name: "c", Key: fmt.Sprintf("#%d", i)})
		}
		return reply
	})
	took := make(chan []string, 1)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"s": func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			var keys []string
			for _, key := range []string{"#0", "#1", "#2", "#3", "new", "#5", "#4", "#6", "#7"} {
				call, err := a.Calls.RecordedCall(ctx, "c", key)
				if err != nil {
					return nil, err
				}
				keys = append(keys, call.GetKey())
			}
			took <- keys
			return nil, nil
		},
	}})
	w.dispatch("r", "s", func(d *messages.Dispatch) { d.Attempt, d.RecordedCalls = 2, 6 })
	if got, want := <-took, []string{"#0", "#1", "#2", "#3", "", "#5", "#4", "", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []string{"#0", "#3", "new"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

// More calls than there may be are refused before their functions are called.
func TestWorkerBoundsCalls(t *testing.T) {
	s := startWorkerServer(t)
	s.answers(func(_ actor.Context, m proto.Message) proto.Message {
		if _, ok := m.(*messages.RecordedCalls); ok {
			return &messages.RecordedCallsReply{}
		}
		return nil
	})
	errs := make(chan error, 2)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"s": func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			for i := range 2 {
				_, err := a.Calls.RecordedCall(ctx, "c", fmt.Sprint(i))
				errs <- err
			}
			return nil, nil
		},
	}})
	w.dispatch("r", "s", func(d *messages.Dispatch) { d.RecordedCalls = messages.CallsMax - 1 })
	if err := <-errs; err != nil {
		t.Error(err)
	}
	if err := <-errs; messages.CodeOf(err) != messages.CodeLimitExceeded || !strings.Contains(err.Error(), "CallsMax = 10000") {
		t.Error(err)
	}
}

// An attempt that its run does not want any more learns it by its next call.
func TestWorkerEndsAnAttemptThatMayMakeNoCalls(t *testing.T) {
	s := startWorkerServer(t)
	s.answers(func(_ actor.Context, m proto.Message) proto.Message {
		if _, ok := m.(*messages.RecordCall); ok {
			return &messages.RecordCallReply{Error: &messages.Failure{Code: string(messages.CodeStaleAttempt)}}
		}
		return nil
	})
	causes := make(chan error, 2)
	w := mustStartTestWorker(t, s, workerTestConfig{slots: 1, functions: map[string]attempt.Function{
		"s": func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			causes <- a.Calls.RecordCall(ctx, &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_DO, Name: "c", Key: "#0"})
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return nil, ctx.Err()
		},
	}})
	w.dispatch("r", "s", func(*messages.Dispatch) {})
	for range 2 {
		if err := <-causes; messages.CodeOf(err) != messages.CodeStaleAttempt {
			t.Error(err)
		}
	}
}
