package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cluster/remote"
	"github.com/limpetrun/limpet/messages"
)

// A try of Call gets twice the time of the one before.
const (
	callTryFirst = time.Second
	callTryMost  = 8 * time.Second
)

var (
	errDeadLetter  = errors.New("the actor is not there")
	errTimeout     = errors.New("no answer in time")
	errStopped     = errors.New("this node stopped")
	errViewChanged = errors.New("its owner changed before the answer")
)

// Call asks the actor of an identity and returns its answer. It resolves the
// identity and asks again, with jittered pauses of milliseconds, whenever the
// owner changes, the actor is gone or no answer comes, until ctx ends:
// UNAVAILABLE then, with the last cause. PAYLOAD_TOO_LARGE for what can never be sent. So the actor may get msg more than
// once, and msg has to be harmless when repeated. It is for goroutines outside
// of actors: inside one it would stall the mailbox.
//
// The library's own Request backs off by nanoseconds, gives up after three
// tries and does not know of ctx.
func (n *Node) Call(ctx context.Context, kind, id string, msg proto.Message) (proto.Message, error) {
	wait := backoff.Pauses{First: 10 * time.Millisecond, Most: 500 * time.Millisecond}
	length := callTryFirst
	var cause error
	for {
		pid, err := n.Resolve(ctx, kind, id)
		if err != nil {
			return nil, err
		}
		view, changed := n.members.views.Watch()
		owner, _ := view.OwnerOf(kind, id)
		reply, err := n.try(ctx, virtualActor{kind, id}, owner, pid, msg, length)
		if err == nil || messages.CodeOf(err) == messages.CodePayloadTooLarge {
			return reply, err
		}
		if cause == nil || ctx.Err() == nil { // The end of ctx says less than why it came to that.
			cause = err
		}
		n.lookup.evict(virtualActor{kind, id}, pid)
		if errors.Is(err, errTimeout) {
			length = min(2*length, callTryMost)
		}
		if !n.waitForView(ctx, changed, wait.Next()) {
			return nil, messages.Errorf(messages.CodeUnavailable, "%s %q at %s did not answer: %w", kind, id, pid.Address, cause)
		}
	}
}

// try asks once, for at most d, and gives up when the view gives the identity
// another owner, or when the node stops.
func (n *Node) try(ctx context.Context, id virtualActor, owner Member, pid *actor.PID, msg proto.Message, d time.Duration) (proto.Message, error) {
	if err := n.fits(pid, msg); err != nil {
		return nil, err
	}
	a := n.send(pid, msg)
	defer a.close()
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		view, changed := n.members.views.Watch()
		if is, _ := view.OwnerOf(id.kind, id.identity); is.ID != owner.ID {
			return nil, errViewChanged
		}
		select {
		case reply := <-a.reply:
			return asMessage(reply)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.C:
			return nil, errTimeout
		case <-n.members.stopped:
			return nil, errStopped
		case <-changed:
		}
	}
}

// Request asks an actor once and waits for its answer until ctx ends: give it
// a deadline, for a lost message is not noticed otherwise. UNAVAILABLE if the
// actor is not there, ctx's own cause as DEADLINE_EXCEEDED or CANCELED. It is
// for goroutines outside of actors: inside one it would stall the mailbox.
func (n *Node) Request(ctx context.Context, pid *actor.PID, msg proto.Message) (proto.Message, error) {
	if err := n.fits(pid, msg); err != nil {
		return nil, err
	}
	a := n.send(pid, msg)
	defer a.close()
	select {
	case reply := <-a.reply:
		m, err := asMessage(reply)
		if err != nil {
			return nil, messages.Errorf(messages.CodeUnavailable, "%s/%s: %w", pid.Address, pid.Id, err)
		}
		return m, nil
	case <-n.members.stopped:
		return nil, messages.Errorf(messages.CodeUnavailable, "%s/%s: %w", pid.Address, pid.Id, errStopped)
	case <-ctx.Done():
		code := messages.CodeCanceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			code = messages.CodeDeadline
		}
		return nil, messages.Errorf(code, "%s/%s did not answer: %w", pid.Address, pid.Id, ctx.Err())
	}
}

func asMessage(reply any) (proto.Message, error) {
	switch m := reply.(type) {
	case *actor.DeadLetterResponse:
		return nil, errDeadLetter
	case proto.Message:
		return m, nil
	}
	return nil, messages.Errorf(messages.CodeInternal, "the answer is a %T, not a protobuf message", reply)
}

// answer is a process that takes one reply. The library's future races with a
// second reply and cannot be given up when a context ends.
type answer struct {
	system *actor.ActorSystem
	pid    *actor.PID
	reply  chan any
}

var _ actor.Process = (*answer)(nil)

// fits returns PAYLOAD_TOO_LARGE for a message that cannot be sent to another node,
// however often it is tried.
func (n *Node) fits(pid *actor.PID, msg proto.Message) error {
	if pid.Address == n.system.Address() {
		return nil
	}
	if size := proto.Size(msg); size > remote.MessageBytesMax {
		return messages.Errorf(messages.CodePayloadTooLarge, "a %s of %d bytes cannot be sent to another node: at most %d", proto.MessageName(msg), size, remote.MessageBytesMax)
	}
	return nil
}

func (n *Node) send(pid *actor.PID, msg proto.Message) *answer {
	a := &answer{system: n.system, reply: make(chan any, 1)}
	registry := n.system.ProcessRegistry
	a.pid, _ = registry.Add(a, remote.AnswerPrefix+registry.NextId())
	n.system.Root.RequestWithCustomSender(pid, msg, a.pid)
	return a
}

func (a *answer) close() { a.system.ProcessRegistry.Remove(a.pid) }

func (a *answer) SendUserMessage(_ *actor.PID, message any) {
	_, m, _ := actor.UnwrapEnvelope(message)
	select {
	case a.reply <- m:
	default:
	}
}

func (a *answer) SendSystemMessage(*actor.PID, any) {}
func (a *answer) Stop(*actor.PID)                   {}
