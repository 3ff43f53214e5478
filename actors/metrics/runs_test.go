package metrics_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/limpetrun/limpet/actors/metrics"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// scrape returns the samples of Limpet's own as a scrape shows them, without
// buckets, in order; those that are 0 are left out.
func scrape(t *testing.T, from prometheus.Gatherer) []string {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "limpet_") {
			if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	var lines []string
	for line := range strings.Lines(text.String()) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") && !strings.HasSuffix(line, " 0") {
			lines = append(lines, line)
		}
	}
	return lines
}

// same compares a scrape with a text, a sample a line.
func same(t *testing.T, from prometheus.Gatherer, want string) {
	t.Helper()
	if got := strings.Join(scrape(t, from), "\n"); got != strings.TrimSpace(want) {
		t.Errorf("scraped\n%s\n\nwant\n%s", got, strings.TrimSpace(want))
	}
}

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// history is a run whose entries are counted as a server does.
type history struct {
	s  *metrics.Server
	st *run.State
}

func newHistory(s *metrics.Server, def *messages.WorkflowDefinition) *history {
	return &history{s, run.NewState("r", def)}
}

// entry is the events of one entry, some seconds after the epoch.
func (h *history) entry(seconds float64, events ...*messages.Event) {
	e := &messages.Entry{AtUs: us(seconds), Events: events}
	h.st.ApplyEntry(e)
	h.s.Committed(h.st, e)
}

func us(seconds float64) int64 {
	return epoch.Add(time.Duration(seconds * float64(time.Second))).UnixMicro()
}

func ref(id string) *messages.WorkerRef {
	return &messages.WorkerRef{WorkerId: id, Incarnation: id + "-1"}
}

func chain(name string, sticky messages.Sticky) *messages.WorkflowDefinition {
	return &messages.WorkflowDefinition{Name: name, Sticky: sticky, Steps: []*messages.StepDefinition{
		{Name: "a", Retries: 1}, {Name: "b", Parents: []string{"a"}}, {Name: "c", Parents: []string{"b"}}}}
}

func startedRun() *messages.Event {
	return &messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{}}}
}

func bound(epoch uint64, worker string, reason messages.Reason) *messages.Event {
	return &messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: epoch, Worker: ref(worker), Reason: reason}}}
}

func sent(step string, attempt int32, epoch uint64, worker string) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: step, Attempt: attempt, Epoch: epoch, Worker: ref(worker)}}}
}

func startedStep(step string, attempt int32, at float64) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: step, Attempt: attempt, StartedUs: us(at)}}}
}

func succeeded(step string, attempt int32, started float64) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: step, Attempt: attempt, StartedUs: us(started)}}}
}

func ended(status messages.RunStatus) *messages.Event {
	return &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: status}}}
}

