package clustertest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// windowBytes is what a connection holds between its ends.
const windowBytes = 256 << 10

// conn is one end of a connection.
type conn struct {
	network  *Network
	from, to *Host
	in, out  *pipe
	local    string
	remote   string
	other    *conn
}

var _ net.Conn = (*conn)(nil)

// pair makes both ends. Called with mu held.
func (n *Network) pair(a, b *Host, to string) (near, far *conn) {
	one, two := newPipe(), newPipe()
	near = &conn{network: n, from: a, to: b, in: one, out: two, local: a.name, remote: to}
	far = &conn{network: n, from: b, to: a, in: two, out: one, local: to, remote: a.name}
	near.other, far.other = far, near
	n.conns[near], n.conns[far] = struct{}{}, struct{}{}
	return near, far
}

// reaches says whether bytes from the other end arrive now.
func (c *conn) reaches() bool {
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	return c.network.reach(c.to, c.from)
}

// reset ends both directions with an error. Called with mu held.
func (c *conn) reset() {
	c.in.fail(syscall.ECONNRESET)
	c.out.fail(syscall.ECONNRESET)
	delete(c.network.conns, c)
}

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b, c.reaches) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

func (c *conn) Close() error {
	c.in.fail(net.ErrClosed)
	c.out.end()
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	delete(c.network.conns, c)
	// The other end reads what is left, and is woken by a healed cut as long
	// as it is open itself.
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return address(c.local) }
func (c *conn) RemoteAddr() net.Addr { return address(c.remote) }

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}
func (c *conn) SetReadDeadline(t time.Time) error  { c.in.reader.set(c.in, t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.out.writer.set(c.out, t); return nil }

// pipe is one direction.
type pipe struct {
	mu    sync.Mutex
	cond  *sync.Cond
	data  []byte
	ended bool
	err   error
	// wakes counts the times that a cut may have healed.
	wakes int

	reader, writer deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func newPipe() *pipe {
	p := &pipe{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (d *deadline) set(p *pipe, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), p.wake)
	}
	p.cond.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (p *pipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wakes++
	p.cond.Broadcast()
}

func (p *pipe) read(b []byte, reaches func() bool) (int, error) {
	for {
		p.mu.Lock()
		wakes := p.wakes
		p.mu.Unlock()
		// Asked outside of mu: the network's lock comes first.
		open := reaches()
		p.mu.Lock()
		if p.wakes != wakes {
			p.mu.Unlock()
			continue
		}
		switch {
		case p.err != nil:
			p.mu.Unlock()
			return 0, p.err
		case p.reader.passed():
			p.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case open && len(p.data) > 0:
			n := copy(b, p.data)
			p.data = p.data[n:]
			p.cond.Broadcast()
			p.mu.Unlock()
			return n, nil
		case open && p.ended:
			p.mu.Unlock()
			return 0, io.EOF
		}
		p.cond.Wait()
		p.mu.Unlock()
	}
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := 0
	for len(b) > 0 {
		switch {
		case p.err != nil:
			return written, p.err
		case p.ended:
			return written, net.ErrClosed
		case p.writer.passed():
			return written, os.ErrDeadlineExceeded
		}
		n := min(len(b), windowBytes-len(p.data))
		if n <= 0 {
			p.cond.Wait()
			continue
		}
		p.data = append(p.data, b[:n]...)
		b = b[n:]
		written += n
		p.cond.Broadcast()
	}
	return written, nil
}

func (p *pipe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.cond.Broadcast()
}

func (p *pipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.cond.Broadcast()
}
