package sim

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster/lease"
	"github.com/limpetrun/limpet/messages"
)

// server models a server process: the host of runs, its roster and, if it owns
// the pool, placement.
type server struct {
	*proc
	roster *watcher
	place  *placer
	// placeOwner is where placement was in the last view.
	placeOwner *proc

	lease *lease.Granter
	// judging are silent workers whose leases may not have ended.
	judging map[*proc]bool
	// serial of the last heartbeat.
	serial uint64

	active map[string]*activation
	// order of the activations that are in the map, for what goes to all.
	order []*activation
	seq   int
	owned [shards]bool
	// wakeAt is when dormant runs are looked for next; zero for never.
	wakeAt time.Time
	wakes  int
}

// againAfter is the wait before a run whose activation failed is loaded anew.
const againAfter = 500 * time.Millisecond

// pageSize is small, so that a full page is not rare.
const pageSize = 3

func (s *Sim) startServer(id string) *server {
	p := s.newProc(id)
	p.member, s.bornAt = memberReady, s.now
	sv := &server{proc: p, active: map[string]*activation{}, judging: map[*proc]bool{}, lease: lease.NewGranter(leaseConfig, p.clock())}
	sv.roster = newWatcher(sv)
	p.server = sv
	s.tracef("server %s starts", p.address)
	s.reconsider()
	sv.later(s.dice.between(5*time.Millisecond, 50*time.Millisecond), func() {
		sv.viewChanged()
		sv.kick(sv.clock())
	})
	sv.later(sweepEvery, sv.sweep)
	sv.later(s.dice.between(time.Millisecond, 50*time.Millisecond), func() {
		sv.lease.Activate(true)
		sv.leaseLoop()
	})
	return sv
}

// sweepEvery is how often a server looks for runs of its shards that nobody
// brought back: another server may have started them while the two disagreed
// about who owns what, and this one has gained no shard since.
const sweepEvery = 5 * time.Second

func (sv *server) sweep() {
	if own := sv.ownedShards(); len(own) > 0 {
		sv.recover(own)
	}
	sv.later(sweepEvery, sv.sweep)
}

// ---- ownership ---------------------------------------------------------------

func (sv *server) owns(runID string) bool { return sv.ownerOfRun(runID) == sv.proc }

// viewChanged takes up shards that became this server's and drops the
// activations of those that went elsewhere.
func (sv *server) viewChanged() {
	var gained []int
	for shard := range shards {
		mine := sv.ownerIn("shard", shardNames[shard]) == sv.proc
		if mine && !sv.owned[shard] {
			gained = append(gained, shard)
		}
		sv.owned[shard] = mine
	}
	for _, a := range slices.Clone(sv.order) {
		if !sv.owned[shardOf(a.id)] {
			sv.later(tiny, a.drop)
		}
	}
	if sv.place != nil && sv.ownerIn("placement", "default") != sv.proc {
		sv.sim.tracef("%s gives placement up", sv.address)
		sv.place = nil
	}
	if owner := sv.ownerIn("placement", "default"); owner != sv.placeOwner {
		sv.placeOwner = owner
		sv.placementReset()
	}
	if len(gained) > 0 {
		sv.recover(gained)
	}
}

// placementReset has every question asked again: placement is another one.
func (sv *server) placementReset() {
	for _, a := range slices.Clone(sv.order) {
		a.receive(run.PlacementReset{})
	}
}

// recover brings back the unfinished runs of shards, and those that wait for
// what may have come while nobody owned them.
func (sv *server) recover(gained []int) {
	sv.later(sv.sim.dice.between(time.Millisecond, 10*time.Millisecond), func() {
		if sv.sim.journalDown() {
			sv.later(againAfter, func() { sv.recover(gained) })
			return
		}
		after := ""
		for {
			records, err := sv.sim.store.Active(background, gained, after, pageSize)
			if err != nil {
				panic(err)
			}
			for _, r := range records {
				after = r.Row.RunID
				sv.bringBack(r)
			}
			if len(records) < pageSize {
				break
			}
		}
		watched, _ := sv.sim.store.WatchedWorkers(background, gained)
		for _, id := range watched {
			sv.wakeBy(gained, id, run.WorkerGone)
		}
		for _, w := range sv.roster.holders() {
			sv.wakeBy(gained, w.WorkerID, run.WorkerUp)
		}
		sv.kick(sv.clock())
	})
}

// bringBack activates a run. An activation that is behind the journal is
// dropped first: another server went on with the run while the two disagreed.
func (sv *server) bringBack(r journal.Record) {
	id := r.Row.RunID
	if a := sv.active[id]; a != nil && a.m != nil && a.m.State().Number < uint64(len(r.Entries)) {
		a.drop()
	}
	sv.activation(id, nil)
}

// beginAnew drops all activations and reads what is unfinished from the
// journal: this server was frozen, or had been declared gone, and what it
// holds in memory may be old.
func (sv *server) beginAnew() {
	sv.sim.tracef("%s begins anew", sv.address)
	for _, a := range slices.Clone(sv.order) {
		a.drop()
	}
	sv.owned = [shards]bool{}
	sv.viewChanged()
}

func (sv *server) ownedShards() []int {
	list := []int{}
	for shard, mine := range sv.owned {
		if mine {
			list = append(list, shard)
		}
	}
	return list
}

