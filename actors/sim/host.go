package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// What is around the real core of a server's host: the journal, which answers
// late or not at all, the network, and what the server knows.

// sweepTurn is short, so that what it makes up for is not rare.
const sweepTurn = 5 * time.Second

// pageSize is small, so that a full page is not rare.
const pageSize = 3

const (
	// offerTry is how long the new owner of shards is waited for.
	offerTry = time.Second
	// passTries and passPause are how often, and with what pause, the new owner
	// of a run is looked for.
	passTries = 3
	passPause = time.Second
)

func newHost(sv *server) *activation.Host {
	return activation.NewHost(activation.HostConfig{Facts: facts{sv}, Shards: shards, ShardOf: shardOf, Run: sv.sim.runConfig,
		PageSize: pageSize, LineMax: sv.sim.world.lineMax, LineLeast: 1, SweepTurn: sweepTurn, SweepTurnAlone: sweepTurn})
}

// facts is what a server knows.
type facts struct{ sv *server }

func (f facts) Owns(runID string) bool { return f.sv.ownerOfRun(runID) == f.sv.proc }

func (f facts) OwnerOf(shard int) string {
	owner := f.sv.ownerIn("shard", shardNames[shard])
	if owner == nil || owner == f.sv.proc {
		return ""
	}
	return owner.address
}

func (f facts) Alone() bool {
	for p, seen := range f.sv.sees {
		if seen && p.server != nil {
			return false
		}
	}
	return true
}

func (f facts) LeaseMark() uint64 { return f.sv.lease.Mark() }

func (f facts) LeaseTerm(w *messages.WorkerRef, mark uint64) (uint64, bool) {
	return f.sv.lease.Term(processKey(w), mark)
}

func (f facts) InfoOf(ref *messages.WorkerRef) *messages.WorkerInfo {
	if w := f.sv.roster.up(ref.WorkerId); w != nil && w.inc() == ref.Incarnation {
		return w.info
	}
	return nil
}

func (f facts) UpWorkers() []string {
	var ids []string
	for _, w := range f.sv.roster.holders() {
		if w.State == run.WorkerUp {
			ids = append(ids, w.WorkerID)
		}
	}
	return ids
}

func (f facts) Absences() []run.Absence {
	if !f.sv.absencesRead {
		return activation.Unread(f.sv.engine())
	}
	return f.sv.absences
}

func (f facts) ToEngine(wall time.Time) time.Time { return wall }

func (f facts) Backlog() int { return f.sv.appending }

func (f facts) Waits(change int) int {
	f.sv.waits += change
	return f.sv.waits
}

// handle gives an input to the host. Mailboxes get what is for them at once.
func (sv *server) handle(in activation.Input) {
	actions := sv.host.Handle(in, sv.engine())
	for _, action := range actions {
		switch act := action.(type) {
		case activation.Spawn:
			sv.spawn(act.Activation)
		case activation.Tell:
			act.Activation.Address.(*actor).receive(act.Message, act.Sender)
		}
	}
	sv.sim.must(sv.host.Check())
	for _, action := range actions {
		sv.do(action)
	}
}

func (sv *server) spawn(core *activation.Activation) {
	a := &actor{sv: sv, core: core}
	core.Address = a
	sv.sim.monitor.actors[a.pid()] = a
	a.receive(beginIt{})
}

func (sv *server) do(action activation.Action) {
	s := sv.sim
	switch act := action.(type) {
	case *activation.Read:
		sv.read(act)
	case activation.AppendParked:
		sv.appendParked(act)
	case activation.ReadRow:
		sv.reading(func(err error) activation.Input {
			in := activation.RowRead{Of: act, Err: err}
			if err == nil {
				var rec journal.Record
				rec, in.Err = s.store.Entries(background, act.RunID, 0, 0)
				in.Row = rec.Row
			}
			return in
		})
	case activation.Later:
		sv.later(act.After+s.dice.between(0, act.Spread), func() { sv.handle(act.Input) })
	case activation.Offer:
		sv.offer(act)
	case activation.Taken:
		act.Asker.(func())()
	case activation.StartDone:
		act.Starting.Done.(func(error))(messages.FromFailure(act.Reply.Error))
	case activation.SendOver:
		sv.sendOver(act, passTries)
	case activation.Respond:
		act.To.(asker)(act.Message)
	case activation.Begun:
		s.tracef("%s begins anew", sv.address)
		sv.viewChanged()
	case activation.Recovered:
		s.tracef("%s has brought back %d runs in %v", sv.address, act.Runs, act.Took)
	}
}

// appendParked makes the first entry of a run durable that has no activation.
func (sv *server) appendParked(act activation.AppendParked) {
	id := act.State.RunID
	sv.sim.monitor.counts.Parked++
	sv.appending++
	sv.sim.store.append(sv, journal.Append{RunID: id, Number: 1, Entry: marshal(act.Entry), Row: projection.Row(act.State, shardOf(id))}, func(err error) {
		sv.appending--
		sv.handle(activation.Parked{Of: act, Err: err})
	})
}

// deliver gives a message to the run's activation, which is made if need be.
func (sv *server) deliver(runID string, message, sender any) {
	sv.handle(activation.Deliver{RunID: runID, Message: message, Sender: sender})
}

// start starts a run.
func (sv *server) start(msg *messages.StartRun, done func(error)) {
	sv.handle(activation.Start{Starting: &activation.Starting{Message: msg, Def: sv.sim.work.byHash[msg.Start.DefinitionHash].Def, Done: done}})
}

// ---- the journal ---------------------------------------------------------------

// reading reads after a while, or fails to, and handles what it found a while
// later.
func (sv *server) reading(read func(err error) activation.Input) {
	sv.asking(func(err error) func() {
		in := read(err)
		return func() { sv.handle(in) }
	})
}

