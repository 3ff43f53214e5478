package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Server counts what happens at a server. Its methods are safe for concurrent
// use, and quick.
type Server struct {
	*book
	runs    *runMetrics
	journal journalMetrics
	api     apiMetrics

	takeUps      prometheus.Observer
	takenUp      prometheus.Counter
	gained, lost prometheus.Counter
	changes      each[workerChange, prometheus.Counter]
}

type journalMetrics struct {
	took, size              prometheus.Observer
	bytes, refused, retries prometheus.Counter
}

type apiMetrics struct {
	calls each[apiCall, prometheus.Counter]
	took  each[string, prometheus.Observer]
}

type apiCall struct {
	method string
	code   messages.Code
}

type workerChange struct {
	state  run.WorkerState
	reason messages.Reason
}

// NewServer makes the metrics of a server that is about to start; Watch adds how
// things stand.
func NewServer() *Server {
	b := newBook()
	s := &Server{book: b, runs: newRunMetrics(b)}
	s.journal = journalMetrics{
		took: b.histogram("limpet_journal_append_seconds", "Time of a commit to the journal, with its further tries.", quick),
		size: b.histogram("limpet_journal_append_entries", "Entries that went into the journal in one commit.", []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512}),
	}
	s.journal.bytes = b.counter("limpet_journal_append_bytes_total", "Bytes of entries in commits.")
	s.journal.refused = b.counter("limpet_journal_conflicts_total", "Entries that the journal refused, for another activation of the run had gone on.")
	s.journal.retries = b.counter("limpet_journal_retries_total", "Commits that failed and were tried again: the journal was out of reach.")

	calls := b.counters("limpet_api_calls_total", "Calls of the API; queries of runs have the method AskRun. code: OK or a code of the errors.", "method", "code")
	s.api.calls.make = func(c apiCall) prometheus.Counter { return calls.WithLabelValues(c.method, string(c.code)) }
	took := b.histograms("limpet_api_call_seconds", "Time of a call of the API; WaitRun and WatchRun wait for what they are asked to.", quick, "method")
	s.api.took.make = func(method string) prometheus.Observer { return took.WithLabelValues(method) }

	s.takeUps = b.histogram("limpet_take_up_seconds", "Time in which the unfinished runs of shards that came here were brought back.", quick)
	s.takenUp = b.counter("limpet_runs_taken_up_total", "Unfinished runs that were brought back when their shards came here.")
	moves := b.counters("limpet_shards_moved_total", "Shards whose owner changed. to: here, elsewhere.", "to")
	s.gained, s.lost = moves.WithLabelValues("here"), moves.WithLabelValues("elsewhere")
	changes := b.counters("limpet_worker_changes_total", "Workers that came or began to go, as this server saw it: all servers see the same. change: up, draining, gone.", "change", "reason")
	s.changes.make = func(c workerChange) prometheus.Counter {
		return changes.WithLabelValues(c.state.String(), word(c.reason.String(), "REASON_"))
	}
	return s
}

// Commit counts a commit.
func (s *Server) Commit(c journal.CommitStats) {
	s.journal.took.Observe(c.Took.Seconds())
	s.journal.size.Observe(float64(c.Appends))
	s.journal.bytes.Add(float64(c.Bytes))
	s.journal.refused.Add(float64(c.Refused))
}

// CommitRetried counts a commit that is tried again.
func (s *Server) CommitRetried() { s.journal.retries.Inc() }

// Called counts a call of a method of the API. The code is empty for success.
func (s *Server) Called(method string, code messages.Code, took time.Duration) {
	if code == "" {
		code = "OK"
	}
	s.api.calls.of(apiCall{method, code}).Inc()
	observe(s.api.took.of(method), took)
}

// TakenUp counts runs that were brought back.
func (s *Server) TakenUp(runs int, took time.Duration) {
	s.takenUp.Add(float64(runs))
	s.takeUps.Observe(took.Seconds())
}

// ShardsMoved counts shards that this server owns now and did not, and the other
// way round.
func (s *Server) ShardsMoved(gained, lost int) {
	s.gained.Add(float64(gained))
	s.lost.Add(float64(lost))
}

// WorkerChanged counts news of a worker.
func (s *Server) WorkerChanged(c run.WorkerChanged) {
	s.changes.of(workerChange{c.State, c.Reason}).Inc()
}
