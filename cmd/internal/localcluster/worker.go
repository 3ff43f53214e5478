package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/worker"
)

// workerConfig goes to a worker process.
type workerConfig struct {
	ID    string
	Join  []string
	Slots int
	// LedgerDir holds the ledgers, a file each process.
	LedgerDir  string
	FlushEvery time.Duration
}

// workerUp is the answer of a worker process that has been admitted.
type workerUp struct{ Incarnation string }

// Workflows makes the workflows that a worker process serves; their steps
// record what they do.
type Workflows func(*ledger.Writer) []sdk.AnyWorkflow

type workerChild struct {
	workflows Workflows
	ledger    *ledger.Writer
	cancel    context.CancelFunc
	ended     chan error
}

// WorkerChild is the code of a worker process that serves workflows.
func WorkerChild(w Workflows) procs.Child {
	return &workerChild{workflows: w, ended: make(chan error, 1)}
}

var _ procs.Child = (*workerChild)(nil)

func (w *workerChild) Start(ctx context.Context, config json.RawMessage) (any, error) {
	var c workerConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	incarnation := strings.ToLower(ulid.Make().String())
	var err error
	if w.ledger, err = ledger.Create(filepath.Join(c.LedgerDir, incarnation+".ledger"), c.ID, incarnation, c.FlushEvery); err != nil {
		return nil, err
	}
	process, err := worker.New(worker.Config{
		ID: c.ID, Join: c.Join, Slots: c.Slots, Preset: cluster.LocalConfig(), Logger: processLogger(), Grace: 5 * time.Second,
		Cluster: func(c *cluster.Config) { c.Incarnation = incarnation },
	}, w.workflows(w.ledger)...)
	if err != nil {
		return nil, err
	}
	// Not ctx: Stop ends the worker in order.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	go func() { w.ended <- process.Run(running) }()
	select {
	case <-process.Ready():
		return workerUp{Incarnation: incarnation}, nil
	case err := <-w.ended:
		if err == nil {
			err = messages.Errorf(messages.CodeInternal, "worker %q ended before it was ready", c.ID)
		}
		return nil, err
	case <-ctx.Done():
		cancel()
		return nil, ctx.Err()
	}
}

// Orders that a worker process knows.
const (
	// orderFlush writes the ledger.
	orderFlush = "flush"
	// orderCount asks for the number of executions.
	orderCount = "count"
)

func (w *workerChild) Do(_ context.Context, order string, _ json.RawMessage) (any, error) {
	switch order {
	case orderFlush:
		return nil, w.ledger.Flush()
	case orderCount:
		return w.ledger.Count(), nil
	}
	return nil, messages.Errorf(messages.CodeInvalidArgument, "a worker process knows no order %q", order)
}

func (w *workerChild) Done() <-chan error { return w.ended }

func (w *workerChild) Stop(ctx context.Context) error {
	if w.cancel == nil {
		return nil
	}
	w.cancel()
	select {
	case err := <-w.ended:
		return errors.Join(err, w.ledger.Close())
	case <-ctx.Done():
		return ctx.Err()
	}
}
