package cluster

import (
	"bytes"
	"context"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/cluster/lease"
	"github.com/limpetrun/limpet/cluster/notify"
	"github.com/limpetrun/limpet/cluster/quorum"
	"github.com/limpetrun/limpet/cluster/remote"
	"github.com/limpetrun/limpet/messages"
)

// leases is the node's part in the leases of workers: it asks, and answers, in
// packets beside those of the failure detection, so that nothing queues in front
// of them; who does not answer is asked by way of the remote too. See package
// lease for what it is about.
type leases struct {
	m     *members
	table *leaseTable
	// send sends by the remote, visit exchanges all news with the member that gossips
	// there.
	send  func(to *actor.PID, m any)
	visit func(gossipAddress string)

	// until is the end of the present lease, in nanoseconds since base; 0
	// without one.
	until atomic.Int64
	base  time.Time

	// servers is the digest of those that gossip has heard of.
	servers atomic.Uint64

	// telling is held from a check until its change was told, so that changes are
	// told in order. The table's lock is inside of it.
	telling sync.Mutex
	changed notify.Hooks[LeaseChange]
	lapsed  notify.Hooks[Lapse]
	// regained: one that had lapsed has a lease again.
	regained notify.Hooks[Lapse]
	expiry   *time.Timer

	// again has the view made anew when a silent worker may leave it; of the
	// goroutine that makes views.
	again  *time.Timer
	wakeup chan struct{}
}

// Prefixes of the packets.
const (
	leaseAskPrefix   = "ask "
	leaseGrantPrefix = "grant "
)

func newLeases(m *members) *leases {
	c := m.config
	cfg := lease.Config{For: c.Preset.Lease(), Store: c.Heartbeats != nil, HeartbeatGap: 2 * quorum.HeartbeatEvery}
	l := &leases{m: m, table: newLeaseTable(cfg, c.Role == RoleWorker), base: now(), visit: m.gossip.Visit, wakeup: make(chan struct{}, 1)}
	if c.Role == RoleWorker {
		l.expiry = time.AfterFunc(time.Hour, func() { l.check() })
		l.expiry.Stop()
	}
	return l
}

// now is the time by a clock that also counts while the machine sleeps.
func now() time.Time {
	t := time.Now()
	return t.Add(asleep(t))
}

// listens says that the ports of this node are open.
func (l *leases) listens() {
	if l.m.config.Role == RoleServer {
		l.table.listens(now())
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
		t.Reset(l.table.nextAsk().Sub(now()))
	}
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
	self, view := l.m.gossip.Self(), l.m.views.Get()
	q := l.table.ask(now(), self, view)
	for _, m := range q.looks {
		go l.look(ctx, m)
	}
	for _, m := range q.targets {
		ask := &messages.LeaseAsk{Name: self.Name, GossipAddress: self.GossipAddress, To: m.Name, Seq: q.seq, Term: q.term,
			Worker: self.Role == RoleWorker, State: string(self.State)}
		l.packet(m.Name, m.GossipAddress, leaseAskPrefix, ask)
		if _, there := view.Member(m.Name); there && slices.Contains(q.again, m.Name) {
			// Packets may be what is blocked.
			l.send(actor.NewPID(m.Address, activatorActor), ask)
		}
	}
}

// packet sends a message in a packet.
func (l *leases) packet(name, address, prefix string, m interface{ MarshalVT() ([]byte, error) }) {
	data, err := m.MarshalVT()
	if err != nil {
		return
	}
	l.m.gossip.Packet(name, address, append([]byte(prefix), data...))
}

// heard takes a packet.
func (l *leases) heard(packet []byte) {
	if data, ok := bytes.CutPrefix(packet, []byte(leaseAskPrefix)); ok {
		ask := new(messages.LeaseAsk)
		if ask.UnmarshalVT(data) != nil {
			return
		}
		if grant := l.asked(ask); grant != nil {
			l.packet(ask.Name, ask.GossipAddress, leaseGrantPrefix, grant)
		}
		return
	}
	data, ok := bytes.CutPrefix(packet, []byte(leaseGrantPrefix))
	grant := new(messages.LeaseGrant)
	if ok && grant.UnmarshalVT(data) == nil {
		l.granted(grant)
	}
}

