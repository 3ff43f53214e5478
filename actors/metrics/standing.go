package metrics

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/limpetrun/limpet/actors/roster"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/actors/server/places"
	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// Sources say how things stand at a server. They are asked at each scrape, must
// be safe for concurrent use, and answer within a second.
type Sources struct {
	// RunsInMemory, AppendsWaiting and ShardsOwned are this server's.
	RunsInMemory, AppendsWaiting, ShardsOwned func() int
	// Panics counts those of the server's own code that were caught.
	Panics func() uint64
	// Refused counts what came from other members and was refused.
	Refused func(cluster.Refusal) uint64
	// IdentityFailures counts new files of the server's identity that could not be used.
	IdentityFailures func() uint64
	// Now is the time by which what waits became ready.
	Now func() time.Time
	// ClockSteps counts the steps of the wall clock.
	ClockSteps func() int
	// Workers are those that this server has seen, the gone ones included.
	Workers func() []roster.WorkerStatus
	// Pools are those that are placed on this server.
	Pools func() []places.Figures
	// Parked is what this server's shards have waiting in the journal alone.
	Parked func() server.Parked
	// Spans are those that the process made.
	Spans func() tracing.Figures
}

// standing asks the sources at a scrape.
type standing struct {
	from      Sources
	workflows *names
	pools     names
	locals    names

	inMemory, appends, shards, clockSteps, panics          told
	workers, slots, bound, queued, localValues, localBytes told
	waiting, oldest, waited                                told
	placeable, away, spans, refused, identity              told
}

// Watch adds how things stand. It is called once.
func (s *Server) Watch(from Sources) {
	w := &standing{from: from, workflows: &s.runs.workflows}
	b := s.book
	w.inMemory = b.gauge("limpet_runs_in_memory", "Runs that this server has in memory.")
	w.appends = b.gauge("limpet_journal_waiting_entries", "Entries that wait for a commit to the journal.")
	w.shards = b.gauge("limpet_shards_owned", "Shards of runs, of 1024, that this server owns.")
	w.clockSteps = b.told(prometheus.CounterValue, "limpet_clock_steps_total", "How often the wall clock of the store's machine was set.", nil)
	w.panics = b.told(prometheus.CounterValue, "limpet_panics_total", "Panics of the server's own code that were caught: each is a fault of Limpet.", nil)
	w.refused = b.told(prometheus.CounterValue, "limpet_members_refused_total", "What other members sent and this server refused. reason: member (a process that could not prove who it is), unreadable, denied (what its role may not send), foreign (in the name of another one).", []string{"reason"})
	w.identity = b.told(prometheus.CounterValue, "limpet_member_identity_failures_total", "New files of this server's identity as a member that could not be used: the old ones stay in use.", nil)
	w.workers = b.gauge("limpet_workers", "Workers of a pool, as this server sees them: all servers see the same. state: up, draining.", "pool", "state")
	w.slots = b.gauge("limpet_pool_slots", "Slots of the workers that are there, by the server that places the pool. state: busy, free, held (by functions that do not return).", "pool", "state")
	w.bound = b.gauge("limpet_pool_bound_runs", "Runs that are bound to the workers of a pool.", "pool", "sticky")
	w.queued = b.gauge("limpet_backlog_bound_steps", "Steps that wait at the worker to which their run is bound, for a slot: further workers take none of them.", "pool")
	w.localValues = b.gauge("limpet_pool_local_values", "Values of local state that the workers of a pool hold.", "pool", "local")
	w.localBytes = b.gauge("limpet_pool_local_bytes", "Bytes that the values of local state of these workers declare.", "pool", "local")
	w.waiting = b.gauge("limpet_waiting_steps", "Steps, or runs that are to be bound, that ask for a worker now, by the server that places the pool. Of many only the first ask: see limpet_backlog_placeable_steps.", "pool", "workflow", "reason")
	w.oldest = b.gauge("limpet_waiting_oldest_seconds", "How long ago the first of what waits became ready.", "pool", "workflow", "reason")
	w.waited = b.told(prometheus.CounterValue, "limpet_waited_seconds_total", "Time that steps have asked for a worker, counted when they ask no more, or wait for another reason.", []string{"pool", "reason"})
	w.placeable = b.gauge("limpet_backlog_placeable_steps", "Steps, or runs that are to be bound, that any worker of the pool with a free slot would take: those that ask, and those whose turn to ask has not come. Sum over the servers.", "pool", "workflow")
	w.away = b.gauge("limpet_backlog_away_runs", "Runs that are not in memory and wait for the very worker that they are bound to, which has gone: further workers take none of them.")
	w.spans = b.spans("limpet_spans_total")
	b.registry.MustRegister(w)
}

