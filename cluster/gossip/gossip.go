package gossip

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/limpetrun/limpet/messages"
)

// Transport, Packet and Address are memberlist's, for who brings a transport of
// his own.
type (
	Transport = memberlist.Transport
	Packet    = memberlist.Packet
)

// Gossip is this node's membership. Its methods may be called concurrently.
type Gossip struct {
	config  Config
	self    atomic.Pointer[Member]
	table   *table
	lookout *lookout
	lost    lostServers
	stores  stores
	list    *memberlist.Memberlist
	hearing hearing
	// making: makeKnown is under way; updating has something while update is.
	making   atomic.Bool
	updating chan struct{}
	// listening: list is there. Packets come before memberlist has said so.
	listening atomic.Bool
	// visits are gossip addresses to contact.
	visits chan string
}

// New makes one that others may read at once. It does not listen yet.
func New(c Config) *Gossip {
	g := &Gossip{config: c, table: newTable(), visits: make(chan string, visitsMax), updating: make(chan struct{}, 1), stores: stores{mine: c.Store}}
	g.self.Store(&c.Self)
	g.lookout = newLookout(g)
	return g
}

// Start listens as a member that describes itself so; nobody is joined yet.
//
// Errors: ADDRESS_IN_USE, INVALID_ARGUMENT, INTERNAL.
func (g *Gossip) Start(self Member) error {
	self.Store = g.config.Store
	meta, err := encodeMeta(self)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "node configuration: %w", err)
	}
	if len(meta) > metaBytesMax {
		return messages.Errorf(messages.CodeInvalidArgument, "pool %q and address %q together do not fit into the %d bytes that a member gossips", self.Pool, self.Address, metaBytesMax)
	}
	g.self.Store(&self)
	mc, err := g.listConfig()
	if err != nil {
		return err
	}
	list, err := createList(mc, g.config.Logger)
	if err != nil {
		if strings.Contains(err.Error(), "address already in use") {
			return messages.Errorf(messages.CodeAddressInUse, "gossip address %s is in use by another process", g.config.Address)
		}
		return messages.Errorf(messages.CodeInvalidArgument, "gossip on %s: %w", g.config.Address, err)
	}
	g.list = list
	// Another one: packets that have come already read the first.
	located := self
	n := list.LocalNode()
	located.GossipAddress = hostPort(n.Addr, n.Port)
	g.self.Store(&located)
	g.listening.Store(true)
	return nil
}

// listConfig returns memberlist's configuration.
func (g *Gossip) listConfig() (*memberlist.Config, error) {
	c := g.config
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "gossip address %s: %w", c.Address, err)
	}
	mc := c.Preset.memberlist(g.Self().Role)
	mc.Name = g.Self().Name
	mc.Delegate, mc.Events, mc.Alive, mc.Merge = delegate{g}, delegate{g}, delegate{g}, delegate{g}
	mc.Logger = listLogger(c.Logger)
	mc.Transport = c.Transport
	mc.SecretKey = c.Key
	mc.BindAddr = host
	if mc.BindPort, err = net.LookupPort("tcp", port); err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "gossip address %s: %w", c.Address, err)
	}
	mc.AdvertisePort = mc.BindPort
	if c.AdvertiseHost != "" {
		ip, err := net.ResolveIPAddr("ip", c.AdvertiseHost)
		if err != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "advertised host %s: %w", c.AdvertiseHost, err)
		}
		mc.AdvertiseAddr = ip.String()
	}
	return mc, nil
}

// createList listens, unless there is a transport, and makes the member list.
func createList(mc *memberlist.Config, logger *slog.Logger) (*memberlist.Memberlist, error) {
	if mc.Transport != nil {
		return memberlist.Create(mc)
	}
	t, err := listenNet(mc.BindAddr, mc.BindPort, logger)
	if err != nil {
		return nil, err
	}
	mc.Transport, mc.BindPort = t, t.port()
	list, err := memberlist.Create(mc)
	if err != nil {
		return nil, errors.Join(err, t.Shutdown())
	}
	return list, nil
}

// Self returns this node as it describes itself now; its ID is empty.
func (g *Gossip) Self() Member { return *g.self.Load() }

// Changed has a signal when Take may return something else.
func (g *Gossip) Changed() <-chan struct{} { return g.table.changed }

// Wake has the members taken again.
func (g *Gossip) Wake() { g.table.wake() }

// Take returns the news since the last Take, the members that live, and those of
// them that had been declared gone. Members that are suspected have been looked at
// by then.
func (g *Gossip) Take() (news []News, members, returned []Member) {
	news, members, returned = g.table.take()
	for _, n := range news {
		switch n.What {
		case Suspected:
			g.lookout.at(n.Name)
		case Unreadable:
			g.config.Logger.Warn("a member that cannot be read is left out", "error", n.Error)
		}
	}
	return news, members, returned
}

// Members returns the members that live.
func (g *Gossip) Members() []Member { return g.table.members() }

// Knows says whether a process is a live member.
func (g *Gossip) Knows(name string) bool { return g.table.isLive(name) }

// IsWell says whether a process is a live member and nobody says otherwise.
func (g *Gossip) IsWell(name string) bool { return g.table.isWell(name) }

