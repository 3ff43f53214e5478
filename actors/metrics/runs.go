package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// runMetrics are of runs, by what their histories say. Each entry is counted by
// the server that wrote it: the sum over the servers is the cluster's.
type runMetrics struct {
	workflows names
	of        each[string, *workflowMetrics]

	lost, suspended, refused, rebuilds each[messages.Reason, prometheus.Counter]
	notOffered                         each[messages.WaitReason, prometheus.Counter]
	calls, callWaits                   each[messages.CallKind, prometheus.Counter]
	bindings, rebinds, bindingsLost    each[stickyReason, prometheus.Counter]
	// By messages.Sticky and where the attempt goes.
	stickyAttempts            [len(stickyNames)][len(goes)]prometheus.Counter
	waitedBusy, waitedAway    prometheus.Counter
	handoffs, handoffsLacking prometheus.Counter
	handoffBytes              prometheus.Counter
	signals                   prometheus.Counter
}

type stickyReason struct {
	sticky messages.Sticky
	reason messages.Reason
}

// stickyNames are the labels of messages.Sticky.
var stickyNames = [...]string{"none", "soft", "hard"}

// Where an attempt of a sticky run goes, seen from where the run was.
const (
	firstWorker = iota
	sameWorker
	otherWorker
)

var goes = [...]string{firstWorker: "first", sameWorker: "same", otherWorker: "other"}

// How an attempt ends.
const (
	succeededAttempt = iota
	failedAttempt
	lostAttempt
	revokedAttempt
	rebuiltAttempt
	suspendedAttempt
)

var outcomesOf = [...]string{succeededAttempt: "succeeded", failedAttempt: "failed", lostAttempt: "lost", revokedAttempt: "revoked", rebuiltAttempt: "rebuilt", suspendedAttempt: "suspended"}

// terminal are the phases in which a step has ended.
var terminal = []run.Phase{run.Succeeded, run.Failed, run.Skipped, run.Canceled}

// workflowMetrics are those of one workflow.
type workflowMetrics struct {
	started, replayed, continued, sent, children prometheus.Counter

	runsEnded     each[messages.RunStatus, prometheus.Counter]
	stepsEnded    [run.Canceled + 1]prometheus.Counter // of terminal
	attemptsEnded [len(outcomesOf)]prometheus.Counter

	runTook, attemptTook, waited prometheus.Observer
}

func newRunMetrics(b *book) *runMetrics {
	started := b.counters("limpet_runs_started_total", "Runs started.", "workflow")
	ended := b.counters("limpet_runs_ended_total", "Runs ended, a replayed one each time. status: succeeded, failed, canceled.", "workflow", "status")
	replayed := b.counters("limpet_runs_replayed_total", "Replays of finished runs.", "workflow")
	continued := b.counters("limpet_runs_continued_total", "How often runs went on as new.", "workflow")
	took := b.histograms("limpet_run_duration_seconds", "Time from the start of a run, or its last replay, to its end.", long, "workflow")
	children := b.counters("limpet_children_spawned_total", "Child runs that steps spawned.", "workflow")
	steps := b.counters("limpet_steps_ended_total", "Steps ended. status: succeeded, failed, skipped, canceled.", "workflow", "status")
	waited := b.histograms("limpet_step_ready_to_start_seconds", "Time from ready to started, of each attempt that started: a retry is ready when its back-off is over.", long, "workflow")
	sent := b.counters("limpet_attempts_sent_total", "Attempts sent to a worker.", "workflow")
	attempts := b.counters("limpet_attempts_ended_total", "Attempts ended. outcome: succeeded, failed, lost, revoked (did not start), rebuilt (for the local state alone), suspended (it waits).", "workflow", "outcome")
	attemptTook := b.histograms("limpet_attempt_duration_seconds", "Time from the start of an attempt until its result was recorded.", long, "workflow")

	m := &runMetrics{}
	m.of.make = func(workflow string) *workflowMetrics {
		w := &workflowMetrics{
			started: started.WithLabelValues(workflow), replayed: replayed.WithLabelValues(workflow), continued: continued.WithLabelValues(workflow),
			sent: sent.WithLabelValues(workflow), children: children.WithLabelValues(workflow),
			runTook: took.WithLabelValues(workflow), attemptTook: attemptTook.WithLabelValues(workflow), waited: waited.WithLabelValues(workflow),
		}
		w.runsEnded.make = func(s messages.RunStatus) prometheus.Counter {
			return ended.WithLabelValues(workflow, word(s.String(), "RUN_STATUS_"))
		}
		for _, p := range terminal {
			w.stepsEnded[p] = steps.WithLabelValues(workflow, p.String())
		}
		for i, outcome := range outcomesOf {
			w.attemptsEnded[i] = attempts.WithLabelValues(workflow, outcome)
		}
		return w
	}
	m.lost.make = byReason(b.counters("limpet_attempts_lost_total", "Attempts that went down with their worker, or with local state they need.", "reason"))
	m.suspended.make = byReason(b.counters("limpet_attempts_suspended_total", "Attempts that did nothing but wait and were let go meanwhile. reason: idle (the KeepFor of the workflow was over), kept_max (the worker keeps too many), worker_draining, or why the worker cannot be used.", "reason"))
	m.refused.make = byReason(b.counters("limpet_results_refused_total", "Results that came too late: from a lost attempt or an old epoch.", "reason"))
	m.waits(b)
	m.sticky(b)
	return m
}

