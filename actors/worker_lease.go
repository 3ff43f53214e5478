package actors

import (
	"context"
	"sync"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// What the worker actor hears of its leases.
type (
	leaseBegan struct{ term uint64 }
	leaseEnded struct {
		term  uint64
		cause error
	}
)

// workerLease is the context of all that runs under one lease of the worker. It
// ends with the lease, without the detour by any mailbox.
type workerLease struct {
	mu     sync.Mutex
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// context is that of the present lease; it has ended if there is none.
func (l *workerLease) context() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctx
}

func (l *workerLease) begin(life context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx, l.cancel = context.WithCancelCause(life)
}

func (l *workerLease) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel(cause)
}

// newWorkerLease makes one that has ended.
func newWorkerLease(w *Worker) *workerLease {
	l := &workerLease{}
	l.begin(w.life)
	l.end(messages.Errorf(messages.CodeLeaseExpired, "worker %q has not reached a server yet", w.info.WorkerId))
	return l
}

// leaseChanged cancels what runs when the worker's lease ends, and has the rest
// of it done by the worker's actor. It waits for nothing.
func (w *Worker) leaseChanged(c cluster.LeaseChange) {
	if w.life.Err() != nil {
		return
	}
	if c.Held {
		w.lease.begin(w.life)
		w.root.Send(w.pid, leaseBegan{c.Term})
		if c.Term > 0 {
			w.cfg.Logger.Info("the worker has a lease again")
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
