package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// What the worker actor hears of its leases. The context is that of all that runs
// under the lease: what was decided under one does not run under the next.
type (
	leaseBegan struct {
		term uint64
		ctx  context.Context
	}
	leaseEnded struct {
		term  uint64
		cause error
	}
)

// leaseContext ends the context of the present lease with it, without the detour
// by any mailbox.
type leaseContext struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc // nil before the first
}

func (l *leaseContext) begin(life context.Context) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(life)
	l.cancel = cancel
	return ctx
}

func (l *leaseContext) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel(cause)
	}
}

// firstLease: others see a worker once its first lease has begun. So nothing is
// sent to it before, when another worker may be given the run while what was sent is
// on its way, and no term tells it from what comes later. See package lease, H4.
type firstLease struct {
	once  sync.Once
	begun chan struct{}
}

// firstLeasePauses is for how long a worker waits for its first lease until it asks
// placement whether it is admitted still: a process that another one came after gets
// none.
var firstLeasePauses = backoff.Pauses{First: 2 * time.Second, Most: 30 * time.Second}

// admit returns once placement has admitted the worker, which register sees to, and
// its first lease has begun.
func (f *firstLease) admit(ctx context.Context, log *slog.Logger, register func(context.Context) error) error {
	for pauses := firstLeasePauses; ; {
		if err := register(ctx); err != nil {
			return err
		}
		pause := time.NewTimer(pauses.Next())
		select {
		case <-f.begun:
			pause.Stop()
			return nil
		case <-ctx.Done():
			pause.Stop()
			return messages.Errorf(messages.CodeUnavailable, "no server granted the worker a lease: %w", context.Cause(ctx))
		case <-pause.C:
			log.Warn("the worker is admitted, but no server grants it a lease: those that have just begun, or reach neither each other nor their store, grant none")
		}
	}
}

// leaseChanged cancels what runs when the worker's lease ends, and has the rest
// of it done by the worker's actor. It waits for nothing.
func (w *Worker) leaseChanged(c cluster.LeaseChange) {
	if w.life.Err() != nil {
		return
	}
	if c.Held {
		w.root.Send(w.pid, leaseBegan{c.Term, w.lease.begin(w.life)})
		w.first.once.Do(func() { close(w.first.begun) })
		if c.Term > 0 {
			// While it had none the id may have gone to another process. A process that
			// was paused and kept its lease has nothing to ask.
			w.cfg.Logger.Info("the worker has a lease again; asking whether its worker id still belongs to it")
			w.reporter.registerAgain()
		}
		return
	}
	cause := messages.Errorf(messages.CodeLeaseExpired,
		"the lease of worker %q has expired: it reached no server, or got no processor, for so long that its runs may be given to others", w.info.WorkerId)
	w.lease.end(cause)
	w.root.Send(w.pid, leaseEnded{c.Term, cause})
	go w.cfg.Hooks.leaseLost() // nothing waits for a hook of the user here
	w.cfg.Logger.Warn("the lease of the worker has expired: what runs is canceled, and nothing starts before it reaches a server")
}

// mayAct says whether the worker has a lease now. If it has just ended, the
// contexts of all that runs have ended too.
func (w *Worker) mayAct() bool { return w.node.HoldsLease() }