// A SOFT run fails once, loses its worker in its second step and is moved.
func TestARunThatMoves(t *testing.T) {
	s := metrics.NewServer()
	h := newHistory(s, chain("build", messages.Sticky_STICKY_SOFT))
	h.entry(0, startedRun())
	h.entry(2, bound(1, "w1", messages.Reason_REASON_FIRST), sent("a", 1, 1, "w1"))
	// It started a second after it was sent, which is told only with its failure.
	h.entry(4, &messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{
		Step: "a", Attempt: 1, StartedUs: us(3), RetryAtUs: us(5), Failure: &messages.Failure{Code: "USER_ERROR"}}}})
	h.entry(6, sent("a", 2, 1, "w1"))
	h.entry(7, succeeded("a", 2, 6), sent("b", 1, 1, "w1"))
	h.entry(8, startedStep("b", 1, 7))
	h.entry(10, &messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{Step: "b", Attempt: 1, Started: true, Reason: messages.Reason_REASON_WORKER_LOST}}},
		&messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: 1, Reason: messages.Reason_REASON_WORKER_LOST}}})
	h.entry(13, bound(2, "w2", messages.Reason_REASON_WORKER_LOST), sent("b", 2, 2, "w2"))
	h.entry(13, &messages.Event{Kind: &messages.Event_ResultRefused{ResultRefused: &messages.ResultRefused{Step: "b", Attempt: 1, Reason: messages.Reason_REASON_ATTEMPT_LOST}}})
	h.entry(14, startedStep("b", 2, 13))
	h.entry(15, succeeded("b", 2, 13), sent("c", 1, 2, "w2"))
	h.entry(16, succeeded("c", 1, 15), ended(messages.RunStatus_RUN_STATUS_SUCCEEDED))
	same(t, s.Registry(), `
limpet_attempt_duration_seconds_sum{workflow="build"} 5
limpet_attempt_duration_seconds_count{workflow="build"} 4
limpet_attempts_ended_total{outcome="failed",workflow="build"} 1
limpet_attempts_ended_total{outcome="lost",workflow="build"} 1
limpet_attempts_ended_total{outcome="succeeded",workflow="build"} 3
limpet_attempts_lost_total{reason="worker_lost"} 1
limpet_attempts_sent_total{workflow="build"} 5
limpet_bindings_lost_total{reason="worker_lost",sticky="soft"} 1
limpet_bindings_total{reason="first",sticky="soft"} 1
limpet_bound_waited_seconds_total{reason="worker_away"} 3
limpet_bound_waited_seconds_total{reason="worker_busy"} 1
limpet_rebinds_total{reason="worker_lost",sticky="soft"} 1
limpet_results_refused_total{reason="attempt_lost"} 1
limpet_run_duration_seconds_sum{workflow="build"} 16
limpet_run_duration_seconds_count{workflow="build"} 1
limpet_runs_ended_total{status="succeeded",workflow="build"} 1
limpet_runs_started_total{workflow="build"} 1
limpet_step_ready_to_start_seconds_sum{workflow="build"} 7
limpet_step_ready_to_start_seconds_count{workflow="build"} 5
limpet_steps_ended_total{status="succeeded",workflow="build"} 3
limpet_sticky_attempts_total{sticky="soft",worker="first"} 1
limpet_sticky_attempts_total{sticky="soft",worker="other"} 1
limpet_sticky_attempts_total{sticky="soft",worker="same"} 3
`)
}

// A HARD run waits for its worker, which was out of reach once and then begins
// anew: it stays with the worker id, in which process ever.
func TestARunThatStays(t *testing.T) {
	s := metrics.NewServer()
	h := newHistory(s, chain("hard", messages.Sticky_STICKY_HARD))
	lost := &messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: 1, Reason: messages.Reason_REASON_WORKER_LOST}}}
	h.entry(0, startedRun(), bound(1, "w1", messages.Reason_REASON_FIRST), sent("a", 1, 1, "w1"))
	h.entry(1, succeeded("a", 1, 0), lost)
	h.entry(3, &messages.Event{Kind: &messages.Event_BindingRestored{BindingRestored: &messages.BindingRestored{Epoch: 1}}})
	h.entry(4, lost)
	h.entry(9, bound(2, "w1", messages.Reason_REASON_WORKER_RESTARTED), sent("b", 1, 2, "w1"))
	h.entry(9, &messages.Event{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{Step: "b", Reason: messages.Reason_REASON_RUN_CANCELED}}},
		&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "c"}}}, ended(messages.RunStatus_RUN_STATUS_CANCELED))
	h.entry(20, &messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{Steps: []string{"b"}}}})
	h.entry(21, bound(3, "w2", messages.Reason_REASON_REPLAYED), sent("b", 2, 3, "w2"))
	h.entry(22, &messages.Event{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: "b", Failure: &messages.Failure{Code: "SCHEDULE_TIMEOUT"}}}},
		ended(messages.RunStatus_RUN_STATUS_FAILED))
	same(t, s.Registry(), `
limpet_attempt_duration_seconds_sum{workflow="hard"} 1
limpet_attempt_duration_seconds_count{workflow="hard"} 1
limpet_attempts_ended_total{outcome="succeeded",workflow="hard"} 1
limpet_attempts_sent_total{workflow="hard"} 3
limpet_bindings_lost_total{reason="worker_lost",sticky="hard"} 2
limpet_bindings_total{reason="first",sticky="hard"} 1
limpet_bindings_total{reason="replayed",sticky="hard"} 1
limpet_bound_waited_seconds_total{reason="worker_away"} 7
limpet_rebinds_total{reason="worker_restarted",sticky="hard"} 1
limpet_run_duration_seconds_sum{workflow="hard"} 11
limpet_run_duration_seconds_count{workflow="hard"} 2
limpet_runs_ended_total{status="canceled",workflow="hard"} 1
limpet_runs_ended_total{status="failed",workflow="hard"} 1
limpet_runs_replayed_total{workflow="hard"} 1
limpet_runs_started_total{workflow="hard"} 1
limpet_step_ready_to_start_seconds_count{workflow="hard"} 1
limpet_steps_ended_total{status="canceled",workflow="hard"} 1
limpet_steps_ended_total{status="failed",workflow="hard"} 1
limpet_steps_ended_total{status="skipped",workflow="hard"} 1
limpet_steps_ended_total{status="succeeded",workflow="hard"} 1
limpet_sticky_attempts_total{sticky="hard",worker="first"} 2
limpet_sticky_attempts_total{sticky="hard",worker="same"} 1
`)
}

