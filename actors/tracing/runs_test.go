package tracing

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

const started = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

var (
	epoch = time.Unix(1e9, 0)
	w1    = &messages.WorkerRef{WorkerId: "w1", Incarnation: "a"}
	w2    = &messages.WorkerRef{WorkerId: "w2", Incarnation: "b"}
	build = &messages.WorkflowDefinition{Name: "build", Sticky: messages.Sticky_STICKY_SOFT, Steps: []*messages.StepDefinition{{Name: "index"}}}
)

func entry(second int, events ...*messages.Event) *messages.Entry {
	return &messages.Entry{AtUs: epoch.Add(time.Duration(second) * time.Second).UnixMicro(), Events: events}
}

func sent(attempt int32, w *messages.WorkerRef) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: "index", Attempt: attempt, Epoch: uint64(attempt), Worker: w}}}
}

func bound(epoch uint64, w *messages.WorkerRef, why messages.Reason) *messages.Event {
	return &messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: epoch, Worker: w, Reason: why}}}
}

func succeeded(attempt int32) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "index", Attempt: attempt}}}
}

func ended() *messages.Event {
	return &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}}
}

// history is of a run that moves, is canceled in a back-off, and is replayed.
func history(traceparent string) []*messages.Entry {
	return []*messages.Entry{
		entry(0, &messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{Workflow: "build", Traceparent: traceparent}}}),
		entry(1, bound(1, w1, messages.Reason_REASON_FIRST), sent(1, w1)),
		entry(2, &messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: "index", Attempt: 1, StartedUs: epoch.Add(time.Second).UnixMicro()}}}),
		entry(5, &messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{Step: "index", Attempt: 1, Reason: messages.Reason_REASON_WORKER_LOST, Started: true}}},
			bound(2, w2, messages.Reason_REASON_WORKER_LOST), sent(2, w2)),
		entry(6, &messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: "index", Attempt: 2, Failure: &messages.Failure{Code: "USER_ERROR", Message: "secret"},
			RetryAtUs: epoch.Add(9 * time.Second).UnixMicro()}}}),
		entry(7, &messages.Event{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{Step: "index", Reason: messages.Reason_REASON_RUN_CANCELED, Text: "secret"}}},
			&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_CANCELED}}}),
		entry(10, &messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{}}}),
		entry(11, bound(3, w2, messages.Reason_REASON_REPLAYED), sent(3, w2)),
		entry(13, succeeded(3), ended()),
	}
}

// spansOf has each entry committed by a server of its own, which has read those before:
// so it is when servers come and go.
func spansOf(t *testing.T, entries []*messages.Entry) tracetest.SpanStubs {
	t.Helper()
	made := tracetest.NewInMemoryExporter()
	for i := range entries {
		s := run.NewState("r1", build)
		for _, e := range entries[:i+1] {
			s.ApplyEntry(e)
		}
		p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(made), sdktrace.WithIDGenerator(ids{}))
		wall := func(at time.Time) time.Time { return at.Add(time.Hour) }
		r := &Runs{Tracer: p.Tracer(Scope), ToWall: func() func(time.Time) time.Time { return wall }}
		r.Committed(s, entries[i])
	}
	return made.GetSpans()
}

// line is a span in words: its name, from when to when, how it ended, what it is below
// and what it follows.
func line(all tracetest.SpanStubs, s tracetest.SpanStub) string {
	name := func(id string) string {
		for _, other := range all {
			if other.SpanContext.SpanID().String() == id {
				return other.Name + "+" + other.StartTime.Sub(epoch.Add(time.Hour)).String()
			}
		}
		return "the call"
	}
	words := []string{s.Name, s.StartTime.Sub(epoch.Add(time.Hour)).String(), s.EndTime.Sub(epoch.Add(time.Hour)).String(), s.Status.Description}
	for _, a := range s.Attributes {
		if a.Key == keyWorker || a.Key == keyOutcome || a.Key == keyReason || a.Key == keyBinding {
			words = append(words, a.Value.AsString())
		}
	}
	words = append(words, "<", name(s.Parent.SpanID().String()))
	for _, l := range s.Links {
		words = append(words, "after", name(l.SpanContext.SpanID().String()))
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

func TestSpansOfARun(t *testing.T) {
	all := spansOf(t, history(started))
	var lines []string
	for _, s := range all {
		lines = append(lines, line(all, s))
		if s.SpanContext.TraceID().String() != messages.TraceID(started) {
			t.Errorf("%s is of another trace", s.Name)
		}
	}
	want := `placement of index 0s 1s w1 first < run build+0s
attempt of index 1s 5s w1 lost worker_lost < run build+0s
placement of index 5s 5s w2 worker_lost < run build+0s
attempt of index 5s 6s USER_ERROR w2 failed < run build+0s after attempt of index+1s
run build 0s 7s canceled < the call
placement of index 10s 11s w2 replayed < run build+10s
attempt of index 11s 13s w2 succeeded < run build+10s after attempt of index+5s
run build 10s 13s succeeded < the call after run build+0s`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("the spans are\n%s\nwant\n%s", got, want)
	}
	if len(all) > 1 && len(all[1].Events) != 1 {
		t.Errorf("the attempt that had started says %d times when", len(all[1].Events))
	}
}

// A run that its caller does not sample, or that is not traced, has no spans.
func TestNoSpans(t *testing.T) {
	for _, traceparent := range []string{"", strings.TrimSuffix(started, "1") + "0"} {
		if all := spansOf(t, history(traceparent)); len(all) > 0 {
			t.Errorf("%q: %d spans", traceparent, len(all))
		}
	}
}

func TestHeader(t *testing.T) {
	if got := Traceparent(Remote(context.Background(), started)); got != started {
		t.Errorf("%q has become %q", started, got)
	}
	for _, bad := range []string{"", "x", "00-0-0-0"} {
		if got := Traceparent(Remote(context.Background(), bad)); got != "" {
			t.Errorf("%q has become %q", bad, got)
		}
	}
}