// Describe implements prometheus.Collector: what comes is not known before.
func (w *standing) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (w *standing) Collect(to chan<- prometheus.Metric) {
	w.inMemory.send(to, float64(w.from.RunsInMemory()))
	w.appends.send(to, float64(w.from.AppendsWaiting()))
	w.shards.send(to, float64(w.from.ShardsOwned()))
	w.clockSteps.send(to, float64(w.from.ClockSteps()))
	w.panics.send(to, float64(w.from.Panics()))
	w.identity.send(to, float64(w.from.IdentityFailures()))
	for why := range cluster.Refusals {
		w.refused.send(to, float64(w.from.Refused(why)), why.String())
	}
	sendSpans(to, w.spans, w.from.Spans())
	w.collectWorkers(to)
	placeable := sums[poolWorkflow]{}
	for _, p := range w.from.Pools() {
		w.collectPool(to, p, placeable)
	}
	parked := w.from.Parked()
	for _, l := range parked.Lines {
		placeable[poolWorkflow{w.pools.of(l.Pool), w.workflows.of(l.Workflow)}] += float64(l.Runs)
	}
	w.away.send(to, float64(parked.Away))
	for k, n := range placeable {
		w.placeable.send(to, n, k.pool, k.workflow)
	}
}

// sums of what comes under one set of labels.
type sums[K comparable] map[K]float64

type (
	poolWorkflow struct{ pool, workflow string }
	poolWord     struct{ pool, word string }
	waitKey      struct{ pool, workflow, reason string }
)

func (w *standing) collectWorkers(to chan<- prometheus.Metric) {
	workers := sums[poolWord]{}
	for _, s := range w.from.Workers() {
		if s.State != run.WorkerGone {
			workers[poolWord{w.pools.of(messages.EffectivePool(s.Info.GetPool())), s.State.String()}]++
		}
	}
	for k, n := range workers {
		w.workers.send(to, n, k.pool, k.word)
	}
}

// collectPool sends the figures of a pool that is placed here. Beyond NamesMax
// pools of a server are one, of which the last is shown.
func (w *standing) collectPool(to chan<- prometheus.Metric, p places.Figures, placeable sums[poolWorkflow]) {
	pool := w.pools.of(p.Pool)
	if pool == Other {
		return
	}
	w.collectWaits(to, pool, p, placeable)
	var busy, free, held, queued, hard, soft float64
	values, bytes := sums[string]{}, sums[string]{}
	for _, l := range p.Workers {
		busy += float64(l.Running - l.HeldSlots)
		held += float64(l.HeldSlots)
		free += float64(max(0, l.Slots-l.Running))
		queued += float64(l.Queued)
		soft += float64(l.BoundSoft)
		hard += float64(l.BoundRuns - l.BoundSoft)
		for _, u := range l.Locals {
			local := w.locals.of(u.Name)
			values[local] += float64(u.Values)
			bytes[local] += float64(u.Bytes)
		}
	}
	w.slots.send(to, busy, pool, "busy")
	w.slots.send(to, free, pool, "free")
	w.slots.send(to, held, pool, "held")
	w.bound.send(to, soft, pool, "soft")
	w.bound.send(to, hard, pool, "hard")
	w.queued.send(to, queued, pool)
	for local, n := range values {
		w.localValues.send(to, n, pool, local)
		w.localBytes.send(to, bytes[local], pool, local)
	}
}

// collectWaits sends what asks for a worker.
func (w *standing) collectWaits(to chan<- prometheus.Metric, pool string, p places.Figures, placeable sums[poolWorkflow]) {
	waiting, oldest := sums[waitKey]{}, sums[waitKey]{}
	now := w.from.Now()
	for _, q := range p.Waiting {
		workflow := w.workflows.of(q.Workflow)
		key := waitKey{pool, workflow, word(q.Reason.String(), "WAIT_REASON_")}
		waiting[key] += float64(q.Questions)
		oldest[key] = max(oldest[key], now.Sub(q.ReadySince).Seconds())
		placeable[poolWorkflow{pool, workflow}] += float64(q.Questions)
	}
	for k, n := range waiting {
		w.waiting.send(to, n, k.pool, k.workflow, k.reason)
		w.oldest.send(to, oldest[k], k.pool, k.workflow, k.reason)
	}
	for reason, d := range p.Waited {
		w.waited.send(to, d.Seconds(), pool, cmp.Or(word(reason.String(), "WAIT_REASON_"), Other))
	}
}