// waits are of what runs wait for.
func (m *runMetrics) waits(b *book) {
	notOffered := b.counters("limpet_not_offered_total", "Waits of five minutes for what nobody offers.", "reason")
	m.notOffered.make = func(r messages.WaitReason) prometheus.Counter {
		return notOffered.WithLabelValues(word(r.String(), "WAIT_REASON_"))
	}
	waited := b.counters("limpet_bound_waited_seconds_total", "Time that runs have waited for the worker they are bound to, counted when the wait is over. reason: worker_busy (the step was sent and did not start), worker_away (a HARD run's worker had gone, a SOFT run had no other yet).", "reason")
	m.waitedBusy, m.waitedAway = waited.WithLabelValues("worker_busy"), waited.WithLabelValues("worker_away")
	m.signals = b.counter("limpet_signals_total", "Messages that came into mailboxes of runs.")
	calls := b.counters("limpet_calls_recorded_total", "Calls of steps whose outcome the engine remembers. kind: do, receive, sleep, child, event, first, all, signal, start, continue.", "kind")
	m.calls.make = byKind(calls)
	m.callWaits.make = byKind(b.counters("limpet_call_waits_total", "Calls of steps that began to wait.", "kind"))
}

// sticky are of bindings, and of the local state for which they are.
func (m *runMetrics) sticky(b *book) {
	m.bindings.make = byStickyReason(b.counters("limpet_bindings_total", "First bindings of sticky runs. reason: first, child, replayed.", "sticky", "reason"))
	m.rebinds.make = byStickyReason(b.counters("limpet_rebinds_total", "Further bindings, by why the worker before could not be used; those of HARD runs are to the same worker id.", "sticky", "reason"))
	m.bindingsLost.make = byStickyReason(b.counters("limpet_bindings_lost_total", "Bindings whose worker could not be used any more.", "sticky", "reason"))
	attempts := b.counters("limpet_sticky_attempts_total", "Attempts of sticky runs, by the worker they were sent to. worker: first (the run's first), same (where the run was before), other.", "sticky", "worker")
	for _, sticky := range []messages.Sticky{messages.Sticky_STICKY_SOFT, messages.Sticky_STICKY_HARD} {
		for i, worker := range goes {
			m.stickyAttempts[sticky][i] = attempts.WithLabelValues(stickyNames[sticky], worker)
		}
	}
	handoffs := b.counters("limpet_handoffs_total", "Local state that a worker handed off to the run's next one. outcome: complete, incomplete (what lacks is built anew).", "outcome")
	m.handoffs, m.handoffsLacking = handoffs.WithLabelValues("complete"), handoffs.WithLabelValues("incomplete")
	m.handoffBytes = b.counter("limpet_handoff_bytes_total", "Bytes of local state that was handed off.")
	m.rebuilds.make = byReason(b.counters("limpet_rebuilds_total", "Steps that had succeeded and were run again for the local state that they build.", "reason"))
}

