package remote

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/limpetrun/limpet/cluster/identity"
)

// link is one way to the process of a peer: a stream on a connection of its own, to
// that process or to a server that passes it on.
type link struct {
	peer *peer
	// by is the address of the server that passes on; empty for the direct way.
	by     string
	ctx    context.Context
	cancel context.CancelCauseFunc
	conn   *grpc.ClientConn
	stream remote.Remoting_ReceiveClient
	going  sync.WaitGroup

	// answers has something when a question was answered; heard counts the answers.
	answers chan struct{}
	heard   atomic.Uint64
	// ask fires when what was sent is to be asked about, silence when the answer is
	// late. waiting: there is something to be answered.
	ask, silence *time.Timer
	waiting      atomic.Bool
	// next is the link to go on with instead of this one.
	next chan *link

	// mu guards what the goroutines of gRPC set.
	mu      sync.Mutex
	raw     net.Conn
	refused bool
}

// newLink makes a link that connect then opens, or closes.
func (p *peer) newLink(by string) *link {
	l := &link{peer: p, by: by, answers: make(chan struct{}, 1), next: make(chan *link, 1), ask: stoppedTimer(), silence: stoppedTimer()}
	l.ctx, l.cancel = context.WithCancelCause(p.ctx)
	return l
}

// connect opens the link and has the process at its end say its name, which has to be
// the given one on the way by a server. It gives up when ctx ends.
func (l *link) connect(ctx context.Context, name string) error {
	stop := context.AfterFunc(ctx, func() { l.cancel(context.Cause(ctx)) })
	err := l.open()
	if err == nil {
		err = l.greet(name)
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		l.close()
		if l.wasRefused() {
			return errors.Join(err, syscall.ECONNREFUSED)
		}
	}
	return err
}

// stoppedTimer is one that is set later.
func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// open begins the stream.
func (l *link) open() (err error) {
	r, address := l.peer.r, l.peer.address
	ctx := metadata.AppendToOutgoingContext(l.ctx, roleHeader, string(r.role))
	if l.by != "" {
		address = l.by
		ctx = metadata.AppendToOutgoingContext(ctx, relayToHeader, l.peer.address)
	}
	if l.conn, err = r.newConn(address, l.dial); err != nil {
		return err
	}
	// Without WaitForReady: a refused connection fails at once.
	l.stream, err = remote.NewRemotingClient(l.conn).Receive(ctx)
	return err
}

// newConn makes a connection to the remoting of a node.
func (r *Remote) newConn(address string, dial func(context.Context, string) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(r.credentials),
		grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytesMax), grpc.MaxCallSendMsgSize(messageBytesMax)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: grpcbackoff.DefaultConfig, MinConnectTimeout: time.Minute}),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(4<<20),
		grpc.WithWriteBufferSize(128<<10),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
	)
}

// dial connects; the direct way by another try each time that one is asked for.
func (l *link) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := l.dialAgain(ctx, address)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.raw, l.refused = conn, errors.Is(err, syscall.ECONNREFUSED)
	return conn, err
}

func (l *link) dialAgain(ctx context.Context, address string) (net.Conn, error) {
	if l.by != "" {
		return l.peer.r.dial(ctx, address)
	}
	type dialed struct {
		conn net.Conn
		err  error
	}
	for {
		try, cancel := context.WithCancel(ctx)
		done := make(chan dialed, 1)
		go func() {
			conn, err := l.peer.r.dial(try, address)
			done <- dialed{conn, err}
		}()
		select {
		case d := <-done:
			cancel()
			return d.conn, d.err
		case <-l.peer.anew:
			cancel()
			if d := <-done; d.err == nil {
				return d.conn, nil
			}
		}
	}
}

func (l *link) wasRefused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// accepted says that the system at the other end has taken the connection.
func (l *link) accepted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw != nil
}

// greet exchanges names.
func (l *link) greet(name string) error {
	p := l.peer
	err := l.stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{
		ConnectionType: &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{
			SystemId: p.r.name, Address: p.r.system.Address(),
		}},
	}}})
	if err != nil {
		return err
	}
	answer, err := l.stream.Recv()
	if err != nil {
		return err
	}
	response := answer.GetConnectResponse()
	if response == nil || response.Blocked {
		return errors.New("the peer refused the connection")
	}
	if l.by != "" && response.MemberId != name {
		return errors.New("another process than the member is at the address")
	}
	header, err := l.stream.Header()
	if err == nil {
		err = l.proves(response.MemberId, header)
	}
	if err != nil || l.by != "" {
		return err
	}
	if len(header.Get(strangerHeader)) > 0 || !p.r.known.Knows(response.MemberId) {
		p.r.known.Introduce(response.MemberId, p.address)
	}
	return nil
}