// asked answers a question; nil for not.
func (l *leases) asked(ask *messages.LeaseAsk) *messages.LeaseGrant {
	self := l.m.gossip.Self()
	if ask.To != self.Name {
		if id, _, _ := gossip.SplitName(ask.To); id == self.WorkerID && ask.Worker {
			// It was meant for an earlier process at this address.
			l.visit(ask.GossipAddress)
		}
		return nil
	}
	outranked := ask.Worker && l.outranked(ask.Name)
	if ask.Worker {
		// One that would get a lease and says that it has none hears nobody.
		hears := lease.Held(ask.Term) || outranked || !l.table.stands(now())
		l.m.gossip.Heard(ask.Name, ask.GossipAddress, hears)
	}
	l.compare(ask)
	fit := !ask.Worker || l.m.gossip.IsWell(ask.Name) && !outranked && l.m.proofs.hold(ask.Name)
	valid, told := l.table.grant(now(), ask.Name, ask.Term, ask.Worker, fit)
	if told != (heard{}) {
		id, incarnation, _ := gossip.SplitName(ask.Name)
		if told.lapsed {
			l.lapsed.Call(Lapse{WorkerID: id, Incarnation: incarnation})
		}
		if told.regained {
			l.regained.Call(Lapse{WorkerID: id, Incarnation: incarnation})
		}
	}
	if valid <= 0 {
		return nil
	}
	return &messages.LeaseGrant{Name: self.Name, To: ask.Name, Seq: ask.Seq, ValidUs: valid.Microseconds(), Servers: l.servers.Load()}
}

// compare sees to it that this server hears from a member itself what state it
// is in if gossip has not told since it asked the last time.
func (l *leases) compare(ask *messages.LeaseAsk) {
	state := State(ask.State)
	m, there := l.m.views.Get().Member(ask.Name)
	if l.table.mishears(ask.Name, state, there && state != "" && m.State != state) {
		l.visit(m.GossipAddress)
	}
}

// outranked says that a later process was admitted under the worker's id.
func (l *leases) outranked(name string) bool {
	id, incarnation, _ := gossip.SplitName(name)
	members := l.m.views.Get().Members
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
	if grant.To != l.m.gossip.Self().Name {
		return
	}
	if address := l.table.granted(grant.Name, grant.Seq, time.Duration(grant.ValidUs)*time.Microsecond); address != "" {
		l.m.gossip.Answered(grant.Name, address, true)
	}
	l.compareServers(grant)
	l.check()
}

// compareServers sees to it that a worker hears from a server what servers there
// are if gossip has not told.
func (l *leases) compareServers(grant *messages.LeaseGrant) {
	if grant.Servers == 0 || l.m.config.Role != RoleWorker {
		return
	}
	from, visits := l.table.missesServers(now(), grant.Name, grant.Servers, l.servers.Load())
	if visits {
		l.visit(from)
	}
}

// heardOf takes in the members that gossip has heard of.
func (l *leases) heardOf(heard []Member) { l.servers.Store(serversDigest(heard)) }

// serversDigest tells sets of servers and their states apart. It does not depend on
// their order.
func serversDigest(members []Member) (digest uint64) {
	for _, m := range members {
		if m.Role == RoleServer {
			h := fnv.New64a()
			_, _ = io.WriteString(h, m.Name+" "+string(m.State))
			digest += h.Sum64()
		}
	}
	return digest
}

// look finds out whether the process of a server has ended.
func (l *leases) look(ctx context.Context, m Member) {
	began := now()
	l.table.looked(m.Name, began, l.refuses(ctx, m.Address) && l.refuses(ctx, m.GossipAddress))
	l.check()
}

func (l *leases) refuses(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, gossip.LookFor)
	defer cancel()
	return remote.Refused(ctx, l.m.config.Dial, address)
}

// check says whether this worker has a lease, and has whom it may concern told
// if that has changed. A server always may act.
func (l *leases) check() bool {
	if l.expiry == nil {
		return true
	}
	l.telling.Lock()
	defer l.telling.Unlock()
	at := now()
	is, until, changed := l.table.check(at)
	if is.Held {
		l.until.Store(int64(until.Sub(l.base)))
		l.expiry.Reset(until.Sub(at))
	} else {
		l.until.Store(0)
	}
	if changed {
		l.changed.Call(is)
	}
	return is.Held
}

// holds says whether this worker has a lease; it costs the reading of a clock.
func (l *leases) holds() bool {
	until := l.until.Load()
	if until != 0 && int64(now().Sub(l.base)) < until {
		return true
	}
	return l.check()
}

// onChange calls f with each change, in order, and at once if there is a lease.
func (l *leases) onChange(f func(LeaseChange)) (cancel func()) {
	l.telling.Lock()
	defer l.telling.Unlock()
	cancel = l.changed.Add(f)
	if l.until.Load() != 0 {
		f(LeaseChange{Held: true, Term: l.table.term()})
	}
	return cancel
}

// filter puts silent workers back into the next view that may have leases.
func (l *leases) filter(old *View, next []Member) []Member {
	if l.m.config.Role != RoleServer {
		return next
	}
	kept, least := l.table.keep(now(), old, next)
	l.wakeIn(least)
	return append(next, kept...)
}

// wakeIn has the view made anew after a while; 0 is not at all.
func (l *leases) wakeIn(d time.Duration) {
	switch {
	case d <= 0 && l.again == nil:
	case d <= 0:
		l.again.Stop()
	case l.again == nil:
		l.again = time.AfterFunc(d, l.m.gossip.Wake)
	default:
		l.again.Reset(d)
	}
}
