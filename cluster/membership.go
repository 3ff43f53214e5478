package cluster

import (
	"bytes"
	"log"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/limpetrun/limpet/messages"
)

// membership keeps the newest View by memberlist's events. It knows nothing of
// actors.
type membership struct {
	config Config
	self   atomic.Pointer[Member]
	list   *memberlist.Memberlist
	events *events
	// listening: list is there. Packets come before memberlist has said so.
	listening atomic.Bool

	// current is the newest view; changed is closed when a newer one is there.
	current atomic.Pointer[viewState]
	// publish is called on one goroutine with each new view and its
	// predecessor.
	publish func(old, new *View)
	// returned is called on the same goroutine for a member that had been
	// declared gone and is back.
	returned func(Member)

	// filter holds verdicts back; nil for none.
	filter *verdictFilter
	// lookout finds out who has ended.
	lookout *lookout
	// leases are what a worker may act by, and what holds verdicts on it back.
	leases *leases
	// stopped is closed when the node leaves.
	stopped chan struct{}
	flushes chan chan struct{}
	// introductions are gossip addresses to contact.
	introductions chan string
	running       sync.WaitGroup

	mu   sync.Mutex
	lost map[string]lostServer
	// wanted is the state that setState gave.
	wanted State
	// showing is held while the state is gossiped: of two at once the older could
	// be taken for the newer.
	showing sync.Mutex
}

type viewState struct {
	view    *View
	changed chan struct{}
}

// events is memberlist's delegate. memberlist calls it under its lock: it
// copies, signals and returns, and one goroutine publishes.
type events struct {
	mu   sync.Mutex
	live map[string]heard
	// appearances counts all of them.
	appearances int
	// gone are names that left, at most goneMax.
	gone map[string]struct{}
	// buried are members whose process has ended, as the lookout found out, and
	// whom memberlist still holds for alive.
	buried map[string]heard
	// anyBuried is for those who ask with each message.
	anyBuried atomic.Bool
	// dying are members that memberlist has declared dead, and that have the
	// time that refute gives to refute it; they are still live. leaving have
	// said that they leave: there is nothing to refute.
	dying   map[string]*dying
	leaving map[string]struct{}
	refute  func() time.Duration
	// doomed is told of each member that is dying, asked takes the messages of
	// other members. Neither waits.
	doomed func(name string)
	asked  func([]byte)
	// over is told of a member whose process has ended, or that leaves, and back
	// of one that is there. Neither waits.
	over func(name string, left bool)
	back func(name string)
	// reached is told of the address of each member that appears. It is quick.
	reached func(address string)
	signal  chan struct{}
	meta    func() []byte
}

// goneMax bounds the names that are remembered to tell who comes back that it
// had been declared gone.
const goneMax = 1024

// introductionsMax bounds the introductions that wait; more are left to the
// next connection.
const introductionsMax = 16

var (
	_ memberlist.EventDelegate = (*events)(nil)
	_ memberlist.Delegate      = (*events)(nil)
)

func (e *events) NotifyJoin(n *memberlist.Node) {
	e.mu.Lock()
	if e.refuted(n) {
		e.mu.Unlock()
		e.wake()
		return
	}
	// Each return of a name is an appearance of its own, even when the
	// publisher sees its leaving and its return at once: the library's member
	// list never again accepts a member id that left.
	e.appearances++
	h := e.hear(n, e.appearances)
	_, h.returned = e.gone[n.Name]
	delete(e.gone, n.Name)
	e.forgetBuried(n.Name)
	e.live[n.Name] = h
	e.back(n.Name)
	e.mu.Unlock()
	e.wake()
	if m, err := h.member(); err == nil {
		e.reached(m.Address)
	}
}

func (e *events) NotifyUpdate(n *memberlist.Node) {
	e.mu.Lock()
	if h, ok := e.buried[n.Name]; ok {
		e.buried[n.Name] = e.hear(n, h.appearance)
		e.mu.Unlock()
		return
	}
	h := e.hear(n, e.live[n.Name].appearance)
	h.returned = e.live[n.Name].returned
	e.live[n.Name] = h
	e.mu.Unlock()
	e.wake()
}

func (e *events) NotifyLeave(n *memberlist.Node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, live := e.live[n.Name]
	_, leaving := e.leaving[n.Name]
	delete(e.leaving, n.Name)
	e.forgetBuried(n.Name)
	if due := e.refute(); live && !leaving && due > 0 && h.ready() {
		d := &dying{since: time.Now()}
		d.timer = time.AfterFunc(due, func() { e.die(n.Name, d) })
		e.dying[n.Name] = d
		e.doomed(n.Name)
		return
	}
	e.leave(n.Name)
}

