package roster

import (
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// claim is what is being found out about a process that claims its worker id.
type claim[W comparable] struct {
	phase phase
	// first is the holder that is asked first, each time; nil for none.
	first *process[W]
	// pause before the process is asked again.
	pause time.Duration
	// What it said of itself, while the leases of its rivals are asked about.
	info     *messages.WorkerInfo
	draining bool
}

// phase of a claim.
type phase uint8

const (
	// unmade: it has yet to be looked into, perhaps after that of a later process.
	unmade phase = iota
	asksHolder
	asksProcess
	asksLeases
	pauses
	// decided: the process holds the id, or has lost it.
	decided
)

func (p phase) open() bool { return p != unmade && p != decided }

// settleClaims looks into the claims of processes that are new. A process that
// began later than the holder has been admitted. One that began earlier, or was
// given up before, may be dead, and others have not given it up yet: a server
// that was restarted hears of it after the holder. So the holder is asked first.
func (c *Core[W]) settleClaims(w *worker[W]) {
	for _, p := range w.there {
		if p.claim.phase != unmade || w.awaits(p) {
			continue
		}
		p.claim = claim[W]{pause: askPauseMin}
		c.askClaim(p)
	}
}

// awaits says that a later process than p is there, which was admitted after it
// and has yet to say who it is: the id is that one's, unless it vanishes.
func (w *worker[W]) awaits(p *process[W]) bool {
	for _, other := range w.there {
		if other != p && other.told != run.WorkerGone && other.info == nil && w.outranks(other, p) {
			return true
		}
	}
	return false
}

// outranks says whether process a takes the id over from b without b being
// asked.
func (w *worker[W]) outranks(a, b *process[W]) bool {
	return !w.supersededBefore(a) && a.ref.Incarnation > b.ref.Incarnation
}

// supersededBefore: the process was given up, and another one has held the id.
func (w *worker[W]) supersededBefore(p *process[W]) bool {
	return p != w.last && w.last != nil && w.verdictOn(p.ref.Incarnation) != nil
}

// askClaim begins a round of questions: to the holder, if there is one by now that is
// asked first, to the process, and about the leases of its rivals.
func (c *Core[W]) askClaim(p *process[W]) {
	h := p.worker.holder()
	if h == nil || p.worker.outranks(p, h) {
		p.claim.first = nil
		c.askProcess(p)
		return
	}
	p.claim.first, p.claim.phase = h, asksHolder
	c.do(Ask{c.ask(&p.waits), h.ref})
}

func (c *Core[W]) askProcess(p *process[W]) {
	p.claim.phase = asksProcess
	c.do(Ask{c.ask(&p.waits), p.ref})
}

// said: the process that was asked has said who it is.
func (c *Core[W]) said(p *process[W], info *messages.WorkerInfo, draining bool) {
	asked := p
	if p.claim.phase == asksHolder {
		asked = p.claim.first
	}
	switch {
	case info.GetIncarnation() != asked.ref.Incarnation:
		// Another process has the address by now.
		c.saidNothing(p)
	case asked != p:
		c.decide(p, true)
	default:
		p.claim.info, p.claim.draining = info, draining
		rivals := p.worker.rivals(p)
		if len(rivals) == 0 {
			c.leasesOfRivals(p, 0)
			return
		}
		p.claim.phase = asksLeases
		c.do(AskLeases{c.ask(&p.waits), p.worker.id, rivals})
	}
}

// saidNothing: the process that was asked is silent.
func (c *Core[W]) saidNothing(p *process[W]) {
	if p.claim.phase == asksHolder {
		c.askProcess(p)
		return
	}
	p.claim.phase = pauses
	c.wake(&p.waits, p.claim.pause)
	p.claim.pause = min(2*p.claim.pause, askPauseMax)
}

// rivals are the processes whose leases keep p from taking the id over: the others
// that are there, a silent holder among them, which may only be frozen, and those
// that began before p and are doubted because runs are bound to them.
func (w *worker[W]) rivals(p *process[W]) []string {
	var list []string
	for _, other := range w.there {
		if other != p && other.told != run.WorkerGone {
			list = append(list, other.ref.Incarnation)
		}
	}
	for _, d := range w.doubts {
		if d.incarnation < p.ref.Incarnation {
			list = append(list, d.incarnation)
		}
	}
	return list
}

// leasesOfRivals: a process has said who it is, and one of its rivals may have a
// lease for that long.
func (c *Core[W]) leasesOfRivals(p *process[W], hold time.Duration) {
	if hold > 0 {
		p.claim.phase = pauses
		c.wake(&p.waits, min(hold, leasePauseMax))
		return
	}
	p.info = p.claim.info
	if p.claim.draining && p.state == Ready {
		p.state = Draining
	}
	c.decide(p, false)
}

// decide decides between a process and the holder, now that the one or the other
// has answered. The holder may be another one than the one that was asked, and
// is then asked itself.
func (c *Core[W]) decide(p *process[W], holderAnswered bool) {
	w, first := p.worker, p.claim.first
	h := w.holder()
	p.claim = claim[W]{}
	switch {
	case h == first && holderAnswered:
		c.displace(p, h)
		// Some watch since p was there again, and have not heard of the holder.
		c.tellPresent(w, w.watchers.all())
	case w.awaits(p):
	case p.info != nil && (h == nil || h == first || w.outranks(p, h)):
		c.install(p)
	}
	c.settleClaims(w)
}

// install makes a process that has said who it is the holder. Those that began
// before it are superseded, whether they know or not.
func (c *Core[W]) install(p *process[W]) {
	w := p.worker
	h := w.holder()
	for _, other := range w.there {
		if other == h || other != p && w.outranks(p, other) {
			c.displace(other, p)
		}
	}
	if d := w.doubtOf(p.ref.Incarnation); d != nil {
		c.endDoubt(d)
	}
	w.last, w.load = p, nil
	p.claim.phase = decided
	p.told = run.WorkerUp
	c.tell(p.news(run.WorkerUp))
	c.tellState(p)
}

// displace tells everybody, and the process itself, that another one holds its
// id.
func (c *Core[W]) displace(p, by *process[W]) {
	if p.told == run.WorkerGone {
		return
	}
	p.claim = claim[W]{phase: decided}
	p.reason, p.by = messages.Reason_REASON_WORKER_SUPERSEDED, by.ref
	c.tellGone(p)
	c.supersede(p)
}

// supersede tells a process that its id belongs to another one, again and again
// until it has vanished: it may be frozen.
func (c *Core[W]) supersede(p *process[W]) {
	c.do(Supersede{p.ref, p.by})
	c.wake(&p.waits, SupersedeEvery)
}
