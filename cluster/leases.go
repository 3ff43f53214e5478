package cluster

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster/lease"
	"github.com/limpetrun/limpet/cluster/quorum"
	"github.com/limpetrun/limpet/messages"
)

// leases is the node's part in the leases of workers: it asks, and answers, in
// packets beside those of the failure detection, so that nothing queues in front
// of them; who does not answer is asked by way of the remoting too. See package
// lease for what it is about.
type leases struct {
	m   *membership
	cfg lease.Config
	// send sends by the remoting.
	send func(to *actor.PID, m any)
	// changed is told of the beginning and the end of the worker's leases, in
	// order, on a goroutine that may be any.
	changed hooks[LeaseChange]

	// until is the end of the present lease, in nanoseconds since base; 0
	// without one.
	until atomic.Int64
	base  time.Time

	mu      sync.Mutex
	holder  *lease.Holder  // of a worker
	granter *lease.Granter // of a server
	// servers are those that were in the view, looking those that are being
	// looked at.
	servers map[string]Member
	looking map[string]bool
	// ended are members whose processes have ended, or that left, and when.
	ended map[string]time.Time
	// cleared are silent workers that the verdict filter lets go, kept those that are held
	// back.
	cleared, kept map[string]bool
	// misheard are members whose state was another than that in the view when they
	// asked last: the news is on its way, or has missed this server.
	misheard map[string]State
	// cut: the server is cut off.
	cut    bool
	expiry *time.Timer
	// again has the view made anew when a silent worker may leave it.
	again  *time.Timer
	wakeup chan struct{}
}

// misheardMax bounds the members that are remembered to be in another state than
// the view says.
const misheardMax = 1024

// Prefixes of the packets.
const (
	leaseAskPrefix   = "ask "
	leaseGrantPrefix = "grant "
)

func newLeases(m *membership) *leases {
	c := m.config
	l := &leases{m: m, cfg: lease.Config{For: c.Preset.leaseFor(), Store: c.Heartbeats != nil, HeartbeatGap: 2 * quorum.HeartbeatEvery}, base: now(),
		servers: map[string]Member{}, looking: map[string]bool{}, ended: map[string]time.Time{},
		cleared: map[string]bool{}, kept: map[string]bool{}, misheard: map[string]State{}, wakeup: make(chan struct{}, 1)}
	if c.Role == RoleWorker {
		l.holder = lease.NewHolder(l.cfg)
		l.expiry = time.AfterFunc(time.Hour, func() { l.check() })
		l.expiry.Stop()
	}
	return l
}

// now is the time by a clock that also counts while the machine sleeps.
func now() time.Time { return time.Now().Add(asleep()) }

// listens says that the ports of this node are open.
func (l *leases) listens() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m.config.Role == RoleServer {
		l.granter = lease.NewGranter(l.cfg, now())
	}
}

// loop asks until ctx ends.
func (l *leases) loop(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			if l.expiry != nil {
				l.expiry.Stop()
			}
			return
		case <-t.C:
		case <-l.wakeup:
		}
		l.ask(ctx)
		t.Reset(l.wait())
	}
}

func (l *leases) wait() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder != nil {
		return l.holder.NextAsk().Sub(now())
	}
	return l.granter.NextAsk().Sub(now())
}

// viewChanged has new servers asked at once.
func (l *leases) viewChanged() {
	select {
	case l.wakeup <- struct{}{}:
	default:
	}
}

// ask asks all servers.
func (l *leases) ask(ctx context.Context) {
	l.check()
	var targets, looks []Member
	var again []string
	self, view := l.m.Self(), l.m.current.Load().view
	msg := &messages.LeaseAsk{Name: self.Name, GossipAddress: self.GossipAddress, Worker: self.Role == RoleWorker, State: string(self.State)}
	l.mu.Lock()
	at := now()
	l.noteServers(at, view)
	if l.holder != nil {
		msg.Seq, msg.Term = l.holder.Ask(at), l.holder.Term()
		again = l.holder.Looks(at)
		for _, name := range l.holder.Known() {
			targets = append(targets, l.servers[name])
		}
		for _, name := range again {
			if !l.looking[name] {
				l.looking[name] = true
				looks = append(looks, l.servers[name])
			}
		}
	} else {
		msg.Seq, again = l.granter.Ask(at), l.granter.Silent(at)
		for name, m := range l.servers {
			if _, ended := l.ended[name]; name != self.Name && !ended {
				targets = append(targets, m)
			}
		}
	}
	l.mu.Unlock()
	for _, m := range looks {
		go l.look(ctx, m)
	}
	for _, m := range targets {
		ask := &messages.LeaseAsk{Name: msg.Name, GossipAddress: msg.GossipAddress, To: m.Name, Seq: msg.Seq, Term: msg.Term, Worker: msg.Worker, State: msg.State}
		l.packet(m.Name, m.GossipAddress, leaseAskPrefix, ask)
		if _, there := view.Member(m.Name); there && slices.Contains(again, m.Name) {
			// Packets may be what is blocked.
			l.send(actor.NewPID(m.Address, activatorActor), ask)
		}
	}
}

