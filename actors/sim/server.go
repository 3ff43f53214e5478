package sim

import (
	"time"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/timeline"
	"github.com/limpetrun/limpet/cluster/lease"
)

// server models a server process: the host of runs, its roster and, if it owns
// the pool, placement.
type server struct {
	*proc
	roster *watcher
	place  *placer
	// placeOwner is where placement was in the last view.
	placeOwner *proc

	// line is engine time; nil while that is the server's own.
	line *timeline.Line
	// lease is nil until the server listens.
	lease *lease.Granter
	// verdicts are those on members that the server misses.
	verdicts *verdicts

	host *activation.Host
	// absences are the times without any server that this one knows of.
	absences []run.Absence
	// absencesRead: once at least.
	absencesRead bool
	// views counts the views that the host was given; appending are the appends
	// in flight.
	views     uint64
	appending int
	// waits is what its runs keep until the journal has stored what was before.
	waits int
}

func (s *Sim) startServer(id string) *server {
	p := s.newProc(id)
	p.member, s.bornAt = memberJoining, s.now
	sv := &server{proc: p}
	sv.roster, sv.host = newWatcher(sv), newHost(sv)
	sv.verdicts = newVerdicts(sv)
	p.server = sv
	sv.followClock()
	s.tracef("server %s starts", p.address)
	s.reconsider()
	sv.later(s.dice.between(5*time.Millisecond, 50*time.Millisecond), func() {
		sv.notePresence()
		sv.handle(activation.Open{})
		sv.viewChanged()
	})
	sv.later(s.dice.between(time.Millisecond, 50*time.Millisecond), func() {
		sv.leaseLoop()
	})
	sv.sweepLoop(0)
	// By then it has joined.
	sv.verdicts.schedule(s.dice.between(200*time.Millisecond, 300*time.Millisecond))
	return sv
}

// viewChanged shows the host which shards are this server's, and lets placement
// go where it belongs.
func (sv *server) viewChanged() {
	owned := make([]bool, shards)
	for shard := range shards {
		owned[shard] = sv.ownerIn("shard", shardNames[shard]) == sv.proc
	}
	sv.views++
	sv.handle(activation.ViewChanged{Version: sv.views, Owned: owned})
	if sv.place != nil && sv.ownerIn("placement", "default") != sv.proc {
		sv.sim.tracef("%s gives placement up", sv.address)
		sv.place = nil
	}
	if owner := sv.ownerIn("placement", "default"); owner != sv.placeOwner {
		sv.placeOwner = owner
		sv.placementReset()
	}
}

// placementReset has every question asked again: placement is another one.
func (sv *server) placementReset() { sv.handle(activation.PlacementReset{}) }

// beginAnew has the host begin anew: this server was frozen.
func (sv *server) beginAnew() { sv.handle(activation.BeginAnew{}) }

// declaredGone: another server had given this one up, and sees it again.
func (sv *server) declaredGone() { sv.handle(activation.DeclaredGone{}) }

// workerChanged is the roster's news: for placement, and for dormant runs.
func (sv *server) workerChanged(w *worker, news run.WorkerChanged) {
	if sv.place != nil && w != nil {
		sv.place.workerChanged(w, news.State)
	}
	sv.later(tiny, func() { sv.handle(activation.News{Worker: news}) })
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