// asking asks the journal: ask is called when it reads, and what it returns when
// the answer arrives.
func (sv *server) asking(ask func(err error) func()) {
	s := sv.sim
	sv.later(s.dice.between(100*time.Microsecond, 3*time.Millisecond), func() {
		var err error
		if sv.journalDown() || s.faulty() && s.dice.chance(s.world.diskFails) {
			err = unavailable
		}
		answer := ask(err)
		sv.later(s.dice.between(100*time.Microsecond, 2*time.Millisecond), answer)
	})
}

// load reads a run for its activation.
func (sv *server) load(a *actor) {
	sv.asking(func(err error) func() {
		loaded := &activation.Loaded{Err: err}
		if err == nil {
			if loaded.Record, loaded.Err = sv.sim.store.Load(background, a.id()); loaded.Err == nil {
				loaded.Def = sv.sim.work.byHash[loaded.Record.Row.DefinitionHash].Def
			}
		}
		return func() { a.receive(loaded) }
	})
}

// compare finds out whether the journal has more of a run than its activation.
func (sv *server) compare(a *actor, act activation.Compare) {
	sv.asking(func(err error) func() {
		answer := activation.Compared{Of: act, Err: err}
		if err == nil {
			var rec journal.Record
			rec, answer.Err = sv.sim.store.Entries(background, a.id(), act.After, 1)
			answer.More = len(rec.Entries) > 0
		}
		return func() { a.receive(answer) }
	})
}

func (sv *server) read(act *activation.Read) {
	sv.asking(func(err error) func() {
		if err != nil {
			return func() { sv.handle(activation.Page{Of: act, Err: err}) }
		}
		inputs := sv.query(act)
		return func() {
			for _, in := range inputs {
				sv.handle(in)
			}
		}
	})
}

// query is what the journal says: inputs of which the last is a page.
func (sv *server) query(act *activation.Read) []activation.Input {
	st := sv.sim.store
	var inputs []activation.Input
	var records []journal.Record
	var err error
	page := activation.Page{Of: act}
	switch act.Query {
	case activation.ReadActive:
		records, err = st.Active(background, act.Shards, act.After, act.Limit)
	case activation.ReadWokenByUp:
		records, err = st.WokenByUp(background, act.Shards, act.WorkerID, act.After, act.Limit)
	case activation.ReadWokenByGone:
		records, err = st.WokenByGone(background, act.Shards, act.WorkerID, act.After, act.Limit)
	case activation.ReadInLine:
		records, err = st.InLine(background, act.Shards, act.Line, act.Place, act.Limit)
	case activation.ReadLines:
		page.Lines, err = st.Lines(background, act.Shards)
	case activation.ReadWatched:
		page.Workers, err = st.WatchedWorkers(background, act.Shards)
	case activation.ReadHeads:
		var heads []journal.Head
		heads, err = st.Heads(background, act.Shards, act.After, act.Limit)
		for _, head := range heads {
			inputs = append(inputs, activation.Head{Of: act, Head: head})
		}
	case activation.ReadDue:
		var due []string
		due, page.Next, err = st.Due(background, act.Shards, act.At, act.Limit)
		for _, id := range due {
			inputs = append(inputs, activation.Found{Of: act, RunID: id})
		}
	}
	if err != nil {
		panic(err)
	}
	for _, r := range records {
		inputs = append(inputs, activation.Record{Of: act, Loaded: activation.Loaded{Record: r, Def: sv.sim.work.byHash[r.Row.DefinitionHash].Def}})
	}
	page.Count = len(inputs)
	return append(inputs, page)
}

// ---- other servers ---------------------------------------------------------------

// offer asks the new owner of shards once.
func (sv *server) offer(act activation.Offer) {
	s, owner := sv.sim, sv.sim.procOf(act.Owner)
	over := false
	answer := func(taken bool) {
		if !over {
			over = true
			sv.handle(activation.Offered{Of: act, Taken: taken})
		}
	}
	s.send(sv.proc, owner, "shards released", func() {
		owner.server.handle(activation.ShardsReleased{Shards: act.Shards, Asker: func() {
			s.send(owner, sv.proc, "shards taken", func() { answer(true) })
		}})
	})
	sv.later(offerTry, func() { answer(false) })
}

// sendOver looks for the owner of a run, and gives it a result.
func (sv *server) sendOver(act activation.SendOver, tries int) {
	owner := sv.ownerOfRun(act.RunID)
	switch {
	case owner != nil && owner != sv.proc:
		sv.sim.monitor.counts.PassedOver++
		sv.sim.send(sv.proc, owner, "a result of "+act.RunID, func() { owner.server.deliver(act.RunID, act.Result, nil) })
	case tries > 1:
		sv.later(passPause, func() { sv.sendOver(act, tries-1) })
		return
	}
	sv.handle(activation.PassedOver{})
}

// askBound asks the owners of runs whether they are still bound to a worker.
func (w *worker) askBound(runs []*messages.BoundRun) {
	s := w.sim
	for _, b := range runs {
		owner := w.ownerOfRun(b.RunId)
		if owner == nil {
			continue
		}
		s.monitor.counts.StillBound++
		bound := activation.Bound{Worker: w.ref(), Epoch: b.Epoch, To: asker(func(answer any) {
			s.must(s.monitor.sent(w.ref(), answer.(proto.Message)))
			s.send(owner, w.proc, "to worker", func() { w.receive(answer.(proto.Message)) })
		})}
		s.send(w.proc, owner, "still bound?", func() { owner.server.handle(activation.StillBound{RunID: b.RunId, Bound: bound}) })
	}
}
