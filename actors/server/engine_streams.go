package server

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// ReadStream returns pieces of a stream of a run from a place on: those that are there
// at once, and with follow the next ones when they come, within WaitMs. Pieces are read
// from the store by this server, and waited for at the run's owner.
//
// Errors, here or in the reply: UNKNOWN_RUN; UNKNOWN_STREAM for one that is not there,
// and will not be; INVALID_ARGUMENT for a place that lies ahead.
func (e *Engine) ReadStream(ctx context.Context, m *messages.ReadStream) (*messages.ReadStreamReply, error) {
	if !m.Follow {
		if err := e.cutOff(); err != nil {
			return nil, err
		}
		return e.host.streams.read(ctx, m), nil
	}
	deadline := time.Now().Add(time.Duration(m.WaitMs) * time.Millisecond)
	var reply *messages.ReadStreamReply
	err := e.onOwner(ctx, m.RunId, func() { reply = e.host.streams.await(ctx, m) }, func(owner cluster.Member) (answered bool, err error) {
		reply = e.host.streams.read(ctx, m)
		if hasAnswer(reply) || time.Until(deadline) < time.Millisecond {
			return true, nil
		}
		wait := farWait(deadline)
		far := proto.CloneOf(m)
		far.WaitMs = wait.Milliseconds()
		_, err = askHost[*messages.ReadStreamReply](ctx, e, owner, far, hostTry+wait)
		return false, err
	})
	return reply, err
}
