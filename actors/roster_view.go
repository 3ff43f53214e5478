package actors

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// viewChanged takes a view in: processes that are new, drain, or are missing.
func (r *Roster) viewChanged(v *cluster.View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || v.Version < r.version {
		return
	}
	r.version = v.Version
	seen := map[string]bool{}
	touched := map[string]bool{}
	for _, m := range v.Members {
		if m.Role != cluster.RoleWorker || m.State == cluster.StateJoining {
			continue
		}
		seen[m.Name] = true
		if r.sighted(m) {
			touched[m.WorkerID] = true
		}
	}
	for _, w := range r.workers {
		for incarnation, p := range w.there {
			if seen[p.member.Name] {
				continue
			}
			delete(w.there, incarnation)
			touched[w.id] = true
			r.vanished(w, p)
		}
		if touched[w.id] {
			r.settleID(w)
		}
	}
}

// sighted notes a process that is ready or draining; true if it is new.
func (r *Roster) sighted(m cluster.Member) bool {
	w := r.worker(m.WorkerID)
	p := w.there[m.Incarnation]
	if p == nil {
		r.readied++
		p = &rosterProcess{member: m, readied: r.readied}
		w.there[m.Incarnation] = p
		if t := w.doubted[m.Incarnation]; t != nil {
			t.Stop()
			delete(w.doubted, m.Incarnation)
		}
		return true
	}
	before := p.member.State
	p.member = m
	if before != m.State && p == w.current {
		r.tellState(w, p)
	}
	return false
}

// vanished: a process is no longer in the view. Called with mu held.
func (r *Roster) vanished(w *rosterWorker, p *rosterProcess) {
	if p.stop != nil {
		p.stop()
	}
	if p != w.current {
		return
	}
	p.reason = reasonWorkerLost
	if p.member.State == cluster.StateDraining {
		p.reason = reasonWorkerLeft
	}
	r.tellGone(w, p)
}

// tellGone tells that a process, the current one, has gone.
func (r *Roster) tellGone(w *rosterWorker, p *rosterProcess) {
	p.told = WorkerGone
	gone := p.changed(WorkerGone)
	w.remember(gone)
	r.tell(w, gone)
}

// settleID decides which of the processes of an id that are there holds it,
// and tells the others that they do not. Called with mu held.
func (r *Roster) settleID(w *rosterWorker) {
	var best *rosterProcess
	for _, p := range w.there {
		if best == nil || w.newer(p, best) {
			best = p
		}
	}
	if best == nil {
		return
	}
	for _, p := range w.there {
		if p != best && p.told != WorkerGone {
			p.reason = reasonWorkerSuperseded
			r.tellGone(w, p)
			r.supersede(p, best.member)
		}
	}
	if best != w.current {
		w.current = best
		w.load = nil
		r.describe(best)
	}
}

// supersede tells a process that its id belongs to another one, again and
// again until it has left the view: it may be frozen.
func (r *Roster) supersede(p *rosterProcess, by cluster.Member) {
	if p.stop != nil {
		p.stop()
	}
	ctx, stop := context.WithCancel(r.ctx)
	p.stop = stop
	pid := workerPID(p.member)
	msg := &messages.Superseded{WorkerId: p.member.WorkerID, Incarnation: p.member.Incarnation,
		ByIncarnation: by.Incarnation, ByAddress: by.Address}
	r.work.Go(func() {
		defer stop()
		for ctx.Err() == nil {
			r.root.Send(pid, msg)
			select {
			case <-ctx.Done():
			case <-time.After(supersedeEvery):
			}
		}
	})
}

// newer says whether process a holds the id rather than b: one that was given
// up before does not, then the one that became ready later does.
func (w *rosterWorker) newer(a, b *rosterProcess) bool {
	if pa, pb := w.supersededBefore(a), w.supersededBefore(b); pa != pb {
		return pb
	}
	// Seen in one view, they are in the order of the view, which is that of
	// their incarnations and so of their starts.
	if a.readied != b.readied {
		return a.readied > b.readied
	}
	return strings.Compare(a.member.Incarnation, b.member.Incarnation) > 0
}

