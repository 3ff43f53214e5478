package sim

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// world is what is drawn from the seed before anything happens: how large the
// cluster is and what may go wrong in it, and how often.
type world struct {
	servers, workers    []string
	slots               map[string]int32
	stickyMax           map[string]int32
	labels              map[string]map[string]string
	stepsMost, runsMost int
	// trouble is how long things go wrong.
	trouble time.Duration

	loss, double, late  float64
	lateBy              time.Duration
	slowDisk, diskFails float64
	// calm: nothing goes wrong but that servers crash, perhaps for longer than
	// steps may take. No step may be executed again then.
	calm bool
	// paired: the same, but that pairs are severed instead.
	paired bool
	// downMost is how long a crashed server stays away.
	downMost time.Duration
	// skewMost is by how much the clocks of servers are off; those of workers by
	// twice as much.
	skewMost time.Duration
	// lacks is how likely a worker has not registered a workflow.
	lacks float64
	// movesPerSecond is how many runs may leave draining workers; keys is how
	// many keys of shared state there are, 0 for none.
	movesPerSecond, keys int
	// lineMax is how many runs may ask placement at a time on one server.
	lineMax int
	// faults are what may happen, one after the other.
	faults []func(*Sim)
	every  time.Duration
}

func (s *Sim) drawWorld() {
	d := s.dice
	w := &s.world
	*w = world{slots: map[string]int32{}, stickyMax: map[string]int32{}, labels: map[string]map[string]string{},
		stepsMost: d.upTo(6), runsMost: d.upTo(10), trouble: d.between(5*time.Second, 40*time.Second), every: d.between(200*time.Millisecond, 4*time.Second)}
	for i := range d.upTo(3) {
		w.servers = append(w.servers, []string{"s1", "s2", "s3"}[i])
	}
	capped := d.chance(0.2)
	for i := range d.upTo(4) {
		id := []string{"w1", "w2", "w3", "w4"}[i]
		w.workers = append(w.workers, id)
		w.slots[id] = int32(pick(d, []int{1, 1, 2, 3, 8}))
		w.labels[id] = map[string]string{"gpu": pick(d, []string{"yes", "no"})}
		if capped && d.chance(0.5) {
			w.stickyMax[id] = int32(d.upTo(4))
		}
	}
	w.labels["w1"]["gpu"] = "yes"
	w.movesPerSecond = pick(s.extra, []int{0, 0, 1, 3})
	w.lineMax = pick(s.extra, []int{1, 1, 2, 4})
	w.keys = pick(s.extra, []int{0, 0, 2, 8})
	some := func(p float64, most float64) float64 {
		if d.chance(p) {
			return d.Float64() * most
		}
		return 0
	}
	w.loss, w.double, w.late = some(0.4, 0.15), some(0.4, 0.2), some(0.5, 0.3)
	w.lateBy = d.between(5*time.Millisecond, 4*time.Second)
	w.slowDisk, w.diskFails = some(0.3, 0.2), some(0.3, 0.05)
	w.lacks = some(0.2, 0.4)
	if d.chance(0.5) {
		w.skewMost = d.between(10*time.Millisecond, 5*time.Second)
	}
	w.downMost = 6 * time.Second
	if w.calm = d.chance(0.1); w.calm {
		w.loss, w.double, w.late, w.slowDisk, w.diskFails, w.lacks = 0, 0, 0, 0, 0, 0
		w.faults, w.downMost = []func(*Sim){(*Sim).crashServer}, 60*time.Second
		return
	}
	for _, f := range []func(*Sim){(*Sim).crashServer, (*Sim).crashWorker, (*Sim).freezeOne, (*Sim).cutLink, (*Sim).cutOff,
		(*Sim).suspect, (*Sim).drainOne, (*Sim).replaceFrozen, (*Sim).doubleWorker, (*Sim).deafen, (*Sim).loseJournal,
		(*Sim).leaveServer, (*Sim).rollServers, (*Sim).joinOne} {
		if d.chance(0.45) {
			w.faults = append(w.faults, f)
		}
	}
	if s.extra.chance(0.4) {
		w.faults = append(w.faults, (*Sim).cutFromStore)
	}
}

// faulty says that things still go wrong.
func (s *Sim) faulty() bool { return !s.healed }

// trouble lets one thing go wrong after the other.
func (s *Sim) trouble() {
	if s.healed {
		return
	}
	if len(s.world.faults) > 0 {
		pick(s.dice, s.world.faults)(s)
	}
	s.after(s.dice.between(s.world.every/4, s.world.every*2), s.trouble)
}

