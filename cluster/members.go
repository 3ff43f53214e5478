package cluster

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/cluster/notify"
	"github.com/limpetrun/limpet/messages"
)

const (
	// idTakenFor is the age up to which a heartbeat may be of a server that lives, and
	// how long the next one is waited for.
	idTakenFor   = 1500 * time.Millisecond
	idTakenAgain = 200 * time.Millisecond
)

// members makes the views: of the members that gossip has heard of, and those that
// the verdict filter and the leases hold back. It knows nothing of actors.
type members struct {
	config Config
	gossip *gossip.Gossip
	// filter holds verdicts back; nil for none.
	filter *verdictFilter
	// leases are what a worker may act by, and what holds verdicts on it back.
	leases *leases
	shown  shownState
	// proofs are which members have proved what they are; nil where they cannot.
	proofs *proofs
	views  *notify.Value[*View]
	told   membersHooks

	// stopped is closed when the node leaves.
	stopped chan struct{}
	flushes chan chan struct{}
	running sync.WaitGroup
}

// membersHooks are called by one goroutine, in this order for each view.
type membersHooks struct {
	// appeared is told the address of the actors of a member that is heard.
	appeared func(address string)
	// published is called with each new view and its predecessor.
	published func(old, new *View)
	// returned is called for a member that had been declared gone and is back.
	returned func(Member)
}

// newMembers makes one with an empty view, which others may read at once.
func newMembers(c Config, g gossip.Config, told membersHooks) *members {
	m := &members{config: c, told: told, stopped: make(chan struct{}), flushes: make(chan chan struct{}), views: notify.NewValue(NewView(0, nil))}
	g.OnPacket = func(packet []byte) { m.leases.heard(packet) }
	m.gossip = gossip.New(g)
	m.leases = newLeases(m)
	m.shown = shownState{gossip: m.gossip, cutOff: func() bool { return m.filter.isCutOff() }}
	return m
}

// start listens and returns when the view holds this node; it has not joined
// anybody yet.
func (m *members) start(self Member) error {
	m.shown.wanted = self.State
	if err := m.gossip.Start(self); err != nil {
		return err
	}
	m.refresh()
	m.running.Go(m.loop)
	return nil
}

func (m *members) loop() {
	for {
		select {
		case <-m.stopped:
			return
		case <-m.gossip.Changed():
			m.refresh()
		case done := <-m.flushes:
			m.refresh()
			close(done)
		}
	}
}

// flush returns when the view holds what was heard before, or when the node has
// stopped: then nobody makes views.
func (m *members) flush() {
	done := make(chan struct{})
	select {
	case m.flushes <- done:
		<-done
	case <-m.stopped:
	}
}

// refresh makes a new view if what was heard differs from the newest one.
func (m *members) refresh() {
	news, heard, returned := m.gossip.Take()
	m.takeNews(news)
	heard = m.proofs.only(heard)
	m.leases.heardOf(heard)
	old := m.views.Get()
	// A verdict that was held back has cost the member nothing.
	returned = slices.DeleteFunc(returned, func(member Member) bool { return m.leases.table.keeps(member.Name) })
	view := old.next(m.leases.filter(old, m.filter.filter(old, heard)))
	if slices.Equal(view.Members, old.Members) {
		return
	}
	m.views.Set(view)
	m.gossip.ViewChanged(view.Members, old.Members)
	m.leases.viewChanged()
	m.told.published(old, view)
	for _, member := range returned {
		_, known := old.byID(member.ID)
		_, held := old.Member(member.Name)
		if !known && !(held && m.filter != nil) {
			m.told.returned(member)
		}
	}
}

// takeNews comes before the members that show the same are taken in.
func (m *members) takeNews(news []gossip.News) {
	for _, n := range news {
		switch n.What {
		case gossip.Appeared:
			m.leases.table.alive(n.Name)
			if n.Address != "" {
				m.told.appeared(n.Address)
			}
		case gossip.Ended:
			m.leases.table.over(now(), n.Name, false)
		case gossip.Left:
			m.leases.table.over(now(), n.Name, true)
		}
	}
}

// join joins the cluster by a seed that answers, or by another server that lives.
//
// Errors: JOIN_FAILED.
func (m *members) join(ctx context.Context) error {
	if timeout := m.config.JoinTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return m.gossip.Join(ctx, func(answered bool) bool {
		m.flush()
		return answered || m.joinLiving(ctx)
	})
}

