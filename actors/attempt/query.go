package attempt

import (
	"context"

	"github.com/limpetrun/limpet/messages"
)

// Query answers a question to the live state of a run, beside its steps, and returns
// the answer as JSON. The context ends when the time of the question is over, with the
// worker's lease, and when the worker stops. What it returns as an error, or panics
// with, is the caller's to catch.
type Query func(ctx context.Context, q *Question) ([]byte, error)

// Queries of a worker, by workflow and name.
type Queries map[string]map[string]Query

// Question is one call of a query. It belongs to the function until it returns.
type Question struct {
	// Ask is what was asked; not to be changed.
	Ask *messages.AskWorker
	// Worker is the process that answers.
	Worker *messages.WorkerInfo
	// Peek returns the value of local state that the run has here, and never builds
	// it. The value is not released before the function has returned. Errors:
	// STATE_NOT_THERE; INVALID_ARGUMENT if the workflow does not have it.
	Peek func(of *Local) (any, error)
}
