package gossip

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/limpetrun/limpet/cluster/backoff"
)

const (
	// packetBytesMax is the longest packet that is read.
	packetBytesMax = 64 << 10
	// receiveBytes is what the system is asked to keep of packets that nobody has
	// read yet: a process that is kept waiting for a processor must not lose them.
	receiveBytes = 2 << 20
	// portTries is how often a port is chosen that is free for both protocols.
	portTries = 10
)

// netTransport is memberlist's transport by UDP and TCP. memberlist's own makes a
// new buffer of 64 KiB for each packet: with a hundred workers in a process, and
// some packets a second for each, that is most of what they cost.
type netTransport struct {
	tcp     *net.TCPListener
	udp     *net.UDPConn
	packets chan *memberlist.Packet
	streams chan net.Conn
	logger  *slog.Logger
	// closed is closed when the transport stops.
	closed  chan struct{}
	stop    sync.Once
	running sync.WaitGroup
}

var _ memberlist.Transport = (*netTransport)(nil)

// listenNet listens at an IP and a port, 0 for one that the system chooses.
func listenNet(ip string, port int, logger *slog.Logger) (*netTransport, error) {
	tries := 1
	if port == 0 {
		tries = portTries
	}
	t := &netTransport{packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), logger: logger, closed: make(chan struct{})}
	var err error
	for range tries {
		if err = t.listen(net.ParseIP(ip), port); err == nil {
			t.running.Go(t.accept)
			t.running.Go(t.receive)
			return t, nil
		}
	}
	return nil, err
}

// listen has both protocols at one port.
func (t *netTransport) listen(ip net.IP, port int) (err error) {
	if t.tcp, err = net.ListenTCP("tcp", &net.TCPAddr{IP: ip, Port: port}); err != nil {
		return err
	}
	if t.udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: t.port()}); err != nil {
		_ = t.tcp.Close()
		return err
	}
	// As much of it as the system gives.
	for n := receiveBytes; n > packetBytesMax && t.udp.SetReadBuffer(n) != nil; n /= 2 {
	}
	return nil
}

func (t *netTransport) port() int { return t.tcp.Addr().(*net.TCPAddr).Port }

// FinalAdvertiseAddr is the address that was configured, or the one that is bound.
func (t *netTransport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	if ip == "" {
		return t.tcp.Addr().(*net.TCPAddr).IP, t.port(), nil
	}
	if port == 0 {
		port = t.port()
	}
	advertised := net.ParseIP(ip)
	if advertised == nil {
		return nil, 0, errors.New("advertised address " + ip + " is not an IP")
	}
	if v4 := advertised.To4(); v4 != nil {
		advertised = v4
	}
	return advertised, port, nil
}

// WriteTo sends a packet. It returns when it was sent, as memberlist wants to know.
func (t *netTransport) WriteTo(b []byte, address string) (time.Time, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		var resolved *net.UDPAddr
		if resolved, err = net.ResolveUDPAddr("udp", address); err != nil {
			return time.Time{}, err
		}
		to = netip.AddrPortFrom(resolved.AddrPort().Addr().Unmap(), uint16(resolved.Port))
	}
	_, err = t.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// PacketCh has the packets that have come.
func (t *netTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh has the connections that others have made.
func (t *netTransport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout connects to another node.
func (t *netTransport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", address, timeout)
}

// Shutdown stops listening, and returns when nothing is passed on any more.
func (t *netTransport) Shutdown() error {
	var err error
	t.stop.Do(func() {
		close(t.closed)
		err = errors.Join(t.tcp.Close(), t.udp.Close())
	})
	t.running.Wait()
	return err
}

// receive reads into one buffer, and passes on copies that are as long as the
// packets.
func (t *netTransport) receive() {
	buffer := make([]byte, packetBytesMax)
	failures := backoff.Pauses{First: 5 * time.Millisecond, Most: time.Second}
	for {
		n, from, err := t.udp.ReadFromUDP(buffer)
		at := time.Now()
		if err != nil {
			if !t.mayGoOn("a packet was not read", err, &failures) {
				return
			}
			continue
		}
		if n == 0 {
			continue
		}
		select {
		case t.packets <- &memberlist.Packet{Buf: bytes.Clone(buffer[:n]), From: from, Timestamp: at}:
		case <-t.closed:
			return
		}
	}
}

func (t *netTransport) accept() {
	failures := backoff.Pauses{First: 5 * time.Millisecond, Most: time.Second}
	for {
		conn, err := t.tcp.Accept()
		if err != nil {
			if !t.mayGoOn("a connection was not accepted", err, &failures) {
				return
			}
			continue
		}
		select {
		case t.streams <- conn:
		case <-t.closed:
			_ = conn.Close()
			return
		}
	}
}

// mayGoOn waits a while after a failure; false if the transport stops.
func (t *netTransport) mayGoOn(what string, err error, pauses *backoff.Pauses) bool {
	select {
	case <-t.closed:
		return false
	case <-time.After(pauses.Next()):
		t.logger.Debug(what, "error", err)
		return true
	}
}