// checkID returns SERVER_ID_TAKEN if another process with this server's id goes on to
// write heartbeats. One that was written of late may be of a process that has died
// since, so it is waited for the next, unless nobody listens there any more. Nobody
// has heard of this server by then.
func (m *members) checkID(ctx context.Context) error {
	if m.filter == nil {
		return nil
	}
	began, self := time.Now(), m.gossip.Self()
	first := map[string]uint64{}
	for {
		alive := false
		for _, b := range m.filter.lastHeartbeats(ctx) {
			id, _, _ := gossip.SplitName(b.Server)
			serial, known := first[b.Server]
			switch {
			case id != m.config.ID || b.Server == self.Name || b.Address == self.GossipAddress || b.Age > idTakenFor:
			case !known && m.leases.refuses(ctx, b.Address):
			case known && serial != b.Serial:
				return messages.Errorf(messages.CodeServerIDTaken, "server id %q is that of a server that lives, at %s", id, b.Address)
			default:
				first[b.Server], alive = b.Serial, true
			}
		}
		if !alive || time.Since(began) > idTakenFor || backoff.Sleep(ctx, idTakenAgain) != nil {
			return nil
		}
	}
}

// joinLiving contacts the servers whose heartbeats are read: the seeds may be gone
// for good. It returns whether one of them is in the view.
func (m *members) joinLiving(ctx context.Context) bool {
	if m.filter == nil {
		return false
	}
	m.filter.survey(ctx)
	m.gossip.ContactLost(ctx, m.Unreached())
	m.flush()
	return m.seesAnotherServer(m.views.Get())
}

func (m *members) seesAnotherServer(v *View) bool {
	name := m.gossip.Self().Name
	return slices.ContainsFunc(v.servers, func(s Member) bool { return s.Name != name })
}

// Lonely implements gossip.Company. A server that is cut off has those that it
// misses in its view.
func (m *members) Lonely() (lonely bool, changed <-chan struct{}) {
	view, changed := m.views.Watch()
	return m.filter.isCutOff() || !m.seesAnotherServer(view), changed
}

// Unreached implements gossip.Company.
func (m *members) Unreached() map[string]string { return m.filter.unreached() }

// Knows implements remote.Acquaintances.
func (m *members) Knows(name string) bool { return m.gossip.Knows(name) }

// Broke implements remote.Acquaintances.
func (m *members) Broke(name, address string) { m.gossip.Broke(name, address) }

// Met implements remote.Acquaintances.
func (m *members) Met(name string) { m.gossip.Met(name) }

// Introduce implements remote.Acquaintances.
func (m *members) Introduce(name, address string) {
	m.gossip.Introduce(name, address, m.views.Get().Members)
}

// Relays implements remote.Acquaintances.
func (m *members) Relays(address string) (name string, servers []string) {
	view, self := m.views.Get(), m.gossip.Self().Name
	for _, member := range view.Members {
		switch {
		case member.Address == address:
			name = member.Name // The latest of one worker id.
		case member.Role == RoleServer && member.Name != self:
			servers = append(servers, member.Address)
		}
	}
	if name == "" {
		return "", nil
	}
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	return name, servers
}

// Proved implements remote.Acquaintances.
func (m *members) Proved(name string, role Role) { m.proofs.note(name, role) }

// PassesOn implements remote.Acquaintances.
func (m *members) PassesOn(address string) bool {
	return m.config.Role == RoleServer &&
		slices.ContainsFunc(m.views.Get().Members, func(member Member) bool { return member.Address == address })
}

// setState gossips another state of this node.
func (m *members) setState(s State) {
	m.shown.set(s)
	m.filter.kick()
}

// leave tells others, as far as that can be done in the time, and stops.
func (m *members) leave(timeout time.Duration) {
	m.gossip.Leave(timeout)
	m.shutdown()
}

// shutdown stops without telling anybody.
func (m *members) shutdown() {
	close(m.stopped)
	m.proofs.stop()
	m.gossip.Shutdown()
	m.running.Wait()
}

// shownState is the state that a node shows to others: the one that was set, or
// joining for a server that is cut off.
type shownState struct {
	gossip *gossip.Gossip
	cutOff func() bool

	// mu is held while the state is gossiped: of two at once the older could be
	// taken for the newer.
	mu     sync.Mutex
	wanted State
}

func (s *shownState) set(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = state
	s.show(gossip.ShowFor)
}

// refresh shows what follows from being cut off, or not.
func (s *shownState) refresh(timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show(timeout)
}

// show is called with mu held.
func (s *shownState) show(timeout time.Duration) {
	state := s.wanted
	if state == StateReady && s.cutOff() {
		state = StateJoining
	}
	s.gossip.Show(state, timeout)
}
