package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// placer models the placement actor of the pool.
type placer struct {
	sv      *server
	core    *placement.Core
	ticking bool
	askers  map[string]func(*messages.RegisterReply)
}

// askedWithin is how long a question is kept that is not asked again, and at most
// twice that: what is left of one whose withdrawal was lost is gone when it is
// quiet.
const askedWithin = quiet/2 - time.Second

// placeEvery is how often placement lets time pass.
const placeEvery = 100 * time.Millisecond

// toPlacement sends to whoever owns placement as far as the server sees.
func (sv *server) toPlacement(msg proto.Message) {
	owner := sv.ownerIn("placement", "default")
	if owner == nil {
		return
	}
	sv.sim.send(sv.proc, owner, "to placement", func() {
		if p := owner.server.placement(); p != nil {
			p.receive(msg)
		}
	})
}

// placement returns the placement of this server, which it begins if it owns
// it; everybody is told then that questions must be asked again.
func (sv *server) placement() *placer {
	if sv.ownerIn("placement", "default") != sv.proc {
		return nil
	}
	if sv.place != nil {
		return sv.place
	}
	sv.sim.tracef("%s begins placement", sv.address)
	p := &placer{sv: sv, core: placement.New(placement.Config{GrantsAfter: uint64(sv.engine().UnixMicro()),
		MovesPerSecond: sv.sim.world.movesPerSecond, AskedWithin: askedWithin}), askers: map[string]func(*messages.RegisterReply){}}
	sv.place = p
	for _, w := range sv.roster.holders() {
		p.workerChanged(sv.roster.up(w.WorkerID), w.State)
	}
	p.announce(true)
	for _, after := range []time.Duration{time.Second, 5 * time.Second} {
		sv.later(after, func() {
			if sv.place == p {
				p.announce(false)
			}
		})
	}
	return p
}

// announce tells the servers that this placement knows no questions.
func (p *placer) announce(own bool) {
	for _, q := range p.sv.sim.procs {
		if q.server != nil && (q == p.sv.proc && own || p.sv.sees[q]) {
			p.sv.sim.send(p.sv.proc, q, "placement started", q.server.placementReset)
		}
	}
}

func (p *placer) workerChanged(w *worker, state run.WorkerState) {
	now := p.sv.clock()
	switch state {
	case run.WorkerUp:
		p.do(p.core.WorkerUp(w.info, now))
	case run.WorkerDraining:
		p.do(p.core.WorkerUp(w.info, now))
		p.do(p.core.WorkerDraining(w.id, w.inc(), now))
	case run.WorkerGone:
		p.do(p.core.WorkerGone(w.id, w.inc(), now))
	}
}

func (p *placer) receive(msg proto.Message) {
	now := p.sv.clock()
	switch m := msg.(type) {
	case *messages.Place:
		p.do(p.core.Ask(m, now))
	case *messages.WithdrawPlace:
		p.do(p.core.Withdraw(m, now))
	case *messages.RunUnbound:
		p.do(p.core.RunUnbound(m, now))
	case *messages.LoadReport:
		p.do(p.core.Report(m, now))
	}
}

func (p *placer) do(actions []placement.Action) {
	s := p.sv.sim
	for _, action := range actions {
		switch act := action.(type) {
		case placement.Answer:
			p.answer(act)
		case placement.ListBound:
			p.sv.later(s.dice.between(time.Millisecond, 5*time.Millisecond), func() { p.listBound(act.WorkerID) })
		case placement.Introduce:
			w := s.byRef[act.WorkerID+"~"+act.Incarnation]
			s.send(p.sv.proc, w.proc, "register again", w.registerAgain)
		case placement.Summon:
			if w := p.sv.roster.up(act.WorkerID); w != nil && w.inc() == act.Incarnation {
				s.send(p.sv.proc, w.proc, "report here", func() { w.reportTo(p) })
			}
		default:
			p.admission(action)
		}
	}
	s.must(p.core.Check())
	if !p.ticking && p.core.NeedsTick() {
		p.ticking = true
		p.sv.later(placeEvery, p.tick)
	}
}

func (p *placer) tick() {
	p.ticking = false
	if p.sv.place == p {
		p.do(p.core.Tick(p.sv.clock()))
	}
}

func (p *placer) answer(act placement.Answer) {
	s := p.sv.sim
	a := s.monitor.actors[act.ActorID]
	if a == nil {
		return
	}
	var msg proto.Message = act.Waiting
	if act.Placed != nil {
		msg = act.Placed
	}
	s.send(p.sv.proc, a.sv.proc, "from placement", func() { a.receive(msg) })
}

// listBound reads the runs that are bound to a worker.
func (p *placer) listBound(workerID string) {
	if p.sv.place != p {
		return
	}
	s := p.sv.sim
	if s.journalDown() || s.faulty() && s.dice.chance(s.world.diskFails) {
		p.do(p.core.BoundRunsFailed(workerID, p.sv.clock()))
		return
	}
	rows, _, err := s.store.List(background, journal.Filter{BoundWorker: workerID,
		Statuses: []messages.RunStatus{messages.RunStatus_RUN_STATUS_RUNNING}}, 1000, "")
	if err != nil {
		panic(err)
	}
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].RunID
	}
	p.do(p.core.BoundRuns(workerID, ids, p.sv.clock()))
}

// welcome has a server that is there again ask its questions again.
func (p *placer) welcome(q *proc) {
	tell := func() { p.sv.sim.send(p.sv.proc, q, "placement started", q.server.placementReset) }
	tell()
	p.sv.later(time.Second, tell)
}

// askersGone: a server has gone, and its questions with it.
func (p *placer) askersGone(address string) { p.do(p.core.AskersGone(address, p.sv.clock())) }