// leave takes a member out.
func (e *events) leave(name string) {
	delete(e.live, name)
	delete(e.dying, name)
	e.rememberGone(name)
	e.wake()
}

// refuted says whether a member that is dying lives: it never left then.
func (e *events) refuted(n *memberlist.Node) bool {
	d, dying := e.dying[n.Name]
	if !dying {
		return false
	}
	d.timer.Stop()
	delete(e.dying, n.Name)
	old := e.live[n.Name]
	h := e.hear(n, old.appearance)
	h.returned = old.returned
	e.live[n.Name] = h
	return true
}

// dying is a member that has been declared dead a moment ago.
type dying struct {
	since time.Time
	timer *time.Timer
}

// die takes a member out that has not refuted that it is dead. If this process
// was kept waiting meanwhile, so may have been the member.
func (e *events) die(name string, d *dying) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dying[name] != d {
		return
	}
	if left := e.refute() - time.Since(d.since); left > 0 {
		d.timer.Reset(left)
		return
	}
	e.leave(name)
}

func (e *events) rememberGone(name string) {
	for old := range e.gone {
		if len(e.gone) < goneMax {
			break
		}
		delete(e.gone, old)
	}
	e.gone[name] = struct{}{}
}

func (e *events) hear(n *memberlist.Node, appearance int) heard {
	return heard{name: n.Name, appearance: appearance, address: joinHostPort(n.Addr, n.Port), meta: bytes.Clone(n.Meta)}
}

func (e *events) wake() {
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// NodeMeta returns what fits: Start has refused what would not.
func (e *events) NodeMeta(limit int) []byte {
	if meta := e.meta(); len(meta) <= limit {
		return meta
	}
	return nil
}

func (e *events) NotifyMsg(message []byte)        { e.asked(message) }
func (e *events) GetBroadcasts(_, _ int) [][]byte { return nil }
func (e *events) LocalState(bool) []byte          { return nil }
func (e *events) MergeRemoteState([]byte, bool)   {}
func (e *events) snapshot() []heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.live))
}

// newMembership makes one with an empty view, which others may read at once.
func newMembership(c Config, drowsy *drowsiness, publish func(old, new *View), returned func(Member)) *membership {
	m := &membership{
		config: c, publish: publish, returned: returned,
		stopped: make(chan struct{}), flushes: make(chan chan struct{}), lost: map[string]lostServer{},
		introductions: make(chan string, introductionsMax),
	}
	m.self.Store(&Member{})
	m.current.Store(&viewState{view: NewView(0, nil), changed: make(chan struct{})})
	m.events = &events{
		live: map[string]heard{}, gone: map[string]struct{}{}, buried: map[string]heard{},
		dying: map[string]*dying{}, leaving: map[string]struct{}{}, signal: make(chan struct{}, 1),
		meta:    func() []byte { meta, _ := encodeMeta(m.Self()); return meta },
		reached: func(string) {},
	}
	m.events.refute = func() time.Duration {
		if c.Preset.RefuteTime <= 0 {
			return 0
		}
		return c.Preset.RefuteTime + drowsy.slack(c.Preset)
	}
	m.lookout = newLookout(m)
	m.leases = newLeases(m)
	m.events.over, m.events.back = m.leases.over, m.leases.alive
	m.events.asked = func(message []byte) {
		if m.listening.Load() && !m.leases.heard(message) {
			m.lookout.asked(message)
		}
	}
	m.events.doomed = m.lookout.doomed
	return m
}

// start listens and returns when the view holds this node; it has not joined
// anybody yet.
func (m *membership) start(self Member) error {
	m.self.Store(&self)
	m.wanted = self.State
	mc, err := m.listConfig()
	if err != nil {
		return err
	}
	list, err := memberlist.Create(mc)
	if err != nil {
		if strings.Contains(err.Error(), "address already in use") {
			return messages.Errorf(messages.CodeAddressInUse, "gossip address %s is in use by another process", m.config.GossipAddress)
		}
		return messages.Errorf(messages.CodeInvalidArgument, "gossip on %s: %w", m.config.GossipAddress, err)
	}
	m.list = list
	// Another one: packets that have come already read the first.
	located := self
	n := m.list.LocalNode()
	located.GossipAddress = joinHostPort(n.Addr, n.Port)
	m.self.Store(&located)
	m.listening.Store(true)
	m.refresh()
	m.running.Go(m.publishLoop)
	return nil
}