func (s *Sim) pickProc(want func(*proc) bool) *proc {
	var list []*proc
	for _, p := range s.procs {
		if p.alive && want(p) {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return pick(s.dice, list)
}

func isServer(p *proc) bool { return p.server != nil }
func isWorker(p *proc) bool { return p.worker != nil }

// end kills a process.
func (s *Sim) end(p *proc) {
	if !p.alive {
		return
	}
	s.tracef("%s ends", p.address)
	p.alive, p.held = false, nil
	s.reconsider()
}

func (s *Sim) crashServer() {
	if p := s.pickProc(isServer); p != nil {
		s.end(p)
		s.after(s.dice.between(20*time.Millisecond, s.world.downMost), func() { s.ensure(p.id) })
		died := s.now
		s.diedAt = died
		s.after(takeUpWithin, func() {
			// What else goes wrong meanwhile may take longer.
			if s.world.calm && s.diedAt.Equal(died) && s.now.Sub(s.bornAt) > takeUpWithin && len(s.serversLeft()) > 0 {
				s.must(s.monitor.takenUp())
			}
		})
	}
}

func (s *Sim) crashWorker() {
	if p := s.pickProc(isWorker); p != nil {
		s.end(p)
		s.after(s.dice.between(100*time.Millisecond, 8*time.Second), func() { s.ensure(p.id) })
	}
}

// ensure starts a process under an id unless there is one.
func (s *Sim) ensure(id string) {
	for _, p := range s.procs {
		if p.id == id && p.alive {
			return
		}
	}
	if id[0] == 's' && s.now.Before(s.awayUntil) {
		return
	}
	if id[0] == 's' {
		s.startServer(id)
		return
	}
	s.startWorker(id, s.workflowsOf())
}

func (s *Sim) freezeOne() {
	if p := s.pickProc(func(p *proc) bool { return !p.frozen }); p != nil {
		s.freeze(p)
		s.after(s.dice.between(100*time.Millisecond, 6*time.Second), func() { s.thaw(p) })
	}
}

func (s *Sim) freeze(p *proc) {
	s.tracef("%s freezes", p.address)
	p.frozen, p.frozenAt = true, s.now
	s.reconsider()
}

// pauseMost is how long a server may have been frozen and go on as if nothing
// had happened. It notices the pause by its ticker, a moment after it woke.
const pauseMost = 500 * time.Millisecond

func (s *Sim) thaw(p *proc) {
	if !p.frozen || !p.alive || p.server != nil && p.server.line != nil && !p.server.line.Known() {
		return
	}
	s.tracef("%s wakes", p.address)
	p.frozen, p.steadySince = false, s.now
	if p.worker != nil {
		p.worker.checkLease()
	}
	if p.server != nil && s.now.Sub(p.frozenAt) > pauseMost {
		p.later(s.dice.between(0, 100*time.Millisecond), func() {
			p.server.beginAnew()
			p.server.verdicts.recheck()
		})
	}
	if p.worker != nil && s.now.Sub(p.frozenAt) > pauseMost {
		p.later(s.dice.between(0, 100*time.Millisecond), p.worker.registerAgain)
	}
	held := p.held
	p.held = nil
	for _, do := range held {
		p.now(do)
	}
	s.reconsider()
}

// replaceFrozen freezes a worker for so long that a new process is admitted
// under its id, and wakes it afterwards.
func (s *Sim) replaceFrozen() {
	p := s.pickProc(func(p *proc) bool { return p.worker != nil && !p.frozen })
	if p == nil {
		return
	}
	s.freeze(p)
	s.after(s.dice.between(100*time.Millisecond, 4*time.Second), func() {
		if p.alive && p.frozen && !s.healed && s.newest(p.id) == p.incarnation {
			s.startWorker(p.id, s.workflowsOf())
		}
	})
	s.after(s.dice.between(3*time.Second, 8*time.Second), func() { s.thaw(p) })
}

func (s *Sim) cutLink() {
	a, b := s.pickProc(isServer), s.pickProc(func(*proc) bool { return true })
	if a == nil || b == nil || a.id == b.id {
		return
	}
	s.cutFor(s.dice.between(100*time.Millisecond, 5*time.Second), [][2]string{linkOf(a.id, b.id)})
}

// cutOff cuts a node from all others.
func (s *Sim) cutOff() {
	a := s.pickProc(func(*proc) bool { return true })
	if a == nil {
		return
	}
	var links [][2]string
	for _, p := range s.procs {
		if p.id != a.id {
			links = append(links, linkOf(a.id, p.id))
		}
	}
	s.cutFor(s.dice.between(100*time.Millisecond, 6*time.Second), links)
}

// cutFromStore cuts a server from the journal alone, in half of the cases for as
// long as it takes to notice.
func (s *Sim) cutFromStore() {
	if p := s.pickProc(isServer); p != nil {
		d := s.dice.between(100*time.Millisecond, 10*time.Second)
		s.tracef("%s is cut from the journal for %v", p.address, d)
		s.storelessUntil[p.id] = s.now.Add(d)
	}
}

func (s *Sim) cutFor(d time.Duration, links [][2]string) {
	for _, l := range links {
		s.cuts[l] = true
	}
	s.tracef("cut: %v for %v", links, d)
	s.reconsider()
	s.after(d, func() {
		for _, l := range links {
			delete(s.cuts, l)
		}
		for _, p := range s.procs {
			p.steadySince = s.now
		}
		s.reconsider()
	})
}

// suspect lets one process miss another one that is there.
func (s *Sim) suspect() {
	a := s.pickProc(func(p *proc) bool { return !p.frozen })
	b := s.pickProc(func(*proc) bool { return true })
	if a == nil || b == nil || a == b || a.worker != nil && b.worker != nil {
		return
	}
	if a.server != nil && b.worker != nil && b.alive {
		a.server.verdicts.miss(b)
		a.later(s.dice.between(100*time.Millisecond, 3*time.Second), func() { s.observe(a, b) })
		return
	}
	s.setView(a, b, false)
}

func (s *Sim) drainOne() {
	// One that was not admitted ends without a drain.
	p := s.pickProc(func(p *proc) bool {
		return p.worker != nil && !p.frozen && p.worker.admitted && !p.worker.core.Draining()
	})
	if p == nil {
		return
	}
	p.worker.drain(s.dice.between(100*time.Millisecond, 6*time.Second))
	id := p.id
	s.after(s.dice.between(7*time.Second, 9*time.Second), func() { s.ensure(id) })
}

// heal ends all trouble: links work, everybody wakes, and every server and
// worker is there with all that it should have.
func (s *Sim) heal() {
	s.tracef("all faults heal")
	s.healed, s.settledAt, s.awayUntil = true, s.now, time.Time{}
	clear(s.cuts)
	clear(s.deaf)
	clear(s.severed)
	for _, p := range s.procs {
		p.steadySince = s.now
		s.thaw(p)
		if w := p.worker; w != nil && p.alive {
			w.undrain()
			if !w.complete() {
				s.end(p)
			}
		}
	}
	s.reconsider()
	s.supervise()
}

func (w *worker) complete() bool {
	for _, d := range w.sim.work.order {
		if !w.hasAll(d.Def) {
			return false
		}
	}
	return true
}

// supervise starts what is missing, and finds out whether all is done.
func (s *Sim) supervise() {
	for _, list := range [][]string{s.world.servers, s.world.workers} {
		for _, id := range list {
			s.ensure(id)
		}
	}
	if !s.settled() {
		s.settledAt = s.now
	}
	if s.now.Sub(s.settledAt) > soon {
		s.must(s.monitor.prompt())
		s.must(s.monitor.stuck())
		s.must(s.monitor.allHeard())
		s.must(s.monitor.oneOfEach())
	}
	if !s.finished() || !s.settled() {
		s.after(500*time.Millisecond, s.supervise)
		return
	}
	s.after(quiet, func() {
		// What was said before may have ended somebody meanwhile.
		if s.over = s.settled(); !s.over {
			s.supervise()
		}
	})
}

// soon is how long after everybody is back nothing may wait for them any more.
const soon = 12 * time.Second

// settled says that every worker and server is there, complete, and seen by
// everybody.
func (s *Sim) settled() bool {
	for _, list := range [][]string{s.world.servers, s.world.workers} {
		for _, id := range list {
			if !s.there(id) {
				return false
			}
		}
	}
	return true
}

func (s *Sim) there(id string) bool {
	for _, p := range s.procs {
		if p.id != id || !p.alive || p.member != memberReady {
			continue
		}
		for _, q := range s.procs {
			if q != p && q.alive && (!q.sees[p] || q.state[p] != memberReady) {
				return false
			}
		}
		return true
	}
	return false
}

// quiet is how long after the last run's end nothing may be left anywhere.
const quiet = 105 * time.Second

func (s *Sim) finished() bool {
	for _, c := range s.clients {
		if !c.acked {
			return false
		}
	}
	for _, id := range s.monitor.order {
		if st := s.monitor.runs[id]; !st.Ended() {
			return false
		}
	}
	return true
}

// workerOf returns the process that a reference names.
func (s *Sim) workerOf(ref *messages.WorkerRef) *worker {
	return s.byRef[processKey(ref)]
}

// newest is the newest incarnation of an id.
func (s *Sim) newest(id string) int { return s.incarnations[id] }
