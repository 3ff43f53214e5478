package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/messages"
)

// Worker counts what happens at a worker process.
type Worker struct {
	*book
	workflows, locals names
	load              func() *messages.LoadReport

	started                    each[string, prometheus.Counter]
	ended                      each[workflowCode, prometheus.Counter]
	took                       each[string, prometheus.Observer]
	canceled, leases, drains   prometheus.Counter
	builds                     each[localWord, prometheus.Counter]
	buildTook                  each[string, prometheus.Observer]
	hits                       each[string, prometheus.Counter]
	releases                   each[localWord, prometheus.Counter]
	slots, queued, bound       told
	draining, values, declared told

	spans     told
	spansMade func() tracing.Figures
}

type (
	workflowCode struct{ workflow, code string }
	localWord    struct{ local, word string }
)

// NewWorker makes the metrics of a worker process. load is asked at each scrape
// for its last report, nil before the first; and spans for those that it made.
func NewWorker(workerID, pool string, load func() *messages.LoadReport, spans func() tracing.Figures) *Worker {
	b := newBook()
	w := &Worker{book: b, load: load, spansMade: spans}
	info := b.gaugeVec("limpet_worker_info", "1. It says whose these metrics are.", "worker", "pool")
	info.WithLabelValues(workerID, pool).Set(1)
	w.slots = b.gauge("limpet_worker_slots", "Slots. state: busy, free, held (by functions that do not return).", "state")
	w.queued = b.gauge("limpet_worker_queued_steps", "Steps that wait here for a slot.")
	w.bound = b.gauge("limpet_worker_bound_runs", "Runs that are bound to the worker, as far as it has heard of them.", "sticky")
	w.draining = b.gauge("limpet_worker_draining", "1 while the worker takes on nothing new, else 0.")
	w.attempts(b)
	w.localState(b)
	w.leases = b.counter("limpet_worker_leases_lost_total", "How often the worker reached no server for so long that what ran was canceled.")
	w.drains = b.counter("limpet_worker_drains_total", "How often the worker began to drain.")
	w.spans = b.spans("limpet_worker_spans_total")
	b.registry.MustRegister(w)
	return w
}

// attempts are of functions that are called.
func (w *Worker) attempts(b *book) {
	started := b.counters("limpet_worker_attempts_started_total", "Step functions called.", "workflow")
	w.started.make = func(workflow string) prometheus.Counter { return started.WithLabelValues(workflow) }
	ended := b.counters("limpet_worker_attempts_ended_total", "Step functions that returned. code: OK or a code of the errors; USER_ERROR for an error of the function's own.", "workflow", "code")
	w.ended.make = func(k workflowCode) prometheus.Counter { return ended.WithLabelValues(k.workflow, k.code) }
	took := b.histograms("limpet_worker_attempt_seconds", "Time from the call of a step function to its return, with what it waited for in calls.", long, "workflow")
	w.took.make = func(workflow string) prometheus.Observer { return took.WithLabelValues(workflow) }
	w.canceled = b.counter("limpet_worker_attempts_canceled_total", "Step functions whose context was ended before they returned.")
}

// localState are of the values that Bind builds.
func (w *Worker) localState(b *book) {
	w.values = b.gauge("limpet_worker_local_values", "Values of local state that are held.", "local")
	w.declared = b.gauge("limpet_worker_local_bytes", "Bytes that the values of local state declare.", "local")
	builds := b.counters("limpet_worker_local_builds_total", "Values of local state built. outcome: succeeded, failed.", "local", "outcome")
	w.builds.make = func(k localWord) prometheus.Counter { return builds.WithLabelValues(k.local, k.word) }
	buildTook := b.histograms("limpet_worker_local_build_seconds", "Time that building a value took.", long, "local")
	w.buildTook.make = func(local string) prometheus.Observer { return buildTook.WithLabelValues(local) }
	hits := b.counters("limpet_worker_local_hits_total", "Steps that got a value which was there.", "local")
	w.hits.make = func(local string) prometheus.Counter { return hits.WithLabelValues(local) }
	releases := b.counters("limpet_worker_local_releases_total", "Values released. why: run-ended, rebound, worker-stopping, evicted, state-lost.", "local", "why")
	w.releases.make = func(k localWord) prometheus.Counter { return releases.WithLabelValues(k.local, k.word) }
}

// Hooks count; they are for the worker's Config.Own.
func (w *Worker) Hooks() *worker.Hooks {
	return &worker.Hooks{
		Started: func(d *messages.Dispatch) { w.started.of(w.workflows.of(d.Workflow)).Inc() },
		Ended: func(d *messages.Dispatch, f *messages.Failure, took time.Duration) {
			code := "OK"
			switch {
			case f == nil:
			case messages.Code(f.Code).Known():
				code = f.Code
			default:
				code = Other
			}
			workflow := w.workflows.of(d.Workflow)
			w.ended.of(workflowCode{workflow, code}).Inc()
			observe(w.took.of(workflow), took)
		},
		Canceled:  func(*messages.Dispatch, error) { w.canceled.Inc() },
		Draining:  w.drains.Inc,
		LeaseLost: w.leases.Inc,
		LocalBuilt: func(e worker.LocalEvent, took time.Duration, _ int64, err error) {
			local, outcome := w.locals.of(e.Local), "succeeded"
			if err != nil {
				outcome = "failed"
			}
			w.builds.of(localWord{local, outcome}).Inc()
			observe(w.buildTook.of(local), took)
		},
		LocalHit: func(e worker.LocalEvent) { w.hits.of(w.locals.of(e.Local)).Inc() },
		LocalReleased: func(e worker.LocalEvent, why string, _ error) {
			w.releases.of(localWord{w.locals.of(e.Local), why}).Inc()
		},
	}
}

// Describe implements prometheus.Collector: what comes is not known before.
func (w *Worker) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (w *Worker) Collect(to chan<- prometheus.Metric) {
	sendSpans(to, w.spans, w.spansMade())
	l := w.load()
	if l == nil {
		return
	}
	w.slots.send(to, float64(l.Running-l.HeldSlots), "busy")
	w.slots.send(to, float64(max(0, l.Slots-l.Running)), "free")
	w.slots.send(to, float64(l.HeldSlots), "held")
	w.queued.send(to, float64(l.Queued))
	w.bound.send(to, float64(l.BoundSoft), "soft")
	w.bound.send(to, float64(l.BoundRuns-l.BoundSoft), "hard")
	draining := 0.0
	if l.Draining {
		draining = 1
	}
	w.draining.send(to, draining)
	values, declared := sums[string]{}, sums[string]{}
	for _, u := range l.Locals {
		local := w.locals.of(u.Name)
		values[local] += float64(u.Values)
		declared[local] += float64(u.Bytes)
	}
	for local, n := range values {
		w.values.send(to, n, local)
		w.declared.send(to, declared[local], local)
	}
}
