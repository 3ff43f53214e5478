package worker

import (
	"context"
	"sync"

	"github.com/limpetrun/limpet/cluster"
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

// leaseChanged cancels what runs when the worker's lease ends, and has the rest
// of it done by the worker's actor. It waits for nothing.
func (w *Worker) leaseChanged(c cluster.LeaseChange) {
	if w.life.Err() != nil {
		return
	}
	if c.Held {
		w.root.Send(w.pid, leaseBegan{c.Term, w.lease.begin(w.life)})
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
	w.cfg.Logger.Warn("the lease of the worker has expired: what runs is canceled, and nothing starts before it reaches a server")
}

// mayAct says whether the worker has a lease now. If it has just ended, the
// contexts of all that runs have ended too.
func (w *Worker) mayAct() bool { return w.node.HoldsLease() }
