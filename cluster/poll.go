package cluster

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster/quorum"
	"github.com/limpetrun/limpet/messages"
)

// poller asks members whether they hear this one, and what they know of others
// that it misses. It is the one way of asking many.
type poller struct {
	// ask sends a question to one member and waits for its answer.
	ask func(ctx context.Context, to Member, question *messages.Ping) (*messages.Pong, error)
}

// newPoller asks the activator of each member.
func newPoller(n *Node) poller {
	return poller{func(ctx context.Context, to Member, question *messages.Ping) (*messages.Pong, error) {
		reply, err := n.Request(ctx, actor.NewPID(to.Address, activatorActor), question)
		pong, _ := reply.(*messages.Pong)
		return pong, err
	}}
}

// poll asks all of the members at once and hands over what each of them says, a
// nil answer if it says nothing, until take says that it is enough or ctx ends;
// quorum.AskFor bounds that. take is called on this goroutine.
func (p poller) poll(ctx context.Context, members []Member, question *messages.Ping, take func(from Member, pong *messages.Pong, err error) (enough bool)) {
	ctx, cancel := context.WithTimeout(ctx, quorum.AskFor)
	defer cancel()
	type answer struct {
		from Member
		pong *messages.Pong
		err  error
	}
	answers := make(chan answer, len(members))
	for _, m := range members {
		go func() {
			pong, err := p.ask(ctx, m, question)
			answers <- answer{m, pong, err}
		}()
	}
	for range members {
		a := <-answers
		if take(a.from, a.pong, a.err) {
			return
		}
	}
}

// promised is for how long leases may last by the word of a member.
func promised(pong *messages.Pong) time.Duration {
	return time.Duration(pong.GetHoldMs()) * time.Millisecond
}
