package tracing

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Attributes of spans.
const (
	keyRun         = attribute.Key("limpet.run.id")
	keyWorkflow    = attribute.Key("limpet.workflow")
	keyStep        = attribute.Key("limpet.step")
	keyAttempt     = attribute.Key("limpet.attempt")
	keyWorker      = attribute.Key("limpet.worker.id")
	keyIncarnation = attribute.Key("limpet.worker.incarnation")
	keyEpoch       = attribute.Key("limpet.epoch")
	keyBinding     = attribute.Key("limpet.binding.reason")
	keyOutcome     = attribute.Key("limpet.outcome")
	keyReason      = attribute.Key("limpet.reason")
	keyCode        = attribute.Key("limpet.code")
)

// Runs makes the spans of runs, from their entries.
type Runs struct {
	Tracer trace.Tracer
	// ToWall is that of the clock.
	ToWall func() func(engine time.Time) time.Time
}

// Committed makes the spans that end with an entry. The state is as it is with it.
func (r *Runs) Committed(state *run.State, entry *messages.Entry) {
	traceparent := state.Start.GetTraceparent()
	if traceparent == "" {
		return
	}
	started := Remote(context.Background(), traceparent)
	if !trace.SpanContextFromContext(started).IsSampled() {
		return
	}
	e := &ofEntry{Runs: r, s: state, traceparent: traceparent, started: started, at: time.UnixMicro(entry.AtUs), wall: r.ToWall()}
	e.life = life(state)
	for _, ev := range entry.Events {
		if ev.GetRunReplayed() != nil {
			e.life-- // the first events are of the one before
		}
	}
	for _, ev := range entry.Events {
		e.event(ev)
	}
}

// life counts the replays of a run: each has a span of the run of its own, which is
// linked to the one before.
func life(s *run.State) int { return s.Generation - s.Continued }

// ofEntry makes the spans of one entry.
type ofEntry struct {
	*Runs
	s           *run.State
	traceparent string
	// started is with the span that started the run.
	started context.Context
	at      time.Time
	wall    func(time.Time) time.Time
	// life that the next event is of.
	life int
	// ended are steps whose attempt has ended in this entry.
	ended map[string]bool
}

func (e *ofEntry) event(ev *messages.Event) {
	switch k := ev.Kind.(type) {
	case *messages.Event_StepDispatched:
		e.placement(k.StepDispatched)
	case *messages.Event_RunEnded:
		e.run(k.RunEnded)
	case *messages.Event_RunReplayed:
		e.life++
	default:
		if step, o := outcomeOf(ev); o.outcome != "" {
			e.attempt(step, o)
		}
	}
}

// outcome is how an attempt ended, or a run.
type outcome struct {
	outcome string
	reason  messages.Reason
	failure *messages.Failure
	// startedUs is 0 if the event does not say.
	startedUs int64
}

// outcomeOf is what an event says of the attempt of a step that was live until then;
// empty for other events.
func outcomeOf(ev *messages.Event) (step string, _ outcome) {
	switch k := ev.Kind.(type) {
	case *messages.Event_StepSucceeded:
		return k.StepSucceeded.Step, outcome{outcome: "succeeded", startedUs: k.StepSucceeded.StartedUs}
	case *messages.Event_StepRebuilt:
		return k.StepRebuilt.Step, outcome{outcome: "rebuilt", startedUs: k.StepRebuilt.StartedUs}
	case *messages.Event_AttemptFailed:
		return k.AttemptFailed.Step, outcome{outcome: "failed", failure: k.AttemptFailed.Failure, startedUs: k.AttemptFailed.StartedUs}
	case *messages.Event_AttemptLost:
		return k.AttemptLost.Step, outcome{outcome: "lost", reason: k.AttemptLost.Reason}
	case *messages.Event_AttemptRevoked:
		return k.AttemptRevoked.Step, outcome{outcome: "revoked", reason: k.AttemptRevoked.Reason}
	case *messages.Event_AttemptSuspended:
		return k.AttemptSuspended.Step, outcome{outcome: "suspended", reason: k.AttemptSuspended.Reason}
	case *messages.Event_StepFailed:
		return k.StepFailed.Step, outcome{outcome: "failed", failure: k.StepFailed.Failure}
	case *messages.Event_StepCanceled:
		return k.StepCanceled.Step, outcome{outcome: "canceled", reason: k.StepCanceled.Reason}
	}
	return "", outcome{}
}

