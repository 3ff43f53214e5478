package metrics_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/metrics"
	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/actors/roster"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/actors/server/places"
	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// standing is what the sources say, and may be changed between two scrapes.
type standing struct {
	workers []roster.WorkerStatus
	pools   []places.Figures
	parked  server.Parked
}

func (s *standing) sources() metrics.Sources {
	number := func(n int) func() int { return func() int { return n } }
	return metrics.Sources{
		RunsInMemory: number(7), AppendsWaiting: number(3), ShardsOwned: number(512), ClockSteps: number(1),
		Panics: func() uint64 { return 0 }, IdentityFailures: func() uint64 { return 4 }, Refused: func(why cluster.Refusal) uint64 { return uint64(why) }, Now: func() time.Time { return epoch },
		Workers: func() []roster.WorkerStatus { return s.workers },
		Pools:   func() []places.Figures { return s.pools },
		Parked:  func() server.Parked { return s.parked },
		Spans:   func() tracing.Figures { return tracing.Figures{Exported: 12, Failed: 3, Dropped: 1} },
	}
}

// What more workers would help is apart from what they would not, and what has
// gone is not shown any more.
func TestHowThingsStand(t *testing.T) {
	info := &messages.WorkerInfo{Pool: "gpu"}
	now := &standing{
		workers: []roster.WorkerStatus{
			{WorkerID: "w1", State: run.WorkerUp, Info: info}, {WorkerID: "w2", State: run.WorkerUp, Info: info},
			{WorkerID: "w3", State: run.WorkerDraining, Info: info}, {WorkerID: "w4", State: run.WorkerGone, Info: info},
		},
		pools: []places.Figures{{
			Pool: "gpu",
			Figures: placement.Figures{
				Waiting: []placement.Waiting{
					{Workflow: "build", Reason: messages.WaitReason_WAIT_REASON_BUSY, Questions: 4, ReadySince: epoch.Add(-time.Minute)},
					{Workflow: "test", Reason: messages.WaitReason_WAIT_REASON_NO_LABELS, Questions: 1, ReadySince: epoch.Add(-time.Second)},
				},
				Waited: map[messages.WaitReason]time.Duration{messages.WaitReason_WAIT_REASON_BUSY: 90 * time.Second},
			},
			Workers: []*messages.LoadReport{
				{Slots: 4, Running: 4, HeldSlots: 1, Queued: 2, BoundRuns: 5, BoundSoft: 3, Locals: []*messages.LocalUse{{Name: "model", Values: 1, Bytes: 100}}},
				{Slots: 4, Running: 1, BoundRuns: 1, Locals: []*messages.LocalUse{{Name: "model", Values: 2, Bytes: 50}}},
			},
		}},
		parked: server.Parked{Lines: []server.ParkedLine{{Pool: "gpu", Workflow: "build", Runs: 1000}, {Pool: "gpu", Workflow: "build", Runs: 200}}, Away: 9},
	}
	s := metrics.NewServer()
	s.Watch(now.sources())
	s.Commit(journal.CommitStats{Appends: 3, Bytes: 300, Refused: 1, Took: time.Second})
	s.CommitRetried()
	s.Called("GetRun", "", time.Second)
	s.Called("GetRun", messages.CodeUnknownRun, time.Second)
	s.TakenUp(50, 2*time.Second)
	s.ShardsMoved(512, 1)
	s.WorkerChanged(run.WorkerChanged{State: run.WorkerDraining, Reason: messages.Reason_REASON_WORKER_DRAINING})
	same(t, s.Registry(), `
limpet_api_call_seconds_sum{method="GetRun"} 2
limpet_api_call_seconds_count{method="GetRun"} 2
limpet_api_calls_total{code="OK",method="GetRun"} 1
limpet_api_calls_total{code="UNKNOWN_RUN",method="GetRun"} 1
limpet_backlog_away_runs 9
limpet_backlog_bound_steps{pool="gpu"} 2
limpet_backlog_placeable_steps{pool="gpu",workflow="build"} 1204
limpet_backlog_placeable_steps{pool="gpu",workflow="test"} 1
limpet_clock_steps_total 1
limpet_journal_append_bytes_total 300
limpet_journal_append_entries_sum 3
limpet_journal_append_entries_count 1
limpet_journal_append_seconds_sum 1
limpet_journal_append_seconds_count 1
limpet_journal_conflicts_total 1
limpet_journal_retries_total 1
limpet_journal_waiting_entries 3
limpet_member_identity_failures_total 4
limpet_members_refused_total{reason="denied"} 2
limpet_members_refused_total{reason="foreign"} 3
limpet_members_refused_total{reason="unreadable"} 1
limpet_pool_bound_runs{pool="gpu",sticky="hard"} 3
limpet_pool_bound_runs{pool="gpu",sticky="soft"} 3
limpet_pool_local_bytes{local="model",pool="gpu"} 150
limpet_pool_local_values{local="model",pool="gpu"} 3
limpet_pool_slots{pool="gpu",state="busy"} 4
limpet_pool_slots{pool="gpu",state="free"} 3
limpet_pool_slots{pool="gpu",state="held"} 1
limpet_runs_in_memory 7
limpet_runs_taken_up_total 50
limpet_shards_moved_total{to="elsewhere"} 1
limpet_shards_moved_total{to="here"} 512
limpet_shards_owned 512
limpet_spans_total{outcome="dropped"} 1
limpet_spans_total{outcome="exported"} 12
limpet_spans_total{outcome="failed"} 3
limpet_take_up_seconds_sum 2
limpet_take_up_seconds_count 1
limpet_waited_seconds_total{pool="gpu",reason="busy"} 90
limpet_waiting_oldest_seconds{pool="gpu",reason="busy",workflow="build"} 60
limpet_waiting_oldest_seconds{pool="gpu",reason="no_labels",workflow="test"} 1
limpet_waiting_steps{pool="gpu",reason="busy",workflow="build"} 4
limpet_waiting_steps{pool="gpu",reason="no_labels",workflow="test"} 1
limpet_worker_changes_total{change="draining",reason="worker_draining"} 1
limpet_workers{pool="gpu",state="draining"} 1
limpet_workers{pool="gpu",state="up"} 2
`)
	// The workers go, and the pool is placed elsewhere.
	now.workers, now.pools, now.parked = now.workers[3:], nil, server.Parked{}
	for _, line := range scrape(t, s.Registry()) {
		if strings.Contains(line, "gpu") {
			t.Errorf("%s, and nothing is here any more", line)
		}
	}
}

