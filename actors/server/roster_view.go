package server

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/run"
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
		p = &rosterProcess{member: m}
		w.there[m.Incarnation] = p
		if d := w.doubted[m.Incarnation]; d != nil {
			d.stop()
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
	if p.told == run.WorkerGone {
		return
	}
	p.reason = messages.Reason_REASON_WORKER_LOST
	if p.member.State == cluster.StateLeaving {
		p.reason = messages.Reason_REASON_WORKER_LEFT
	}
	r.tellGone(w, p)
}

// tellGone tells that a process has gone.
func (r *Roster) tellGone(w *rosterWorker, p *rosterProcess) {
	p.told = run.WorkerGone
	gone := p.changed(run.WorkerGone)
	w.remember(verdict{gone, r.cfg.Node.HasEnded(w.id, p.member.Incarnation)})
	r.tell(w, gone)
}

// settleID looks into the claims of processes that are new. One that began
// later than the holder takes the id over when it has said who it is: it has
// been admitted. For one that began earlier, or was given up before, the holder
// is asked first. It may be a process that is dead and that others have not
// given up yet, of which a server that was restarted hears after the holder.
// Called with mu held.
func (r *Roster) settleID(w *rosterWorker) {
	for _, p := range w.there {
		if p.asked || w.awaits(p) {
			continue
		}
		p.asked = true
		var first *rosterProcess
		if h := w.holder(); h != nil && !w.outranks(p, h) {
			first = h
		}
		r.describe(p, first)
	}
}

// awaits says that a later process than p is there, which was admitted after it
// and has yet to say who it is: the id is that one's, unless it vanishes.
func (w *rosterWorker) awaits(p *rosterProcess) bool {
	for _, other := range w.there {
		if other != p && other.told != run.WorkerGone && other.info == nil && w.outranks(other, p) {
			return true
		}
	}
	return false
}

// holder is the process that holds the id and is there; nil for none.
func (w *rosterWorker) holder() *rosterProcess {
	if h := w.current; h != nil && h.told != run.WorkerGone {
		return h
	}
	return nil
}

// install makes a process that has said who it is the holder. Those that began
// before it are superseded, whether they know or not.
func (r *Roster) install(w *rosterWorker, p *rosterProcess) {
	for _, other := range w.there {
		if other == w.holder() || other != p && w.outranks(p, other) {
			r.displace(w, other, p)
		}
	}
	w.current = p
	w.load = nil
	p.told = run.WorkerUp
	r.tell(w, p.changed(run.WorkerUp))
	r.tellState(w, p)
}

// displace tells everybody, and the process itself, that another one holds its
// id.
func (r *Roster) displace(w *rosterWorker, p, by *rosterProcess) {
	if p.told == run.WorkerGone {
		return
	}
	p.reason = messages.Reason_REASON_WORKER_SUPERSEDED
	r.tellGone(w, p)
	r.supersede(p, by.member)
}