// placement is of the way of an attempt to its worker: since it was ready.
func (e *ofEntry) placement(d *messages.StepDispatched) {
	st := e.s.Step(d.Step)
	if st.Attempt != d.Attempt {
		return
	}
	attributes := append(e.ofAttempt(d.Step, d.Attempt, d.Worker, d.Epoch), keyWorkflow.String(e.s.Def.Name))
	if d.Epoch > 0 && e.s.Binding.Epoch == d.Epoch {
		attributes = append(attributes, keyBinding.String(word(e.s.Binding.Reason.String(), "REASON_")))
	}
	span := e.begin("placement of "+d.Step, messages.PlacementSpan(e.traceparent, e.s.RunID, d.Step, d.Attempt), st.ReadyAt,
		trace.WithAttributes(attributes...))
	e.end(span, e.at, outcome{})
}

// attempt is of one that this entry ended.
func (e *ofEntry) attempt(step string, o outcome) {
	a := e.s.Step(step).WasLive
	if a == nil || a.Entry != e.s.Number || e.ended[step] {
		return // it was over before
	}
	if e.ended == nil {
		e.ended = map[string]bool{}
	}
	e.ended[step] = true
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(append(e.ofAttempt(step, a.Number, a.Worker, a.Epoch), keyWorkflow.String(e.s.Def.Name))...),
	}
	if a.Number > 1 {
		before := messages.AttemptSpan(e.traceparent, e.s.RunID, step, a.Number-1)
		options = append(options, linkTo(before))
	}
	span := e.begin("attempt of "+step, messages.AttemptSpan(e.traceparent, e.s.RunID, step, a.Number), a.DispatchedAt, options...)
	if startedAt := a.StartedAt; !startedAt.IsZero() || o.startedUs != 0 {
		if startedAt.IsZero() {
			startedAt = time.UnixMicro(o.startedUs)
		}
		span.AddEvent("started", trace.WithTimestamp(e.time(startedAt)))
	}
	e.end(span, e.at, o)
}

// run is of the run, since its start or its replay.
func (e *ofEntry) run(ended *messages.RunEnded) {
	from := e.s.CreatedAt
	if e.life > 0 {
		from = e.s.ReplayedAt
	}
	options := []trace.SpanStartOption{trace.WithAttributes(keyRun.String(e.s.RunID), keyWorkflow.String(e.s.Def.Name))}
	if e.life > 0 {
		options = append(options, linkTo(messages.RunSpan(e.traceparent, e.s.RunID, e.life-1)))
	}
	span := e.beginIn(e.started, "run "+e.s.Def.Name, e.ofRun(), from, options...)
	e.end(span, e.at, outcome{outcome: word(ended.Status.String(), "RUN_STATUS_"), failure: ended.Failure})
}

func (e *ofEntry) ofRun() string { return messages.RunSpan(e.traceparent, e.s.RunID, e.life) }

// word is the name of a value of an enum: REASON_WORKER_LOST is worker_lost.
func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

func (e *ofEntry) ofAttempt(step string, number int32, w *messages.WorkerRef, epoch uint64) []attribute.KeyValue {
	all := []attribute.KeyValue{
		keyRun.String(e.s.RunID), keyStep.String(step), keyAttempt.Int(int(number)),
		keyWorker.String(w.GetWorkerId()), keyIncarnation.String(w.GetIncarnation()),
	}
	if epoch > 0 {
		all = append(all, keyEpoch.Int64(int64(epoch)))
	}
	return all
}

// begin makes a span below that of the run.
func (e *ofEntry) begin(name, id string, from time.Time, options ...trace.SpanStartOption) trace.Span {
	return e.beginIn(Remote(context.Background(), e.ofRun()), name, id, from, options...)
}

func (e *ofEntry) beginIn(parent context.Context, name, id string, from time.Time, options ...trace.SpanStartOption) trace.Span {
	_, span := e.Tracer.Start(withID(parent, id), name, append(options, trace.WithTimestamp(e.time(from)))...)
	return span
}

func (e *ofEntry) end(span trace.Span, at time.Time, o outcome) {
	if o.outcome != "" {
		span.SetAttributes(keyOutcome.String(o.outcome))
	}
	if o.reason != 0 {
		span.SetAttributes(keyReason.String(word(o.reason.String(), "REASON_")))
	}
	if o.failure != nil || o.outcome == "lost" {
		Fail(span, o.failure.GetCode())
	}
	span.End(trace.WithTimestamp(e.time(at)))
}

// time of the wall clock.
func (e *ofEntry) time(t time.Time) time.Time {
	if e.wall == nil {
		return t
	}
	return e.wall(t)
}

// Fail marks a span as failed; the code says why, for the message may hold anything.
func Fail(span trace.Span, code string) {
	if code != "" {
		span.SetAttributes(keyCode.String(code))
	}
	span.SetStatus(codes.Error, code)
}

func linkTo(traceparent string) trace.SpanStartOption {
	return trace.WithLinks(trace.Link{SpanContext: trace.SpanContextFromContext(Remote(context.Background(), traceparent))})
}
