package server_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// Messages come every millisecond, before, during and after each change-over, each of which
// succeeds at once: a link is one attempt, and no message is passed over.
func TestARunGoesOnAsNewUnderSteadyTraffic(t *testing.T) {
	const count, perLink, commitTakes = 1000, 40, 5 * time.Millisecond
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("chat", soft, nil)
		def.Steps[0].Retries = 0
		var got []string
		w.Functions["chat"]["work"] = func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			for i := 0; i < perLink && len(got) < count; i++ {
				recorded, err := a.Calls.AwaitCall(ctx, &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "say", Key: fmt.Sprintf("#%d", i), TimeoutMs: messages.WaitMsMax,
					Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_RECEIVE, Signal: "say"}}})
				if err != nil {
					return nil, err
				}
				got = append(got, string(recorded.GetOutput()))
			}
			if len(got) == count {
				return []byte("1"), nil
			}
			return []byte("1"), a.Calls.RecordCall(ctx, &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_CONTINUE, Name: "continue", Key: "next",
				Outcome: &messages.CallRecorded_Output{Output: []byte("null")}})
		}
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Start(s, "r1", def)
		w.Store.Before(func(method, _ string) error {
			if method == "Append" {
				time.Sleep(commitTakes)
			}
			return nil
		})
		for i := range count {
			go func() {
				text := strconv.Itoa(i)
				if err := s.Host.Engine().SignalRun(context.Background(), &messages.SignalRun{RunId: "r1", Name: "say", MessageId: text, Payload: []byte(text)}); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
			}()
			time.Sleep(time.Millisecond)
		}
		w.Ends(s, "r1", time.Minute, succeeded)
		for i, text := range got {
			if text != strconv.Itoa(i) {
				t.Fatalf("message %d is %s", i, text)
			}
		}
		record, err := w.Store.Store.Load(w.T.Context(), "r1")
		if err != nil {
			t.Fatal(err)
		}
		var attempt int32
		var link int64
		for _, data := range record.Entries {
			entry := new(messages.Entry)
			if err := proto.Unmarshal(data, entry); err != nil {
				t.Fatal(err)
			}
			for _, ev := range entry.Events {
				attempt = max(attempt, ev.GetStepDispatched().GetAttempt())
				link = max(link, ev.GetRunContinued().GetCarried().GetLink()+1)
			}
		}
		if links := int64(count / perLink); link != links || int64(attempt) != link {
			t.Errorf("%d links of %d attempts, want %d of one each", link, attempt, links)
		}
	})
}

// A step that calls nothing, and tells nothing, hears within a second that its run was
// canceled.
func TestACancelReachesAStepThatCallsNothing(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		heard := make(chan time.Time, 1)
		def := w.Workflow("build", soft, func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
			<-ctx.Done()
			heard <- time.Now()
			return nil, ctx.Err()
		})
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Start(s, "r1", def)
		time.Sleep(10 * time.Second)
		canceled := time.Now()
		if err := s.Host.Engine().CancelRun(w.T.Context(), &messages.CancelRun{RunId: "r1"}); err != nil {
			t.Fatal(err)
		}
		if took := (<-heard).Sub(canceled); took > time.Second {
			t.Errorf("the step heard after %v", took)
		}
		w.Ends(s, "r1", time.Second, messages.RunStatus_RUN_STATUS_CANCELED)
	})
}