func byKind(vec *prometheus.CounterVec) func(messages.CallKind) prometheus.Counter {
	return func(k messages.CallKind) prometheus.Counter {
		return vec.WithLabelValues(word(k.String(), "CALL_KIND_"))
	}
}

func byReason(vec *prometheus.CounterVec) func(messages.Reason) prometheus.Counter {
	return func(r messages.Reason) prometheus.Counter { return vec.WithLabelValues(word(r.String(), "REASON_")) }
}

func byStickyReason(vec *prometheus.CounterVec) func(stickyReason) prometheus.Counter {
	return func(k stickyReason) prometheus.Counter {
		return vec.WithLabelValues(stickyNames[k.sticky], word(k.reason.String(), "REASON_"))
	}
}

// Committed counts the events of an entry; the state is as it is with them.
func (s *Server) Committed(state *run.State, entry *messages.Entry) {
	m := s.runs
	w := m.of.of(m.workflows.of(state.Def.GetName()))
	at := time.UnixMicro(entry.AtUs)
	for _, ev := range entry.Events {
		if !m.ofStep(w, state, ev, at) {
			m.ofRun(w, state, ev, at)
		}
	}
}

// ofRun counts events of the run as a whole: a case for each kind.
//
//gocyclo:ignore
func (m *runMetrics) ofRun(w *workflowMetrics, s *run.State, ev *messages.Event, at time.Time) {
	switch k := ev.Kind.(type) {
	case *messages.Event_RunStarted:
		w.started.Inc()
	case *messages.Event_RunReplayed:
		w.replayed.Inc()
	case *messages.Event_RunContinued:
		w.continued.Inc()
	case *messages.Event_RunEnded:
		w.runsEnded.of(k.RunEnded.Status).Inc()
		since := s.CreatedAt
		if s.ReplayedAt.After(since) {
			since = s.ReplayedAt
		}
		observe(w.runTook, at.Sub(since))
	case *messages.Event_Bound:
		m.bound(s, k.Bound)
	case *messages.Event_BindingLost:
		m.bindingsLost.of(stickyReason{s.Def.Sticky, k.BindingLost.Reason}).Inc()
	case *messages.Event_BindingRestored:
		m.waitedAway.Add(s.Binding.Away.Seconds())
	case *messages.Event_StateHandedOff:
		m.handedOff(k.StateHandedOff)
	case *messages.Event_ChildSpawned:
		w.children.Inc()
	case *messages.Event_ResultRefused:
		m.refused.of(k.ResultRefused.Reason).Inc()
	case *messages.Event_NotOffered:
		m.notOffered.of(k.NotOffered.Reason).Inc()
	case *messages.Event_Signaled:
		m.signals.Inc()
	case *messages.Event_CallRecorded:
		m.calls.of(k.CallRecorded.Kind).Inc()
	case *messages.Event_CallWaits:
		if k.CallWaits.FailedCondition == nil {
			m.callWaits.of(k.CallWaits.Kind).Inc()
		}
	}
}

func (m *runMetrics) bound(s *run.State, b *messages.Bound) {
	key := stickyReason{s.Def.Sticky, b.Reason}
	if begins(b.Reason) {
		m.bindings.of(key).Inc()
		return
	}
	m.rebinds.of(key).Inc()
	m.waitedAway.Add(s.Binding.Away.Seconds())
}

// begins says that a run is bound for the first time, since its start or its
// replay.
func begins(r messages.Reason) bool {
	return r == messages.Reason_REASON_FIRST || r == messages.Reason_REASON_CHILD || r == messages.Reason_REASON_REPLAYED
}

func (m *runMetrics) handedOff(h *messages.StateHandedOff) {
	if h.Failure == nil {
		m.handoffs.Inc()
	} else {
		m.handoffsLacking.Inc()
	}
	for _, state := range h.States {
		m.handoffBytes.Add(float64(len(state.Data)))
	}
}

