package server

import (
	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// What a run's messages say of its workers' leases.
//
// A worker that has a lease again executes what comes under its new term. An
// activation that has not noticed that the run went to another worker meanwhile
// must not send under that term: it uses what the server knew before the
// activation was last shown to be the newest, by an entry that was stored or by
// the reading of the history. See package lease.

// sendWorker sends to a worker actor. An attempt whose worker has a term that the
// activation may not use is lost, for the lease that it was sent under has ended;
// if another activation went on, the entry that says so conflicts.
func (a *runActor) sendWorker(ctx actor.Context, to *messages.WorkerRef, msg proto.Message) {
	switch m := msg.(type) {
	case *messages.Dispatch:
		term, known := a.leaseTerm(to)
		if !known && !m.TakeUp {
			ctx.Send(a.self, run.LeaseLost(m, to))
			return
		}
		m.LeaseTerm = term
	case *messages.HandOff:
		term, known := a.leaseTerm(to)
		if !known {
			return // It is asked again, or goes without.
		}
		m.LeaseTerm = term
	}
	a.host.sendWorker(a.self, to, msg)
}

// leaseTerm is the term to send under; false if the activation may not use it.
func (a *runActor) leaseTerm(to *messages.WorkerRef) (uint64, bool) {
	return a.host.cfg.Node.LeaseTermOf(to.WorkerId, to.Incarnation, a.mark)
}