// What runs keep on a worker, and what comes into their mailboxes, is counted.
func TestLocalStateAndMailboxes(t *testing.T) {
	s := metrics.NewServer()
	def := chain("agent", messages.Sticky_STICKY_SOFT)
	def.Steps[0].BuildsState = true
	h := newHistory(s, def)
	h.entry(0, startedRun(), bound(1, "w1", messages.Reason_REASON_FIRST), sent("a", 1, 1, "w1"))
	h.entry(1, &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "a", Attempt: 1, Kind: messages.CallKind_CALL_KIND_DO, Name: "pay", Key: "#1"}}},
		&messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "a", Attempt: 1, Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "go", Key: "#1"}}},
		&messages.Event{Kind: &messages.Event_Signaled{Signaled: &messages.Signaled{Name: "go", MessageId: "m1"}}},
		&messages.Event{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{Step: "a", Attempt: 1, Key: "#1", ChildRun: "r.1", Workflow: "other"}}})
	h.entry(2, succeeded("a", 1, 0), &messages.Event{Kind: &messages.Event_NotOffered{NotOffered: &messages.NotOffered{Steps: []string{"b"}, Reason: messages.WaitReason_WAIT_REASON_NO_LABELS}}})
	h.entry(3, &messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: &messages.StateHandedOff{Epoch: 1,
		States: []*messages.HandedState{{Local: "box", Data: make([]byte, 1000)}}}}}, bound(2, "w2", messages.Reason_REASON_WORKER_DRAINING))
	h.entry(4, &messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: &messages.StateHandedOff{Epoch: 2, Failure: &messages.Failure{Code: "USER_ERROR"}}}},
		&messages.Event{Kind: &messages.Event_RebuildBegan{RebuildBegan: &messages.RebuildBegan{Step: "a", Epoch: 2, ForStep: "b", Reason: messages.Reason_REASON_STATE_LOST}}},
		sent("a", 2, 2, "w2"))
	h.entry(6, &messages.Event{Kind: &messages.Event_StepRebuilt{StepRebuilt: &messages.StepRebuilt{Step: "a", Attempt: 2, StartedUs: us(5)}}})
	for attempt, reason := range []messages.Reason{messages.Reason_REASON_IDLE, messages.Reason_REASON_IDLE, messages.Reason_REASON_KEPT_MAX} {
		h.entry(7, sent("b", int32(attempt+1), 2, "w2"), &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{
			Step: "b", Attempt: int32(attempt + 1), Kind: messages.CallKind_CALL_KIND_SLEEP, Name: "sleep", Key: "#0"}}})
		h.entry(7, &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "b", Attempt: int32(attempt + 1), Kind: messages.CallKind_CALL_KIND_SLEEP,
			Name: "sleep", Key: "#0", FailedCondition: &messages.FailedCondition{Message: "counted as no wait"}}}})
		h.entry(8, &messages.Event{Kind: &messages.Event_AttemptSuspended{AttemptSuspended: &messages.AttemptSuspended{Step: "b", Attempt: int32(attempt + 1), Reason: reason}}})
	}
	h.entry(9, &messages.Event{Kind: &messages.Event_RunContinued{RunContinued: &messages.RunContinued{Step: "a", Input: []byte("2")}}})
	got := strings.Join(scrape(t, s.Registry()), "\n")
	for _, want := range []string{
		`limpet_runs_continued_total{workflow="agent"} 1`,
		`limpet_attempts_ended_total{outcome="rebuilt",workflow="agent"} 1`,
		`limpet_attempts_ended_total{outcome="suspended",workflow="agent"} 3`,
		`limpet_attempts_suspended_total{reason="idle"} 2`,
		`limpet_attempts_suspended_total{reason="kept_max"} 1`,
		`limpet_call_waits_total{kind="receive"} 1`,
		`limpet_call_waits_total{kind="sleep"} 3`,
		`limpet_calls_recorded_total{kind="do"} 1`,
		`limpet_children_spawned_total{workflow="agent"} 1`,
		`limpet_handoff_bytes_total 1000`,
		`limpet_handoffs_total{outcome="complete"} 1`,
		`limpet_handoffs_total{outcome="incomplete"} 1`,
		`limpet_not_offered_total{reason="no_labels"} 1`,
		`limpet_rebinds_total{reason="worker_draining",sticky="soft"} 1`,
		`limpet_rebuilds_total{reason="state_lost"} 1`,
		`limpet_signals_total 1`,
		`limpet_step_ready_to_start_seconds_sum{workflow="agent"} 1`,
		`limpet_steps_ended_total{status="succeeded",workflow="agent"} 1`,
	} {
		if !strings.Contains(got+"\n", want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// The series do not grow with the runs, nor with the names beyond NamesMax.
func TestSeriesAreBounded(t *testing.T) {
	s := metrics.NewServer()
	runs := func(n, workflows int) int {
		for i := range n {
			h := newHistory(s, chain(fmt.Sprintf("w%d", i%workflows), messages.Sticky_STICKY_SOFT))
			h.entry(0, startedRun(), bound(1, fmt.Sprint("worker", i), messages.Reason_REASON_FIRST), sent("a", 1, 1, fmt.Sprint("worker", i)))
			h.entry(1, succeeded("a", 1, 0), ended(messages.RunStatus_RUN_STATUS_SUCCEEDED))
			s.WorkerChanged(run.WorkerChanged{Worker: ref(fmt.Sprint("worker", i)), State: run.WorkerGone, Reason: messages.Reason_REASON_WORKER_LOST})
		}
		return len(scrape(t, s.Registry()))
	}
	few := runs(1000, metrics.NamesMax)
	if more := runs(10_000, metrics.NamesMax); more != few {
		t.Errorf("%d samples after 11,000 runs, %d after 1,000", more, few)
	}
	all := runs(1000, 200)
	if more := runs(10_000, 10_000); more != all || all <= few || all > few*102/100 {
		t.Errorf("%d samples with 200 workflows, %d with 10,000, %d with %d", all, more, few, metrics.NamesMax)
	}
	if !strings.Contains(strings.Join(scrape(t, s.Registry()), "\n"), `limpet_runs_started_total{workflow="other"} `) {
		t.Error("what is beyond is not counted")
	}
}

func BenchmarkCommitted(b *testing.B) {
	s := metrics.NewServer()
	st := run.NewState("r", chain("build", messages.Sticky_STICKY_SOFT))
	entries := []*messages.Entry{
		{AtUs: us(0), Events: []*messages.Event{startedRun(), bound(1, "w1", messages.Reason_REASON_FIRST), sent("a", 1, 1, "w1")}},
		{AtUs: us(1), Events: []*messages.Event{succeeded("a", 1, 0), sent("b", 1, 1, "w1")}},
		{AtUs: us(2), Events: []*messages.Event{succeeded("b", 1, 1), sent("c", 1, 1, "w1")}},
		{AtUs: us(3), Events: []*messages.Event{succeeded("c", 1, 2), ended(messages.RunStatus_RUN_STATUS_SUCCEEDED)}},
	}
	for _, e := range entries {
		st.ApplyEntry(e)
	}
	for b.Loop() { // one run
		for _, e := range entries {
			s.Committed(st, e)
		}
	}
}
