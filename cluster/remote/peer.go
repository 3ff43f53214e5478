package remote

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
)

var (
	errGone       = errors.New("the member is gone")
	errStopped    = errors.New("this node stopped")
	errFinished   = errors.New("everything was sent")
	errUnanswered = errors.New("no answer in time")
	errReplaced   = errors.New("another way is used")
)

// peer is what this node sends to one address, by one link after the other. When it
// ends, everything queued is answered as a dead letter, every watcher gets
// Terminated, and the next message makes a new peer.
type peer struct {
	r       *Remote
	address string
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    chan struct{}
	// anew asks for another try of a connection that is being made, doubted whether the
	// direct way is cut.
	anew, doubted chan struct{}

	box outbox
	// unanswered and by, the server that passes on, are the goroutine's.
	unanswered unanswered
	by         string
}

func newPeer(r *Remote, address string) *peer {
	p := &peer{r: r, address: address, done: make(chan struct{}), anew: make(chan struct{}, 1), doubted: make(chan struct{}, 1), box: newOutbox()}
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
	if !errors.Is(err, errGone) && !errors.Is(err, errStopped) && !errors.Is(err, errFinished) && !errors.Is(err, errUnanswered) {
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

// converse sends by one link after the other until something ends it.
func (p *peer) converse() (connected bool, _ error) {
	l, err := p.search(p.ctx, patienceTicks)
	for err == nil {
		connected = true
		l, err = p.use(l)
	}
	return connected, err
}

// connectAnew drops the try to connect that is under way, if one is, for another.
func (p *peer) connectAnew() { poke(p.anew) }

// doubt has it found out at once whether the direct way is cut.
func (p *peer) doubt() { poke(p.doubted) }

func poke(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// accepts says whether the system of the process takes a connection, or refuses one,
// within the patience: then nothing is cut, whatever the process does not answer.
func (p *peer) accepts(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	accepted := make(chan bool, 1)
	go func() {
		conn, err := p.r.dial(ctx, p.address)
		if err == nil {
			_ = conn.Close()
		}
		accepted <- err == nil || errors.Is(err, syscall.ECONNREFUSED)
	}()
	ticker := p.r.newPatience()
	defer ticker.Stop()
	for range patienceTicks {
		select {
		case is := <-accepted:
			return is
		case <-ticker.C:
			ticker.ticked()
		}
	}
	return false
}

// use sends by a link until that ends. It returns the one to go on with, or why
// there is none.
func (p *peer) use(l *link) (*link, error) {
	if l.by != "" {
		p.r.detours.Add(1)
		defer p.r.detours.Add(-1)
	}
	defer l.close()
	l.attend()
	p.tellWay(l.by)
	err := p.pump(l)
	select {
	case next := <-l.next:
		return next, nil
	default:
	}
	if l.by == "" || p.ctx.Err() != nil || errors.Is(err, errFinished) {
		return nil, err
	}
	return p.search(p.ctx, patienceTicks)
}

// pump sends batches until the link breaks, or the peer ends. It begins with those
// of which it is not known that they came by the link before.
func (p *peer) pump(l *link) error {
	p.unanswered.linkEnded()
	for _, m := range p.unanswered.batches {
		if err := l.stream.Send(m); err != nil {
			return err
		}
	}
	p.expect(l)
	for {
		batch, last := p.box.take()
		if len(batch) > 0 {
			m, size := encodeBatch(batch)
			if first := p.unanswered.add(m, size); first {
				p.expect(l)
			}
			if err := l.stream.Send(m); err != nil {
				return err
			}
			if p.unanswered.many() {
				if err := p.ask(l); err != nil {
					return err
				}
			}
		} else if last {
			// The other side answers the end of the stream with its own: until
			// then closing the connection could cut off what was sent.
			_ = l.stream.CloseSend()
			<-l.ctx.Done()
			return errFinished
		}
		if err := p.turn(l, len(batch) == 0); err != nil {
			return err
		}
	}
}

// busy is always ready.
var busy = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// turn takes something that has happened; it waits for it if idle.
func (p *peer) turn(l *link, idle bool) error {
	sends := busy
	if idle {
		sends = p.box.signal
	}
	select {
	case <-sends:
	case <-l.answers:
		p.unanswered.answered()
		p.expect(l)
	case <-l.ask.C:
		if !p.unanswered.asking {
			return p.ask(l)
		}
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
	return nil
}

// ask asks whether what was sent has come.
func (p *peer) ask(l *link) error {
	p.unanswered.ask()
	return l.stream.Send(question)
}

// expect has it asked soon whether what was sent has come, if it is not known.
func (p *peer) expect(l *link) {
	waits := len(p.unanswered.batches) > 0
	l.waiting.Store(waits)
	if !waits {
		l.ask.Stop()
		l.silence.Stop()
		return
	}
	l.ask.Reset(p.r.patience / askFraction)
	l.silence.Reset(p.r.silentAfter(p.unanswered.bytes))
}

// tellWay says that another way is used than before.
func (p *peer) tellWay(by string) {
	switch {
	case by == p.by:
	case by != "":
		p.r.log.Info("messages to a member go by a server, for the direct way is cut", "peer", p.address, "by", by)
	default:
		p.r.log.Info("messages to a member go the direct way again", "peer", p.address)
	}
	p.by = by
}

// encodeBatch names each type and actor of the batch once. It returns the bytes of
// the messages too.
func encodeBatch(batch []outgoing) (_ *remote.RemoteMessage, size int) {
	type process struct{ address, id string }
	b := &remote.MessageBatch{Envelopes: make([]*remote.MessageEnvelope, len(batch))}
	envelopes := make([]remote.MessageEnvelope, len(batch))
	targets, senders := map[string]int32{}, map[process]int32{}
	for i, o := range batch {
		size += len(o.data)
		e := &envelopes[i]
		b.Envelopes[i], e.MessageData, e.TargetRequestId = e, o.data, o.target.RequestId
		// There are few types.
		typeID := slices.Index(b.TypeNames, o.typeName)
		if typeID < 0 {
			typeID = len(b.TypeNames)
			b.TypeNames = append(b.TypeNames, o.typeName)
		}
		e.TypeId = int32(typeID)
		var ok bool
		if e.Target, ok = targets[o.target.Id]; !ok {
			e.Target = int32(len(b.Targets))
			targets[o.target.Id] = e.Target
			b.Targets = append(b.Targets, &actor.PID{Address: o.target.Address, Id: o.target.Id})
		}
		if o.sender != nil {
			key := process{o.sender.Address, o.sender.Id}
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
	}
	return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: b}}, size
}