// More pools and workflows than are told apart do not break a scrape.
func TestManyPools(t *testing.T) {
	now := &standing{}
	for i := range 3 * metrics.NamesMax {
		name := strings.Repeat("p", i+1)
		now.pools = append(now.pools, places.Figures{Pool: name, Figures: placement.Figures{
			Waiting: []placement.Waiting{{Workflow: name, Reason: messages.WaitReason_WAIT_REASON_BUSY, Questions: 1, ReadySince: epoch}}}})
		now.workers = append(now.workers, roster.WorkerStatus{State: run.WorkerUp, Info: &messages.WorkerInfo{Pool: name}})
	}
	s := metrics.NewServer()
	s.Watch(now.sources())
	n, placeable := len(scrape(t, s.Registry())), 0
	for _, line := range scrape(t, s.Registry()) {
		if strings.HasPrefix(line, "limpet_backlog_placeable_steps") {
			placeable++
		}
	}
	if n > 10*metrics.NamesMax || placeable != metrics.NamesMax {
		t.Errorf("%d samples, the backlog of %d pools", n, placeable)
	}
}

// Two workers of one process do not write over each other.
func TestTwoWorkers(t *testing.T) {
	loads := []*messages.LoadReport{
		{Slots: 4, Running: 3, HeldSlots: 1, Queued: 2, BoundRuns: 5, BoundSoft: 3, Draining: true, Locals: []*messages.LocalUse{{Name: "model", Values: 1, Bytes: 100}}},
		nil,
	}
	var both []*metrics.Worker
	for i, id := range []string{"w1", "w2"} {
		w := metrics.NewWorker(id, "gpu", func() *messages.LoadReport { return loads[i] }, (*tracing.Provider)(nil).Figures)
		h, d := w.Hooks(), &messages.Dispatch{Workflow: "build"}
		h.Started(d)
		h.Ended(d, nil, time.Second)
		h.Ended(d, &messages.Failure{Code: "USER_ERROR"}, time.Second)
		h.Ended(d, &messages.Failure{Code: "what a user says"}, time.Second)
		h.LocalBuilt(worker.LocalEvent{Local: "model"}, time.Second, 100, nil)
		both = append(both, w)
	}
	h := both[0].Hooks()
	h.Canceled(&messages.Dispatch{}, nil)
	h.Draining()
	h.LeaseLost()
	h.LocalBuilt(worker.LocalEvent{Local: "model"}, time.Second, 0, messages.Errorf(messages.CodeInternal, "no"))
	h.LocalHit(worker.LocalEvent{Local: "model"})
	h.LocalReleased(worker.LocalEvent{Local: "model"}, "evicted", nil)
	same(t, both[0].Registry(), `
limpet_worker_attempt_seconds_sum{workflow="build"} 3
limpet_worker_attempt_seconds_count{workflow="build"} 3
limpet_worker_attempts_canceled_total 1
limpet_worker_attempts_ended_total{code="OK",workflow="build"} 1
limpet_worker_attempts_ended_total{code="USER_ERROR",workflow="build"} 1
limpet_worker_attempts_ended_total{code="other",workflow="build"} 1
limpet_worker_attempts_started_total{workflow="build"} 1
limpet_worker_bound_runs{sticky="hard"} 2
limpet_worker_bound_runs{sticky="soft"} 3
limpet_worker_draining 1
limpet_worker_drains_total 1
limpet_worker_info{pool="gpu",worker="w1"} 1
limpet_worker_leases_lost_total 1
limpet_worker_local_build_seconds_sum{local="model"} 2
limpet_worker_local_build_seconds_count{local="model"} 2
limpet_worker_local_builds_total{local="model",outcome="failed"} 1
limpet_worker_local_builds_total{local="model",outcome="succeeded"} 1
limpet_worker_local_bytes{local="model"} 100
limpet_worker_local_hits_total{local="model"} 1
limpet_worker_local_releases_total{local="model",why="evicted"} 1
limpet_worker_local_values{local="model"} 1
limpet_worker_queued_steps 2
limpet_worker_slots{state="busy"} 2
limpet_worker_slots{state="free"} 1
limpet_worker_slots{state="held"} 1
`)
	same(t, both[1].Registry(), `
limpet_worker_attempt_seconds_sum{workflow="build"} 3
limpet_worker_attempt_seconds_count{workflow="build"} 3
limpet_worker_attempts_ended_total{code="OK",workflow="build"} 1
limpet_worker_attempts_ended_total{code="USER_ERROR",workflow="build"} 1
limpet_worker_attempts_ended_total{code="other",workflow="build"} 1
limpet_worker_attempts_started_total{workflow="build"} 1
limpet_worker_info{pool="gpu",worker="w2"} 1
limpet_worker_local_build_seconds_sum{local="model"} 1
limpet_worker_local_build_seconds_count{local="model"} 1
limpet_worker_local_builds_total{local="model",outcome="succeeded"} 1
`)
}

