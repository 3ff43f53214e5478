package remote

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

var (
	errGone       = errors.New("the member is gone")
	errStopped    = errors.New("this node stopped")
	errFinished   = errors.New("everything was sent")
	errUnanswered = errors.New("no answer in time")
)

// peer is the connection to one address for what this node sends there. It
// connects once; when it ends, everything queued is answered as a dead letter,
// every watcher gets Terminated, and the next message makes a new peer.
type peer struct {
	r       *Remote
	address string
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    chan struct{}
	// anew asks for another try of a connection that is being made.
	anew chan struct{}

	box outbox
}

func newPeer(r *Remote, address string) *peer {
	p := &peer{r: r, address: address, done: make(chan struct{}), anew: make(chan struct{}, 1), box: newOutbox()}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	go p.run()
	return p
}

// enqueue queues a message; ended if the peer has.
func (p *peer) enqueue(o outgoing) queueing {
	q := p.box.put(o)
	if q == queued {
		p.box.wake()
	}
	return q
}

// end makes the peer take nothing more from now on, so that what is sent to
// the member's next appearance does not perish with this one. The caller has
// taken it out of the table.
func (p *peer) end(cause error) {
	p.box.close()
	p.cancel(cause)
}

// run is the peer's goroutine.
func (p *peer) run() {
	defer close(p.done)
	connected, err := p.converse()
	if p.ctx.Err() != nil {
		err = context.Cause(p.ctx)
	}
	p.cancel(err)
	p.r.log.Debug("connection to peer ended", "peer", p.address, "name", p.box.processName(), "error", err)
	if !errors.Is(err, errGone) && !errors.Is(err, errStopped) && !errors.Is(err, errFinished) {
		p.r.known.Broke(p.box.processName(), p.address)
	}

	// First out of the table: whoever finds the peer closed then looks there
	// for the next one.
	p.r.forget(p, !connected)
	queue, watches := p.box.empty()
	for _, o := range queue {
		p.r.deadLetter(o.target, o.sender)
	}
	for w, watchee := range watches {
		p.r.tellTerminated(w.watcher, watchee, actor.TerminatedReason_AddressTerminated)
	}
}

// converse connects and sends until something ends it.
func (p *peer) converse() (connected bool, _ error) {
	conn, err := grpc.NewClient("passthrough:///"+p.address,
		grpc.WithTransportCredentials(p.r.credentials),
		grpc.WithContextDialer(p.dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytesMax), grpc.MaxCallSendMsgSize(messageBytesMax)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: grpcbackoff.DefaultConfig, MinConnectTimeout: connectTime}),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(4<<20),
		grpc.WithWriteBufferSize(128<<10),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
	)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	// Without WaitForReady: a refused connection fails at once.
	stream, err := remote.NewRemotingClient(conn).Receive(p.ctx)
	if err != nil {
		return false, err
	}
	if err := p.greet(stream); err != nil {
		return false, err
	}
	return true, p.pump(stream)
}

// connectAnew drops the try to connect that is under way, if one is, for another.
func (p *peer) connectAnew() {
	select {
	case p.anew <- struct{}{}:
	default:
	}
}

// dial connects, by another try each time that one is asked for.
func (p *peer) dial(ctx context.Context, address string) (net.Conn, error) {
	type dialed struct {
		conn net.Conn
		err  error
	}
	for {
		try, cancel := context.WithCancel(ctx)
		done := make(chan dialed, 1)
		go func() {
			conn, err := p.r.dial(try, address)
			done <- dialed{conn, err}
		}()
		select {
		case d := <-done:
			cancel()
			return d.conn, d.err
		case <-p.anew:
			cancel()
			if d := <-done; d.err == nil {
				return d.conn, nil
			}
		}
	}
}

// greet exchanges names.
func (p *peer) greet(stream remote.Remoting_ReceiveClient) error {
	timer := time.AfterFunc(connectTime, func() { p.cancel(errUnanswered) })
	defer timer.Stop()
	err := stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{
		ConnectionType: &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{
			SystemId: p.r.name, Address: p.r.system.Address(),
		}},
	}}})
	if err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err != nil {
		return err
	}
	response := answer.GetConnectResponse()
	if response == nil || response.Blocked {
		return errors.New("the peer refused the connection")
	}
	p.box.named(response.MemberId)
	header, err := stream.Header()
	if err == nil && (len(header.Get(strangerHeader)) > 0 || !p.r.known.Knows(response.MemberId)) {
		p.r.known.Introduce(response.MemberId, p.address)
	}
	return err
}

// pump sends batches until the peer ends or the stream breaks.
func (p *peer) pump(stream remote.Remoting_ReceiveClient) error {
	ended := make(chan struct{})
	defer func() { <-ended }()
	go func() {
		defer close(ended)
		// Nothing but the end comes on this stream. Sending would not notice
		// it before the next message.
		for {
			if _, err := stream.Recv(); err != nil {
				p.cancel(err)
				return
			}
		}
	}()
	for {
		batch, last := p.box.take()
		if len(batch) > 0 {
			if err := stream.Send(encodeBatch(batch)); err != nil {
				p.cancel(err)
				return err
			}
			continue
		}
		if last {
			// The other side answers the end of the stream with its own: until
			// then closing the connection could cut off what was sent.
			_ = stream.CloseSend()
			<-ended
			return errFinished
		}
		select {
		case <-p.box.signal:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
}

// encodeBatch names each type and actor of the batch once.
func encodeBatch(batch []outgoing) *remote.RemoteMessage {
	b := &remote.MessageBatch{Envelopes: make([]*remote.MessageEnvelope, 0, len(batch))}
	types, targets, senders := map[string]int32{}, map[string]int32{}, map[string]int32{}
	for _, o := range batch {
		typeID, ok := types[o.typeName]
		if !ok {
			typeID = int32(len(b.TypeNames))
			types[o.typeName] = typeID
			b.TypeNames = append(b.TypeNames, o.typeName)
		}
		target, ok := targets[o.target.Id]
		if !ok {
			target = int32(len(b.Targets))
			targets[o.target.Id] = target
			b.Targets = append(b.Targets, &actor.PID{Address: o.target.Address, Id: o.target.Id})
		}
		e := &remote.MessageEnvelope{TypeId: typeID, MessageData: o.data, Target: target, TargetRequestId: o.target.RequestId}
		if o.sender != nil {
			key := o.sender.Address + "/" + o.sender.Id
			// Counted from 1: 0 is no sender.
			if e.Sender, ok = senders[key]; !ok {
				b.Senders = append(b.Senders, &actor.PID{Address: o.sender.Address, Id: o.sender.Id})
				e.Sender = int32(len(b.Senders))
				senders[key] = e.Sender
			}
			e.SenderRequestId = o.sender.RequestId
		}
		if o.header != nil {
			e.MessageHeader = &remote.MessageHeader{HeaderData: o.header}
		}
		b.Envelopes = append(b.Envelopes, e)
	}
	return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: b}}
}