// supersede tells a process that its id belongs to another one, again and
// again until it has left the view: it may be frozen.
func (r *Roster) supersede(p *rosterProcess, by cluster.Member) {
	if p.stop != nil {
		p.stop()
	}
	ctx, stop := context.WithCancel(r.ctx)
	p.stop = stop
	pid := WorkerPID(p.member)
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

// outranks says whether process a takes the id over from b without b being
// asked.
func (w *rosterWorker) outranks(a, b *rosterProcess) bool {
	return !w.supersededBefore(a) && strings.Compare(a.member.Incarnation, b.member.Incarnation) > 0
}

// supersededBefore: the process held the id, and after it another one did.
func (w *rosterWorker) supersededBefore(p *rosterProcess) bool {
	return p != w.current && w.current != nil && w.verdictOn(p.member.Incarnation) != nil
}

// describe asks a process who it is until it answers or is given up. Given a
// holder, that one is asked first, each time, and keeps the id if it answers.
func (r *Roster) describe(p, holder *rosterProcess) {
	ctx, stop := context.WithCancel(r.ctx)
	p.stop = stop
	ask := r.asker(ctx, p)
	askHolder := func() *messages.DescribeReply { return nil }
	if holder != nil {
		askHolder = r.asker(ctx, holder)
	}
	r.work.Go(func() {
		defer stop()
		pause := describePause
		for ctx.Err() == nil {
			if askHolder() != nil {
				r.defended(p, holder)
				return
			}
			wait := pause
			if d := ask(); d == nil {
				pause = min(2*pause, describePauseTo)
			} else if hold := r.holdEarlier(ctx, p); hold > 0 {
				wait = min(hold, doubtAgain)
			} else {
				r.described(p, holder, d)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	})
}

// asker returns a function that returns what a process says of itself, nil if
// it does not answer. Called with mu held.
func (r *Roster) asker(ctx context.Context, p *rosterProcess) func() *messages.DescribeReply {
	pid, incarnation := WorkerPID(p.member), p.member.Incarnation
	return func() *messages.DescribeReply {
		try, cancel := context.WithTimeout(ctx, describeTry)
		defer cancel()
		reply, err := r.cfg.Node.Request(try, pid, &messages.Describe{})
		d, ok := reply.(*messages.DescribeReply)
		if err != nil || !ok || d.GetWorker().GetIncarnation() != incarnation {
			return nil
		}
		return d
	}
}

// defended: the holder answered when another process appeared under its id.
func (r *Roster) defended(p, holder *rosterProcess) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, there := r.stillThere(p); there {
		r.claim(w, p, holder, true)
	}
}

// described: a process said who it is; the holder, if it was asked, did not.
func (r *Roster) described(p, silent *rosterProcess, d *messages.DescribeReply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, there := r.stillThere(p)
	if !there {
		return
	}
	p.info = r.infoOf(d)
	if d.GetDraining() && !drains(p.member.State) {
		p.member.State = cluster.StateDraining
	}
	r.claim(w, p, silent, false)
}

// infoOf is what a process says of itself, with its start on this server's
// clock: the worker's own may be another.
func (r *Roster) infoOf(d *messages.DescribeReply) *messages.WorkerInfo {
	if d.GetRunningUs() <= 0 {
		return d.GetWorker()
	}
	info := proto.Clone(d.GetWorker()).(*messages.WorkerInfo)
	info.StartedUs = r.cfg.Clock.Now().UnixMicro() - d.GetRunningUs()
	return info
}

// claim decides between a process and the holder, now that the one or the
// other has answered. The holder may be another one than the one that was
// asked, and is then asked itself.
func (r *Roster) claim(w *rosterWorker, p, asked *rosterProcess, answered bool) {
	h := w.holder()
	switch {
	case h == asked && answered:
		r.displace(w, p, h)
	case w.awaits(p):
		p.asked = false
	case p.info != nil && (h == nil || h == asked || w.outranks(p, h)):
		r.install(w, p)
	default:
		p.asked = false
		r.settleID(w)
	}
}

// stillThere returns the worker of a process, and whether the process is in
// the view and may hold the id. Called with mu held.
func (r *Roster) stillThere(p *rosterProcess) (*rosterWorker, bool) {
	w := r.workers[p.member.WorkerID]
	if r.closed || w == nil || w.there[p.member.Incarnation] != p || p.told == run.WorkerGone {
		return nil, false
	}
	return w, true
}

// tellState tells of a described process that began to drain, or came back
// from it.
func (r *Roster) tellState(w *rosterWorker, p *rosterProcess) {
	state := run.WorkerUp
	if drains(p.member.State) {
		state = run.WorkerDraining
	}
	if p.info == nil || p.told == state {
		return
	}
	p.told = state
	r.tell(w, p.changed(state))
}

// drains says whether a worker in a state takes nothing new.
func drains(s cluster.State) bool { return s == cluster.StateDraining || s == cluster.StateLeaving }

// refOf names a member's process.
func refOf(m cluster.Member) *messages.WorkerRef {
	return &messages.WorkerRef{WorkerId: m.WorkerID, Incarnation: m.Incarnation, Address: m.Address, ActorId: messages.WorkerActorID(m.WorkerID, m.Incarnation)}
}

// WorkerPID is the worker actor of a member.
func WorkerPID(m cluster.Member) *actor.PID {
	return actor.NewPID(m.Address, messages.WorkerActorID(m.WorkerID, m.Incarnation))
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
	changed run.WorkerChanged
	pids    []*actor.PID
	// Listeners are told too.
	public bool
	// told is closed when everything before it has been; nil for news.
	told chan struct{}
}

type newsListener struct {
	f func(run.WorkerChanged)
	// last: after the runs that watch, not before them.
	last bool
}

func newNewsroom(root *actor.RootContext) *newsroom {
	return &newsroom{root: root, signal: make(chan struct{}, 1)}
}

func (n *newsroom) listen(f func(run.WorkerChanged), last bool) (cancel func()) {
	l := &newsListener{f, last}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners = append(slices.Clone(n.listeners), l)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.listeners = slices.DeleteFunc(slices.Clone(n.listeners), func(other *newsListener) bool { return other == l })
	}
}

func (n *newsroom) tell(c run.WorkerChanged, pids []*actor.PID) {
	n.put(newsItem{changed: c, pids: pids})
}
func (n *newsroom) announce(c run.WorkerChanged, pids []*actor.PID) {
	n.put(newsItem{changed: c, pids: pids, public: true})
}

// told is closed when all news so far are in the mailboxes of those whom they
// concern.
func (n *newsroom) told() <-chan struct{} {
	told := make(chan struct{})
	n.put(newsItem{told: told})
	return told
}

func (n *newsroom) put(item newsItem) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		item.done()
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
	for _, item := range n.items {
		item.done()
	}
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
			item.tell(listeners, false)
			for _, pid := range item.pids {
				n.root.Send(pid, &item.changed)
			}
			item.tell(listeners, true)
			item.done()
		}
	}
}

func (i *newsItem) done() {
	if i.told != nil {
		close(i.told)
	}
}

func (i *newsItem) tell(listeners []*newsListener, last bool) {
	for _, l := range listeners {
		if i.public && l.last == last {
			l.f(i.changed)
		}
	}
}