// What is scraped is what Families lists: the name, the type and the labels.
func TestFamiliesAreWhatIsScraped(t *testing.T) {
	s := metrics.NewServer()
	now := &standing{pools: []places.Figures{{Pool: "gpu", Workers: []*messages.LoadReport{{Locals: []*messages.LocalUse{{Name: "model", Values: 1}}}}}}}
	s.Watch(now.sources())
	s.Called("GetRun", "", 0)
	h := newHistory(s, chain("build", messages.Sticky_STICKY_SOFT))
	h.entry(0, startedRun(), bound(1, "w1", messages.Reason_REASON_FIRST), sent("a", 1, 1, "w1"))
	listed := map[string]metrics.Family{}
	for _, f := range s.Families() {
		if _, twice := listed[f.Name]; twice || f.Help == "" {
			t.Errorf("%s is listed twice, or without help", f.Name)
		}
		listed[f.Name] = f
	}
	families, err := s.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "limpet_") {
			continue
		}
		want, ok := listed[f.GetName()]
		kind := map[dto.MetricType]string{dto.MetricType_COUNTER: "counter", dto.MetricType_GAUGE: "gauge", dto.MetricType_HISTOGRAM: "histogram"}[f.GetType()]
		if !ok || kind != want.Type || f.GetHelp() != want.Help || (kind == "counter") != strings.HasSuffix(want.Name, "_total") {
			t.Errorf("%s is a %s, listed as %v", f.GetName(), kind, want)
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
			}
			if !slices.Equal(labels, slices.Sorted(slices.Values(want.Labels))) {
				t.Errorf("%s has the labels %v, listed as %v", f.GetName(), labels, want.Labels)
			}
		}
	}
}
