package gateway

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Backend is what the gateway stands before: the engine of a server, or in tests
// one in memory. Its methods may be called concurrently, block until done or
// until ctx ends, and return errors of the catalogue. What they return belongs to
// the caller, except for definitions, which are shared and not to be changed.
type Backend interface {
	// StartRuns starts runs and returns one reply for each, in order. What a
	// reply without an error says is durable. An error means that nothing is
	// known of any: the same call may be made again.
	StartRuns(ctx context.Context, runs []*messages.StartRun) ([]*messages.StartRunReply, error)
	// CancelRun records the wish to cancel. UNKNOWN_RUN, RUN_FINISHED, RUN_ENDING.
	CancelRun(ctx context.Context, msg *messages.CancelRun) error
	// SignalRun records a message in the run's mailbox. UNKNOWN_RUN, RUN_FINISHED,
	// LIMIT_EXCEEDED, IDEMPOTENCY_MISMATCH.
	SignalRun(ctx context.Context, msg *messages.SignalRun) error
	// AskRun asks the live state of a run, on the worker that it is bound to; the arg is
	// JSON. UNKNOWN_RUN, RUN_FINISHED, NOT_BOUND, WORKER_AWAY, STATE_NOT_THERE,
	// UNKNOWN_QUERY, QUERY_TIMED_OUT, QUERY_PANICKED, QUERY_FAILED, LIMIT_EXCEEDED,
	// PAYLOAD_TOO_LARGE, INVALID_ARGUMENT for an arg that the query cannot read.
	AskRun(ctx context.Context, runID, query string, arg []byte, within time.Duration) (*api.AskRunResponse, error)
	// ReplayRun runs steps of a finished run again; none means all.
	// UNKNOWN_RUN, UNKNOWN_STEP, RUN_NOT_FINISHED.
	ReplayRun(ctx context.Context, runID string, steps []string, requestID string) error
	// WatchRun is one long poll for entries. UNKNOWN_RUN, here or in the reply.
	WatchRun(ctx context.Context, w *messages.WatchRun) (*messages.WatchRunReply, error)
	// ReadLog returns chunks of a run's log after a place, and whether the run has ended.
	// UNKNOWN_RUN.
	ReadLog(ctx context.Context, runID string, after int64) (chunks []*api.ReadLogResponse, ended bool, err error)
	// ReadStream is one long poll for pieces of a stream. UNKNOWN_RUN, UNKNOWN_STREAM,
	// INVALID_ARGUMENT for a place that lies ahead, here or in the reply.
	ReadStream(ctx context.Context, m *messages.ReadStream) (*messages.ReadStreamReply, error)
	// LoadRun returns a run folded from its history. UNKNOWN_RUN.
	LoadRun(ctx context.Context, runID string) (*api.GetRunResponse, error)
	// Attempts returns the attempts of a run, and when its steps waited. UNKNOWN_RUN.
	Attempts(ctx context.Context, runID string) (*api.ListAttemptsResponse, error)
	// Watch calls each with what happens in the cluster, by topics, none for all: after a
	// position, or from now on. It ends with the context, or with the error of each.
	// INVALID_ARGUMENT for what is no position.
	Watch(ctx context.Context, topics []string, position string, each func(*api.WatchResponse) error) error
	// WorkerAttempts returns attempts that a worker had between two times, and the token of
	// the next page.
	WorkerAttempts(ctx context.Context, workerID string, from, to time.Time, limit int, token string) ([]*api.Attempt, string, error)
	// ListRuns returns runs, newest first, and the token of the next page.
	ListRuns(ctx context.Context, f journal.Filter, limit int, token string) ([]*api.Run, string, error)
	// CountRuns counts runs by workflow and status, in this order, up to a limit of each.
	CountRuns(ctx context.Context, f journal.Filter, limit int) ([]journal.GroupCount, error)
	// PublishEvent makes an event durable and begins to deliver it to the calls of runs
	// that wait for it. delivered waits for that, no longer than for its context: of how
	// many it decided the wait, and conditions that could not be evaluated.
	// IDEMPOTENCY_MISMATCH.
	PublishEvent(ctx context.Context, event journal.Event) (delivered func(context.Context) (waits int, failed []*api.FailedCondition), err error)
	// Events returns events that are kept, in the order in which they were published.
	Events(ctx context.Context, f journal.EventFilter, after uint64, limit int) ([]journal.Event, error)
	// Workflow returns a workflow in its current version. UNKNOWN_WORKFLOW, naming
	// those that there are.
	Workflow(ctx context.Context, name string) (definitions.Workflow, error)
	// Workflows returns every workflow in its current version.
	Workflows(ctx context.Context) ([]definitions.Served, error)
	// Versions returns the versions of a workflow, the newest first.
	// UNKNOWN_WORKFLOW.
	Versions(ctx context.Context, name string) ([]*api.WorkflowVersion, error)
	// UseVersion makes a version current, named by how its hash begins.
	// UNKNOWN_WORKFLOW, also for an unknown version; INVALID_ARGUMENT if several
	// begin so.
	UseVersion(ctx context.Context, name, hash string) (definitions.Served, error)
	// RetireWorkflow lets a workflow start no new runs, and RestoreWorkflow again.
	// UNKNOWN_WORKFLOW.
	RetireWorkflow(ctx context.Context, name string) (definitions.Served, error)
	RestoreWorkflow(ctx context.Context, name string) (definitions.Served, error)
	// DrainWorker lets a worker take on nothing new, and UndrainWorker again;
	// both return it as it is then. A deadline of 0 is the worker's own grace.
	// UNKNOWN_WORKER, WORKER_ENDING for one whose process was told to end.
	DrainWorker(ctx context.Context, workerID string, deadline time.Duration) (*api.Worker, error)
	UndrainWorker(ctx context.Context, workerID string) (*api.Worker, error)
	// Workers and Members return what this server sees now.
	Workers(ctx context.Context) []*api.Worker
	// WorkerEvents returns what this server has seen become of a worker, in order.
	WorkerEvents(workerID string) []*api.WorkerEvent
	Members(ctx context.Context) []*api.Member
}
