// Package clustertest is a network in memory for nodes of a cluster: gossip
// and remoting run over it on fake time, inside a testing/synctest bubble, and
// it can be cut.
//
// Data flow: Network.Host gives a host, Host.Configure puts it into a node's
// configuration; Split, Heal, Crash and Freeze then act on what the nodes send
// to each other.
//
// A connection across a cut stalls, as TCP does, and goes on when the cut
// heals; packets are lost. What a crashed host had open is reset.
//
// Imports only cluster.
package clustertest

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/gossip"
)

// Network connects hosts. The zero value is ready.
type Network struct {
	mu    sync.Mutex
	ports int
	// transports and listeners by address, of hosts that run.
	transports map[string]*transport
	listeners  map[string]*listener
	conns      map[*conn]struct{}
	// group of a host: hosts of different groups do not reach each other.
	group map[*Host]int
	// oneWay has the pairs, from and to, that are cut in that direction alone.
	oneWay map[[2]*Host]bool
}

// Host is one machine with one node.
type Host struct {
	network *Network
	name    string
	// Gossip and Actors are the addresses of the node's two listeners.
	Gossip, Actors string
	crashed        bool
	frozen         bool
}

// Host adds a host with addresses of its own.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports == 0 {
		n.ports = 10000
		n.transports, n.listeners = map[string]*transport{}, map[string]*listener{}
		n.conns, n.group = map[*conn]struct{}{}, map[*Host]int{}
	}
	n.ports += 2
	return &Host{network: n, name: name, Gossip: fmt.Sprintf("127.0.0.1:%d", n.ports), Actors: fmt.Sprintf("127.0.0.1:%d", n.ports+1)}
}

// Again returns a host at the addresses of h, for the process that is started
// there after h's has ended.
func (h *Host) Again() *Host {
	return &Host{network: h.network, name: h.name, Gossip: h.Gossip, Actors: h.Actors}
}

// Configure makes a node use the host.
func (h *Host) Configure(c cluster.Config) cluster.Config {
	t := &transport{host: h, packets: make(chan *gossip.Packet, 1024), streams: make(chan net.Conn, 64)}
	n := h.network
	n.mu.Lock()
	n.transports[h.Gossip] = t
	n.mu.Unlock()
	c.GossipAddress, c.BindAddress, c.Transport = h.Gossip, h.Actors, t
	c.Listen = func(string) (net.Listener, error) { return h.listen() }
	c.Dial = func(ctx context.Context, address string) (net.Conn, error) { return h.dial(ctx, address) }
	return c
}

// Split puts the hosts into a group of their own, cut off from all others.
func (n *Network) Split(hosts ...*Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number := len(n.group) + 1
	for _, g := range n.group {
		number = max(number, g+1)
	}
	for _, h := range hosts {
		n.group[h] = number
	}
}

// SplitOneWay loses what one host sends to another one, but not the way back.
func (n *Network) SplitOneWay(from, to *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.oneWay == nil {
		n.oneWay = map[[2]*Host]bool{}
	}
	n.oneWay[[2]*Host{from, to}] = true
}

// SplitAddress cuts off the host with an address of a node's listeners.
func (n *Network) SplitAddress(address string) {
	n.mu.Lock()
	var found *Host
	if l := n.listeners[address]; l != nil {
		found = l.host
	} else if t := n.transports[address]; t != nil {
		found = t.host
	}
	n.mu.Unlock()
	if found != nil {
		n.Split(found)
	}
}

// Heal ends all cuts.
func (n *Network) Heal() {
	n.mu.Lock()
	clear(n.group)
	clear(n.oneWay)
	n.wakeAll()
	n.mu.Unlock()
}

// Crash ends the host at once: connections are reset, and its addresses are
// free for a host made by Again.
func (h *Host) Crash() {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	h.crashed = true
	if t := n.transports[h.Gossip]; t != nil && t.host == h {
		delete(n.transports, h.Gossip)
	}
	if l := n.listeners[h.Actors]; l != nil && l.host == h {
		delete(n.listeners, h.Actors)
		l.shut()
	}
	for c := range n.conns {
		if c.from == h || c.to == h {
			c.reset()
		}
	}
}

// Freeze stops everything that the host sends and receives, as a stopped
// process does: what comes meanwhile is kept until Thaw. The node itself runs
// on, as if it alone were cut off.
func (h *Host) Freeze() {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	h.frozen = true
}

// Thaw ends Freeze.
func (h *Host) Thaw() {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	h.frozen = false
	h.network.wakeAll()
	if t := h.network.transports[h.Gossip]; t != nil {
		for _, p := range t.kept {
			t.take(p)
		}
		t.kept = nil
	}
}