// noteServers takes in which servers are there. Called with mu held.
func (l *leases) noteServers(at time.Time, view *View) {
	self := l.m.Self()
	var there []string
	for _, m := range view.Members {
		if m.Role != RoleServer {
			continue
		}
		l.servers[m.Name] = m
		for name := range l.servers {
			if old := l.servers[name]; old.WorkerID == m.WorkerID && old.Incarnation < m.Incarnation {
				delete(l.servers, name)
				l.ended[name] = at
				if l.holder != nil {
					l.holder.Replaced(name)
				}
			}
		}
		_, ended := l.ended[m.Name]
		if m.Name != self.Name && !ended && (l.holder != nil || m.State != StateJoining) {
			there = append(there, m.Name)
		}
	}
	for name, when := range l.ended {
		switch {
		case l.granter != nil && at.Sub(when) < l.cfg.For:
			l.granter.Ended(when, name)
		case at.Sub(when) > lease.GhostFor:
			delete(l.ended, name)
		}
	}
	var known []string
	if l.holder != nil {
		l.holder.Servers(at, there)
		known = l.holder.Known()
	} else {
		l.granter.Servers(at, there)
		l.granter.Activate(self.State != StateJoining && !l.cut)
		known = l.granter.Known()
	}
	for name := range l.servers {
		if _, there := view.Member(name); !there && !slices.Contains(known, name) {
			delete(l.servers, name)
		}
	}
}

// packet sends a message in a packet.
func (l *leases) packet(name, address, prefix string, m interface{ MarshalVT() ([]byte, error) }) {
	data, err := m.MarshalVT()
	if err != nil {
		return
	}
	l.m.packet(Member{Name: name, GossipAddress: address}, prefix+string(data))
}

// heard takes a packet; false if it is about something else.
func (l *leases) heard(packet []byte) bool {
	if data, ok := bytes.CutPrefix(packet, []byte(leaseAskPrefix)); ok {
		ask := new(messages.LeaseAsk)
		if ask.UnmarshalVT(data) == nil {
			if grant := l.asked(ask); grant != nil {
				l.packet(ask.Name, ask.GossipAddress, leaseGrantPrefix, grant)
			}
		}
		return true
	}
	data, ok := bytes.CutPrefix(packet, []byte(leaseGrantPrefix))
	if !ok {
		return false
	}
	grant := new(messages.LeaseGrant)
	if grant.UnmarshalVT(data) == nil {
		l.granted(grant)
	}
	return true
}

// asked answers a question; nil for not.
func (l *leases) asked(ask *messages.LeaseAsk) *messages.LeaseGrant {
	self := l.m.Self()
	if ask.To != self.Name {
		return nil
	}
	l.compare(ask)
	// Before mu: the events have a lock of their own.
	fit := !ask.Worker || l.m.events.well(ask.Name) && !l.outranked(ask.Name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granter == nil || !fit {
		return nil
	}
	var valid time.Duration
	if ask.Worker {
		valid = l.granter.Grant(now(), ask.Name, ask.Term)
	} else {
		valid = l.granter.Stand(now(), ask.Name)
	}
	if valid <= 0 {
		return nil
	}
	return &messages.LeaseGrant{Name: self.Name, To: ask.Name, Seq: ask.Seq, ValidUs: valid.Microseconds()}
}

// compare sees to it that this server hears from a member itself what state it
// is in if gossip has not told since it asked the last time.
func (l *leases) compare(ask *messages.LeaseAsk) {
	state := State(ask.State)
	m, there := l.m.current.Load().view.Member(ask.Name)
	misheard := there && state != "" && m.State != state
	l.mu.Lock()
	again := misheard && l.misheard[ask.Name] == state
	if misheard && !again && len(l.misheard) < misheardMax {
		l.misheard[ask.Name] = state
	} else {
		delete(l.misheard, ask.Name)
	}
	l.mu.Unlock()
	if again {
		l.m.visit(m)
	}
}

// outranked says that a later process was admitted under the worker's id.
func (l *leases) outranked(name string) bool {
	id, incarnation, _ := splitName(name)
	members := l.m.current.Load().view.Members
	i, _ := slices.BinarySearchFunc(members, name, func(m Member, name string) int { return strings.Compare(m.Name, name) })
	for ; i < len(members) && members[i].WorkerID == id; i++ {
		if m := members[i]; m.Incarnation > incarnation && m.State != StateJoining {
			return true
		}
	}
	return false
}

// granted takes an answer.
func (l *leases) granted(grant *messages.LeaseGrant) {
	if grant.To != l.m.Self().Name {
		return
	}
	l.mu.Lock()
	if l.holder != nil {
		l.holder.Granted(grant.Name, grant.Seq, time.Duration(grant.ValidUs)*time.Microsecond)
	} else if l.granter != nil {
		l.granter.Answered(grant.Name, grant.Seq)
	}
	l.mu.Unlock()
	l.check()
}

// look finds out whether the process of a server has ended.
func (l *leases) look(ctx context.Context, m Member) {
	began := now()
	refused := l.refuses(ctx, m.Address) && l.refuses(ctx, m.GossipAddress)
	l.mu.Lock()
	delete(l.looking, m.Name)
	l.holder.Looked(m.Name, began, refused)
	l.mu.Unlock()
	l.check()
}

func (l *leases) refuses(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := l.m.config.Dial(ctx, address)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// check says whether this worker has a lease, and has whom it may concern told
// if that has changed.
func (l *leases) check() bool {
	if l.holder == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now()
	held, changed := l.holder.Check(at)
	if held {
		until := l.holder.Until()
		l.until.Store(int64(until.Sub(l.base)))
		l.expiry.Reset(until.Sub(at))
	} else {
		l.until.Store(0)
	}
	if changed {
		l.changed.call(LeaseChange{Held: held, Term: l.holder.Term()})
	}
	return held
}

// holds says whether this worker has a lease; it costs a look at the clocks.
func (l *leases) holds() bool {
	until := l.until.Load()
	if until != 0 && int64(now().Sub(l.base)) < until {
		return true
	}
	return l.check()
}