func (m *membership) publishLoop() {
	for {
		select {
		case <-m.stopped:
			return
		case <-m.events.signal:
			m.refresh()
		case done := <-m.flushes:
			m.refresh()
			close(done)
		}
	}
}

// flush returns when the view holds what was heard before.
func (m *membership) flush() {
	done := make(chan struct{})
	m.flushes <- done
	<-done
}

// refresh makes a new view if what was heard differs from the newest one.
func (m *membership) refresh() {
	members, returned, unreadable := m.heardMembers()
	for _, err := range unreadable {
		m.config.Logger.Warn("a member that cannot be read is left out", "error", err)
	}
	old := m.current.Load()
	// A verdict that was held back has cost the member nothing.
	returned = slices.DeleteFunc(returned, func(member Member) bool { return m.leases.keeps(member.Name) })
	members = m.leases.filter(old.view, m.filter.filter(old.view, members))
	view := old.view.next(members)
	if slices.Equal(view.Members, old.view.Members) {
		return
	}
	m.current.Store(&viewState{view: view, changed: make(chan struct{})})
	close(old.changed)
	m.rememberServers(old.view, view)
	m.leases.viewChanged()
	m.publish(old.view, view)
	for _, member := range returned {
		_, known := old.view.byID(member.ID)
		_, held := old.view.Member(member.Name)
		if !known && !(held && m.filter != nil) {
			m.returned(member)
		}
	}
}

// heardMembers decodes what memberlist told of: the members that live, and
// those of them that had been declared gone.
func (m *membership) heardMembers() (members, returned []Member, unreadable []error) {
	for _, h := range m.events.snapshot() {
		member, err := h.member()
		if err != nil {
			unreadable = append(unreadable, err)
			continue
		}
		members = append(members, member)
		if h.returned {
			returned = append(returned, member)
		}
	}
	return members, returned, unreadable
}

// well says whether a member is live, and nobody says otherwise.
func (e *events) well(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, live := e.live[name]
	_, dying := e.dying[name]
	return live && !dying
}

// Self returns this node as it describes itself now.
func (m *membership) Self() Member { return *m.self.Load() }

// setState gossips another state of this node.
func (m *membership) setState(s State) error {
	m.mu.Lock()
	m.wanted = s
	m.mu.Unlock()
	m.showState(time.Second)
	m.filter.kick()
	return nil
}

// showState gossips the state that this node is in: the one that was set, or
// joining for a server that is cut off.
func (m *membership) showState(timeout time.Duration) {
	m.showing.Lock()
	defer m.showing.Unlock()
	cutOff := m.filter.isCutOff()
	m.mu.Lock()
	self := m.Self()
	s := m.wanted
	if cutOff && s == StateReady {
		s = StateJoining
	}
	same := self.State == s
	self.State = s
	m.self.Store(&self)
	m.mu.Unlock()
	if same {
		return
	}
	// A timeout says only that no packet with the news was sent yet; it goes
	// out with the next exchange at the latest.
	if err := m.list.UpdateNode(timeout); err != nil {
		m.config.Logger.Debug("the new state is not gossiped yet", "error", err)
	}
}

// packet sends one to another node's delegate, by what events told of it: what
// memberlist's Members returns is changed by its goroutines while it is read.
func (m *membership) packet(to Member, content string) {
	if err := m.list.SendToAddress(memberlist.Address{Addr: to.GossipAddress, Name: to.Name}, []byte(content)); err != nil {
		m.config.Logger.Debug("a packet was not sent", "to", to.Name, "error", err)
	}
}

// leave tells others, as far as that can be done in the time, and stops.
func (m *membership) leave(timeout time.Duration) {
	m.lookout.sayLeaving()
	if err := m.list.Leave(timeout); err != nil {
		m.config.Logger.Debug("left without telling everybody", "error", err)
	}
	m.shutdown()
}

// shutdown stops without telling anybody.
func (m *membership) shutdown() {
	close(m.stopped)
	m.lookout.stop()
	if err := m.list.Shutdown(); err != nil {
		m.config.Logger.Debug("memberlist did not stop cleanly", "error", err)
	}
	m.running.Wait()
}

// listLogger passes memberlist's log lines on as debug records: what matters
// of them reaches users by views and errors.
func listLogger(l *slog.Logger) *log.Logger { return log.New(listWriter{l}, "", 0) }

type listWriter struct{ *slog.Logger }

func (w listWriter) Write(p []byte) (int, error) {
	w.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}