func (n *Network) wakeAll() {
	for c := range n.conns {
		c.in.wake()
		c.out.wake()
	}
}

// reach says whether bytes go from a to b now. Called with mu held.
func (n *Network) reach(a, b *Host) bool {
	return !a.frozen && !b.frozen && n.wired(a, b)
}

// wired says whether the system of b gets what a sends. Called with mu held.
func (n *Network) wired(a, b *Host) bool {
	return !a.crashed && !b.crashed && n.group[a] == n.group[b] && !n.oneWay[[2]*Host{a, b}]
}

func (h *Host) listen() (net.Listener, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.listeners[h.Actors]; taken {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{host: h, incoming: make(chan net.Conn, 64), closed: make(chan struct{})}
	n.listeners[h.Actors] = l
	return l, nil
}

var errRefused error = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

// dial opens a connection to a listener, or to a gossip address; across a cut it
// waits. The system of a frozen process accepts it.
func (h *Host) dial(ctx context.Context, address string) (net.Conn, error) {
	n := h.network
	n.mu.Lock()
	l := n.listeners[address]
	if l == nil {
		n.mu.Unlock()
		return (&transport{host: h}).DialTimeout(address, gossip.LookFor)
	}
	if h.frozen || !n.wired(h, l.host) || !n.wired(l.host, h) {
		n.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	near, far := n.pair(h, l.host, address)
	n.mu.Unlock()
	select {
	case l.incoming <- far:
		return near, nil
	case <-l.closed:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// listener of a host's remoting.
type listener struct {
	host     *Host
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (l *listener) shut() { l.once.Do(func() { close(l.closed) }) }

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	n := l.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[l.host.Actors] == l {
		delete(n.listeners, l.host.Actors)
	}
	l.shut()
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address(l.host.Actors) }

type address string

func (a address) Network() string { return "memory" }
func (a address) String() string  { return string(a) }

// transport of a host's gossip.
type transport struct {
	host    *Host
	packets chan *gossip.Packet
	streams chan net.Conn
	// kept are packets that came while the host was frozen.
	kept []packet
}

var _ gossip.Transport = (*transport)(nil)

// FinalAdvertiseAddr implements gossip.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	a, err := net.ResolveTCPAddr("tcp", t.host.Gossip)
	if err != nil {
		return nil, 0, err
	}
	return a.IP.To4(), a.Port, nil
}

// WriteTo implements gossip.Transport: a packet that does not reach its
// destination is lost.
func (t *transport) WriteTo(b []byte, to string) (time.Time, error) {
	n := t.host.network
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	dest := n.transports[to]
	switch {
	case dest == nil:
	case n.reach(t.host, dest.host):
		dest.take(packet{now, t.host, append([]byte(nil), b...)})
	case dest.host.frozen && !t.host.frozen && n.group[t.host] == n.group[dest.host] && len(dest.kept) < keptPacketsMax:
		dest.kept = append(dest.kept, packet{now, t.host, append([]byte(nil), b...)})
	}
	return now, nil
}

// keptPacketsMax is what the kernel keeps for a process that does not read.
const keptPacketsMax = 500

type packet struct {
	at   time.Time
	from *Host
	data []byte
}

// take drops the packet if the node does not read fast enough.
func (t *transport) take(p packet) {
	select {
	case t.packets <- &gossip.Packet{Buf: p.data, From: address(p.from.Gossip), Timestamp: p.at}:
	default:
	}
}

// PacketCh implements gossip.Transport.
func (t *transport) PacketCh() <-chan *gossip.Packet { return t.packets }

// StreamCh implements gossip.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout implements gossip.Transport.
func (t *transport) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	n := t.host.network
	n.mu.Lock()
	dest := n.transports[to]
	if dest == nil {
		n.mu.Unlock()
		return nil, errRefused
	}
	if !n.reach(t.host, dest.host) || !n.reach(dest.host, t.host) {
		n.mu.Unlock()
		time.Sleep(timeout)
		return nil, os.ErrDeadlineExceeded
	}
	near, far := n.pair(t.host, dest.host, to)
	n.mu.Unlock()
	select {
	case dest.streams <- far:
		return near, nil
	default:
		return nil, errRefused
	}
}

// Shutdown implements gossip.Transport.
func (t *transport) Shutdown() error {
	n := t.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.transports[t.host.Gossip] == t {
		delete(n.transports, t.host.Gossip)
	}
	return nil
}