// workerChanged is the roster's news: for placement, and for dormant runs.
func (sv *server) workerChanged(w *worker, news run.WorkerChanged) {
	if sv.place != nil && w != nil {
		sv.place.workerChanged(w, news.State)
	}
	if news.State != run.WorkerDraining {
		sv.later(sv.sim.dice.between(tiny, 5*time.Millisecond), func() {
			sv.wakeBy(sv.ownedShards(), news.Worker.WorkerId, news.State)
		})
	}
}

func (sv *server) wakeBy(in []int, workerID string, state run.WorkerState) {
	if sv.sim.journalDown() {
		sv.later(againAfter, func() { sv.wakeBy(in, workerID, state) })
		return
	}
	query := sv.sim.store.WokenByUp
	if state == run.WorkerGone {
		query = sv.sim.store.WokenByGone
	}
	after := ""
	for {
		records, err := query(background, in, workerID, after, pageSize)
		if err != nil {
			panic(err)
		}
		for i := range records {
			after = records[i].Row.RunID
			sv.activation(after, nil)
		}
		if len(records) < pageSize {
			return
		}
	}
}

// kick asks for a look for dormant runs that are due.
func (sv *server) kick(at time.Time) {
	if !sv.wakeAt.IsZero() && !at.Before(sv.wakeAt) {
		return
	}
	sv.wakeAt = at
	sv.wakes++
	mine := sv.wakes
	sv.later(max(0, at.Sub(sv.clock())), func() {
		if mine == sv.wakes {
			sv.wake()
		}
	})
}

func (sv *server) wake() {
	sv.wakeAt = time.Time{}
	now := sv.clock()
	if sv.sim.journalDown() {
		sv.kick(now.Add(againAfter))
		return
	}
	due, next, err := sv.sim.store.Due(background, sv.ownedShards(), now, pageSize)
	if err != nil {
		panic(err)
	}
	for _, id := range due {
		if r, err := sv.sim.store.Load(background, id); err == nil {
			sv.bringBack(r)
		}
	}
	switch {
	case len(due) > 0:
		sv.kick(now.Add(50 * time.Millisecond))
	case !next.IsZero():
		sv.kick(next)
	}
}

// ---- activations ---------------------------------------------------------------

// activation returns the run's activation. It makes one that loads the run, or,
// given its definition, one that is about to be started.
func (sv *server) activation(runID string, fresh *definition) *activation {
	if a := sv.active[runID]; a != nil {
		return a
	}
	sv.seq++
	a := &activation{sv: sv, id: runID, seq: sv.seq, def: fresh}
	sv.active[runID] = a
	sv.order = append(sv.order, a)
	sv.sim.monitor.activations[a.pid()] = a
	if fresh != nil {
		a.m = run.New(runID, fresh.Def, sv.sim.runConfig)
		return a
	}
	sv.later(sv.sim.dice.between(100*time.Microsecond, 2*time.Millisecond), a.load)
	return a
}

func (sv *server) forget(a *activation) {
	if sv.active[a.id] == a {
		delete(sv.active, a.id)
	}
	if i := slices.Index(sv.order, a); i >= 0 {
		sv.order = slices.Delete(sv.order, i, i+1)
	}
}

// deliver gives a message to the run's activation, starting one if need be.
func (sv *server) deliver(runID string, msg any) { sv.activation(runID, nil).receive(msg) }

// again loads a run anew after its activation failed.
func (sv *server) again(runID string) {
	sv.later(againAfter, func() {
		if sv.owns(runID) {
			sv.activation(runID, nil)
		}
	})
}

// startTries bounds how often a start is repeated because another activation
// of the same id came in between.
const startTries = 3

// start starts a run as if it were new. If it is not, its first entry
// conflicts, and the stored run says whether it is the same.
func (sv *server) start(msg *messages.StartRun, done func(error)) {
	if !sv.owns(msg.RunId) {
		done(messages.Errorf(messages.CodeUnavailable, "run %s belongs to another server now", msg.RunId))
		return
	}
	def := sv.sim.work.byHash[msg.Start.DefinitionHash]
	tries := 0
	var try func(fresh *definition)
	try = func(fresh *definition) {
		tries++
		sv.activation(msg.RunId, fresh).receive(run.Start{Started: msg.Start, Cancel: msg.Cancel, Token: token(func(r run.Reply) {
			switch code := messages.CodeOf(r.Err); {
			case code == messages.CodeJournalConflict && tries < startTries:
				try(nil)
			case code == messages.CodeUnknownRun && tries < startTries:
				// Others had asked for it before it was stored, and the answer to
				// them ended the activation.
				sv.later(0, func() { try(def) })
			default:
				done(r.Err)
			}
		})})
	}
	try(def)
}

// ---- calls -------------------------------------------------------------------

// call asks the owner of a run, again and again until it is answered or the
// time is over.
func (p *proc) call(runID string, patience time.Duration, ask func(sv *server, reply func(any)), done func(any)) {
	until := p.sim.now.Add(patience)
	answered := false
	var try func()
	try = func() {
		if answered {
			return
		}
		if p.sim.now.After(until) {
			answered = true
			done(nil)
			return
		}
		if owner := p.ownerOfRun(runID); owner != nil {
			p.sim.send(p, owner, "call about "+runID, func() {
				ask(owner.server, func(answer any) {
					p.sim.send(owner, p, "answer about "+runID, func() {
						if !answered {
							answered = true
							done(answer)
						}
					})
				})
			})
		}
		p.later(p.sim.dice.between(400*time.Millisecond, time.Second), try)
	}
	try()
}