// proves checks that the certificate of who is connected to lets it be the process, or
// pass on to it, and remembers who is there.
func (l *link) proves(name string, header metadata.MD) error {
	p := l.peer
	is := identity.Member{Role: identity.Role(strings.Join(header.Get(roleHeader), ","))}
	is.ID, is.Incarnation, _ = strings.Cut(name, "~")
	if err := p.r.admits(l.stream.Context(), is, l.by != ""); err != nil {
		p.r.refuse(RefusedMember, "a process that this one connects to is not believed", "at", p.address, "error", err)
		return err
	}
	p.box.named(name, is.Role)
	p.r.known.Proved(name, is.Role)
	return nil
}

// attend begins to listen to what comes back, and to look after the link.
func (l *link) attend() {
	l.going.Go(l.listen)
	l.going.Go(l.mind)
	if l.by != "" {
		l.going.Go(l.seekDirect)
	}
}

// listen takes the answers. Sending would not notice the end of the stream before
// the next message.
func (l *link) listen() {
	for {
		if _, err := l.stream.Recv(); err != nil {
			l.cancel(err)
			return
		}
		l.heard.Add(1)
		select {
		case l.answers <- struct{}{}:
		default:
		}
	}
}

// directTries is for how many times the patience the direct way is tried while
// another one is used.
const directTries = 3

// silentMost bounds how much seldomer it is looked whether a link that is silent is
// cut.
const silentMost = 8

// mind looks for another way when this one is silent, or the other side has come by
// another one. The longer it is silent and
// nothing is cut, the seldomer: the process has too much to do, or is frozen.
func (l *link) mind() {
	heard, pause := uint64(0), time.Duration(0)
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.peer.doubted:
			if l.by != "" {
				continue
			}
		case <-l.silence.C:
			if !l.waiting.Load() {
				continue
			}
		}
		if next := l.better(); next != nil {
			l.replace(next)
			return
		}
		if now := l.heard.Load(); now != heard || pause == 0 {
			heard, pause = now, l.peer.r.silentAfter(0)
		} else {
			pause = min(2*pause, silentMost*l.peer.r.silentAfter(0))
		}
		l.silence.Reset(pause)
	}
}

// better returns another way if this one does not lead there; nil if it does, or if
// none does: the process may be what is silent.
func (l *link) better() *link {
	heard, detoursAfter := l.heard.Load(), patienceTicks
	if l.by == "" {
		if l.peer.accepts(l.ctx) {
			return nil
		}
		detoursAfter = 0
	}
	next, err := l.peer.search(l.ctx, detoursAfter)
	switch {
	case err != nil:
		return nil
	case l.heard.Load() != heard, l.by == "" && next.by == "":
		// What is slow is not cut.
		next.leave()
		return nil
	}
	return next
}

// seekDirect goes back to the direct way once it is there.
func (l *link) seekDirect() {
	pause := time.NewTimer(l.peer.r.patience)
	defer pause.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-pause.C:
		}
		ctx, cancel := context.WithTimeoutCause(l.ctx, directTries*l.peer.r.patience, errUnanswered)
		direct := l.peer.newLink("")
		err := direct.connect(ctx, "")
		cancel()
		if err == nil {
			l.replace(direct)
			return
		}
		pause.Reset(l.peer.r.patience)
	}
}

// replace has the peer go on with another link.
func (l *link) replace(next *link) {
	select {
	case l.next <- next:
		l.cancel(errReplaced)
	default:
		next.leave()
	}
}

// leave ends a link that was not used, so that the other side sees no break.
func (l *link) leave() {
	_ = l.stream.CloseSend()
	stop := time.AfterFunc(l.peer.r.patience, func() { l.cancel(errFinished) })
	_, _ = l.stream.Recv()
	stop.Stop()
	l.close()
}

// close ends the link. What the system has not sent yet is given up, so that it
// does not arrive when a cut is over.
func (l *link) close() {
	l.cancel(errFinished)
	l.going.Wait()
	select {
	case next := <-l.next:
		next.close()
	default:
	}
	l.ask.Stop()
	l.silence.Stop()
	if l.conn == nil {
		return
	}
	l.mu.Lock()
	if tcp, ok := l.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	l.mu.Unlock()
	_ = l.conn.Close()
}
