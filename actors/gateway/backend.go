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
	// CancelRun records the wish to cancel. UNKNOWN_RUN, RUN_FINISHED.
	CancelRun(ctx context.Context, runID, reason string) error
	// SignalRun records a message in the run's mailbox. UNKNOWN_RUN, RUN_FINISHED,
	// LIMIT_EXCEEDED, IDEMPOTENCY_MISMATCH.
	SignalRun(ctx context.Context, msg *messages.SignalRun) error
	// ReplayRun runs steps of a finished run again; none means all.
	// UNKNOWN_RUN, UNKNOWN_STEP, RUN_NOT_FINISHED.
	ReplayRun(ctx context.Context, runID string, steps []string, requestID string) error
	// WatchRun is one long poll for entries. UNKNOWN_RUN, here or in the reply.
	WatchRun(ctx context.Context, w *messages.WatchRun) (*messages.WatchRunReply, error)
	// LoadRun returns a run folded from its history. UNKNOWN_RUN.
	LoadRun(ctx context.Context, runID string) (*api.GetRunResponse, error)
	// ListRuns returns runs, newest first, and the token of the next page.
	ListRuns(ctx context.Context, f journal.Filter, limit int, token string) ([]*api.Run, string, error)
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
	Members(ctx context.Context) []*api.Member
}