// SaidLeaving says whether a process that is gone had said that it leaves.
func (g *Gossip) SaidLeaving(name string) bool { return g.table.saidLeaving(name) }

// Show gossips the state of this node. It may wait so long until a packet with it
// was sent. Of two calls at once the older state could be taken for the newer: the
// caller orders them.
func (g *Gossip) Show(s State, timeout time.Duration) {
	self := g.Self()
	if self.State == s {
		return
	}
	self.State = s
	g.self.Store(&self)
	// A timeout says only that no packet with the news was sent yet; it goes
	// out with the next exchange at the latest.
	if err := g.update(timeout); err != nil {
		g.config.Logger.Debug("the new state is not gossiped yet", "error", err)
	}
}

// Packet sends one to another node, by what was heard of it: what memberlist's
// Members returns is changed by its goroutines while it is read.
func (g *Gossip) Packet(name, gossipAddress string, content []byte) {
	if err := g.list.SendToAddress(memberlist.Address{Addr: gossipAddress, Name: name}, content); err != nil {
		g.config.Logger.Debug("a packet was not sent", "to", name, "error", err)
	}
}

// Leave tells others that this node leaves, as far as that can be done in the time.
func (g *Gossip) Leave(timeout time.Duration) {
	g.sayLeaving()
	if err := g.list.Leave(timeout); err != nil {
		g.config.Logger.Debug("left without telling everybody", "error", err)
	}
}

// sayLeaving tells everybody that this node leaves, so that nobody waits for it
// to refute the news. Who misses it waits a moment longer.
func (g *Gossip) sayLeaving() {
	self := g.Self().Name
	for _, m := range g.Members() {
		if m.Name != self {
			g.Packet(m.Name, m.GossipAddress, []byte(leavePrefix+self))
		}
	}
}

// Shutdown stops without telling anybody.
func (g *Gossip) Shutdown() {
	g.lookout.stop()
	if err := g.list.Shutdown(); err != nil {
		g.config.Logger.Debug("memberlist did not stop cleanly", "error", err)
	}
}

// refuteTime is how long a member has to refute a verdict: longer where this
// process was kept waiting of late.
func (g *Gossip) refuteTime() time.Duration {
	p := g.config.Preset
	if p.RefuteTime <= 0 {
		return 0
	}
	return p.RefuteTime + g.config.Delay.slack(p)
}

// delegate is called by memberlist under its lock (M5).
type delegate struct{ g *Gossip }

var (
	_ memberlist.EventDelegate = delegate{}
	_ memberlist.Delegate      = delegate{}
)

func (d delegate) NotifyJoin(n *memberlist.Node) {
	d.g.table.joined(n.Name, hostPort(n.Addr, n.Port), bytes.Clone(n.Meta))
}

func (d delegate) NotifyUpdate(n *memberlist.Node) {
	d.g.table.updated(n.Name, hostPort(n.Addr, n.Port), bytes.Clone(n.Meta))
}

func (d delegate) NotifyLeave(n *memberlist.Node) { d.g.table.declaredDead(n.Name, d.g.refuteTime) }

// NodeMeta returns what fits: Start has refused what would not.
func (d delegate) NodeMeta(limit int) []byte {
	self := d.g.Self()
	self.Store = d.g.stores.own()
	meta, err := encodeMeta(self)
	if err != nil || len(meta) > limit {
		return nil
	}
	return meta
}

// NotifyMsg takes the packet of another member.
func (d delegate) NotifyMsg(packet []byte) {
	if !d.g.listening.Load() {
		return
	}
	said := func(prefix string) (name string, ok bool) {
		rest, ok := bytes.CutPrefix(packet, []byte(prefix))
		return string(rest), ok
	}
	if name, ok := said(leavePrefix); ok {
		d.g.table.expectLeaving(name)
	} else if name, ok := said(lookPrefix); ok {
		d.g.lookout.at(name)
	} else if name, ok := said(hearPrefix); ok {
		d.g.askedWhetherHeard(name)
	} else if name, ok := said(heardPrefix); ok {
		d.g.hearing.heardElsewhere(name)
	} else if name, ok := said(herePrefix); ok {
		d.g.table.isHere(name)
	} else if name, ok := said(refutePrefix); ok {
		if name == d.g.Self().Name {
			d.g.makeKnown()
		}
	} else {
		d.g.config.OnPacket(packet)
	}
}

func (d delegate) GetBroadcasts(_, _ int) [][]byte { return nil }
func (d delegate) LocalState(bool) []byte          { return nil }
func (d delegate) MergeRemoteState([]byte, bool)   {}

// hostPort is an address of memberlist's.
func hostPort(host net.IP, port uint16) string {
	return net.JoinHostPort(host.String(), strconv.Itoa(int(port)))
}

// listLogger is memberlist's logger. Where its lines would be dropped they are not
// made: a worker has one for each other worker that it hears of.
func listLogger(to *slog.Logger) *log.Logger {
	if !to.Enabled(context.Background(), slog.LevelDebug) {
		return log.New(io.Discard, "", 0)
	}
	return log.New(listWriter{to}, "", 0)
}

// listWriter passes memberlist's log lines on as debug records: what matters of
// them reaches users by views and errors.
type listWriter struct{ *slog.Logger }

func (w listWriter) Write(p []byte) (int, error) {
	w.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}
