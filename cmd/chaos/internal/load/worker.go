package load

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/worker"
)

// workerGrace is how long the steps of a worker that is told to stop may go on.
const workerGrace = 5 * time.Second

// sharedIdle is how long shared local state stays that nobody uses.
const sharedIdle = 2 * time.Second

// WorkerConfig says what a worker process is. ID, Join and LedgerDir are
// required.
type WorkerConfig struct {
	ID string
	// Join holds gossip addresses of members.
	Join []string
	// Bind and Gossip are the addresses that actors and membership listen at,
	// AdvertiseHost the host by which others reach them; as in worker.Config.
	Bind, Gossip, AdvertiseHost string
	Secret                      string
	// Slots defaults to 20.
	Slots int
	// LedgerDir holds the ledgers, one a process.
	LedgerDir string
	// Preset of the membership. Defaults to cluster.LocalConfig.
	Preset cluster.Preset
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Ready is called once the worker is admitted; nil is allowed.
	Ready func(incarnation string)
}

// RunWorker is the body of a worker process: it serves the workflows of the
// load until ctx ends or the process is told to stop, and then drains. Errors
// are those of worker.Worker.Run, and of a ledger that cannot be written.
func RunWorker(ctx context.Context, config WorkerConfig) error {
	if config.LedgerDir == "" {
		return messages.Errorf(messages.CodeInvalidArgument, "worker %q has no directory for its ledger", config.ID)
	}
	if config.Slots == 0 {
		config.Slots = 20
	}
	p := &process{}
	w, err := worker.New(worker.Config{
		ID: config.ID, Join: config.Join, Slots: config.Slots, BindAddress: config.Bind, GossipAddress: config.Gossip,
		AdvertiseHost: config.AdvertiseHost, Secret: config.Secret, Preset: config.Preset, Grace: workerGrace, Logger: config.Logger,
		SharedLocalsIdle: sharedIdle,
	}, p.workflows()...)
	if err != nil {
		return err
	}
	p.ledger, err = ledger.Create(filepath.Join(config.LedgerDir, w.Incarnation()+".ledger"), w.ID(), w.Incarnation(), 0)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-w.Ready():
			p.ledger.Ready()
			if config.Ready != nil {
				config.Ready(w.Incarnation())
			}
		case <-ended:
		}
	}()
	return errors.Join(w.RunUntilSignal(ctx), p.ledger.Flush())
}