// supersededBefore: the process held the id, and after it another one did.
func (w *rosterWorker) supersededBefore(p *rosterProcess) bool {
	if p == w.current || w.current == nil {
		return false
	}
	return slices.ContainsFunc(w.past, func(c WorkerChanged) bool { return c.Incarnation == p.member.Incarnation })
}

// describe asks a process who it is until it answers or is given up.
func (r *Roster) describe(p *rosterProcess) {
	ctx, stop := context.WithCancel(r.ctx)
	p.stop = stop
	pid, incarnation := workerPID(p.member), p.member.Incarnation
	r.work.Go(func() {
		defer stop()
		pause := describePause
		for ctx.Err() == nil {
			try, cancel := context.WithTimeout(ctx, describeTry)
			reply, err := r.cfg.Node.Request(try, pid, &messages.Describe{})
			cancel()
			if d, ok := reply.(*messages.DescribeReply); ok && err == nil && d.GetWorker().GetIncarnation() == incarnation {
				r.described(p, d)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, describePauseTo)
		}
	})
}

func (r *Roster) described(p *rosterProcess, d *messages.DescribeReply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.workers[p.member.WorkerID]
	if r.closed || w == nil || w.current != p || p.told == WorkerGone {
		return
	}
	p.info = d.GetWorker()
	if d.GetDraining() {
		p.member.State = cluster.StateDraining
	}
	p.told = WorkerUp
	r.tell(w, p.changed(WorkerUp))
	r.tellState(w, p)
}

// tellState tells of a described process that began to drain, or came back
// from it.
func (r *Roster) tellState(w *rosterWorker, p *rosterProcess) {
	state := WorkerUp
	if p.member.State == cluster.StateDraining {
		state = WorkerDraining
	}
	if p.info == nil || p.told == state {
		return
	}
	p.told = state
	r.tell(w, p.changed(state))
}

// workerPID is the worker actor of a member.
func workerPID(m cluster.Member) *actor.PID {
	return actor.NewPID(m.Address, WorkerActorID(m.WorkerID, m.Incarnation))
}

// newsroom sends news in the order in which it was announced, on a goroutine
// of its own, so that a hundred thousand watchers hold nobody up.
type newsroom struct {
	root *actor.RootContext

	mu        sync.Mutex
	items     []newsItem
	listeners []*newsListener
	closed    bool
	signal    chan struct{}
}

type newsItem struct {
	changed WorkerChanged
	pids    []*actor.PID
	// Listeners are told too.
	public bool
}

type newsListener struct{ f func(WorkerChanged) }

func newNewsroom(root *actor.RootContext) *newsroom {
	return &newsroom{root: root, signal: make(chan struct{}, 1)}
}

func (n *newsroom) listen(f func(WorkerChanged)) (cancel func()) {
	l := &newsListener{f}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners = append(slices.Clone(n.listeners), l)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.listeners = slices.DeleteFunc(slices.Clone(n.listeners), func(other *newsListener) bool { return other == l })
	}
}

func (n *newsroom) tell(c WorkerChanged, pids []*actor.PID)     { n.put(newsItem{c, pids, false}) }
func (n *newsroom) announce(c WorkerChanged, pids []*actor.PID) { n.put(newsItem{c, pids, true}) }

func (n *newsroom) put(item newsItem) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.items = append(n.items, item)
	n.wake()
}

func (n *newsroom) wake() {
	select {
	case n.signal <- struct{}{}:
	default:
	}
}

func (n *newsroom) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.items = nil
	n.wake()
}

func (n *newsroom) loop() {
	for range n.signal {
		n.mu.Lock()
		items, listeners, closed := n.items, n.listeners, n.closed
		n.items = nil
		n.mu.Unlock()
		if closed {
			return
		}
		for _, item := range items {
			if item.public {
				for _, l := range listeners {
					l.f(item.changed)
				}
			}
			for _, pid := range item.pids {
				n.root.Send(pid, &item.changed)
			}
		}
	}
}