// ofStep counts events of one step; false for others.
func (m *runMetrics) ofStep(w *workflowMetrics, s *run.State, ev *messages.Event, at time.Time) bool {
	switch k := ev.Kind.(type) {
	case *messages.Event_StepDispatched:
		w.sent.Inc()
		if s.Def.Sticky != messages.Sticky_STICKY_NONE {
			m.stickyAttempts[s.Def.Sticky][wentTo(s, k.StepDispatched)].Inc()
		}
	case *messages.Event_StepStarted:
		m.started(w, s.Step(k.StepStarted.Step), k.StepStarted.Attempt)
	case *messages.Event_StepSucceeded:
		w.attemptsEnded[succeededAttempt].Inc()
		m.returned(w, s.Step(k.StepSucceeded.Step), k.StepSucceeded.Attempt, k.StepSucceeded.StartedUs, at)
		w.stepsEnded[run.Succeeded].Inc()
	case *messages.Event_StepRebuilt:
		w.attemptsEnded[rebuiltAttempt].Inc()
		m.returned(w, s.Step(k.StepRebuilt.Step), k.StepRebuilt.Attempt, k.StepRebuilt.StartedUs, at)
	case *messages.Event_AttemptFailed:
		w.attemptsEnded[failedAttempt].Inc()
		m.returned(w, s.Step(k.AttemptFailed.Step), k.AttemptFailed.Attempt, k.AttemptFailed.StartedUs, at)
	case *messages.Event_AttemptLost:
		w.attemptsEnded[lostAttempt].Inc()
		m.lost.of(k.AttemptLost.Reason).Inc()
	case *messages.Event_AttemptRevoked:
		w.attemptsEnded[revokedAttempt].Inc()
	case *messages.Event_AttemptSuspended:
		w.attemptsEnded[suspendedAttempt].Inc()
		m.suspended.of(k.AttemptSuspended.Reason).Inc()
	case *messages.Event_StepFailed:
		w.stepEnded(s.Step(k.StepFailed.Step), run.Failed)
	case *messages.Event_StepSkipped:
		w.stepsEnded[run.Skipped].Inc()
	case *messages.Event_StepCanceled:
		w.stepEnded(s.Step(k.StepCanceled.Step), run.Canceled)
	case *messages.Event_RebuildBegan:
		m.rebuilds.of(k.RebuildBegan.Reason).Inc()
	default:
		return false
	}
	return true
}

// stepEnded counts a step that has ended so, and not only its rebuild.
func (w *workflowMetrics) stepEnded(st *run.Step, p run.Phase) {
	if st.Phase == p {
		w.stepsEnded[p].Inc()
	}
}

// returned counts what a function took that has returned; startedUs is 0 if it was
// never called.
func (m *runMetrics) returned(w *workflowMetrics, st *run.Step, attempt int32, startedUs int64, at time.Time) {
	if startedUs == 0 {
		return
	}
	observe(w.attemptTook, at.Sub(time.UnixMicro(startedUs)))
	if !st.StartRecorded {
		m.started(w, st, attempt)
	}
}

// started counts a start, once for each attempt. Of one that the next attempt
// follows in the same entry nothing is known any more.
func (m *runMetrics) started(w *workflowMetrics, st *run.Step, attempt int32) {
	if st.Attempt != attempt {
		return
	}
	observe(w.waited, st.Waited)
	if st.Epoch > 0 {
		m.waitedBusy.Add(st.Queued.Seconds())
	}
}

// wentTo says where an attempt of a sticky run goes, seen from where the run was.
func wentTo(s *run.State, d *messages.StepDispatched) int {
	switch b := s.Binding; {
	case s.WorkedEpoch == d.Epoch:
		return sameWorker
	case begins(b.Reason):
		return firstWorker
	case s.Def.Sticky == messages.Sticky_STICKY_HARD:
		return sameWorker // the same worker id, whatever its process
	}
	return otherWorker
}

func observe(o prometheus.Observer, d time.Duration) { o.Observe(max(0, d.Seconds())) }
