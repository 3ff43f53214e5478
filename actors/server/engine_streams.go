package server

import (
	"cmp"
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// ReadStream returns pieces of a stream of a run from a place on: those that are there
// at once, and with follow the next ones when they come, within WaitMs. Pieces are read
// from the store by this server, and waited for at the run's owner.
//
// Errors, here or in the reply: UNKNOWN_RUN; UNKNOWN_STREAM for one that is not there,
// and will not be; INVALID_ARGUMENT for a place that lies ahead.
func (e *Engine) ReadStream(ctx context.Context, m *messages.ReadStream) (*messages.ReadStreamReply, error) {
	deadline := time.Now().Add(time.Duration(m.WaitMs) * time.Millisecond)
	for {
		if err := e.cutOff(); err != nil {
			return nil, err
		}
		owner, owned := e.host.cfg.Node.View().OwnerOfRun(m.RunId)
		if owned && owner.Name == e.host.cfg.Node.Self().Name && m.Follow {
			return e.host.streams.await(ctx, m), nil
		}
		reply := e.host.streams.read(ctx, m)
		if reply.Error != nil || reply.Ended || len(reply.Pieces) > 0 || time.Until(deadline) < time.Millisecond {
			return reply, nil
		}
		err := messages.Errorf(messages.CodeUnavailable, "no server owns it now")
		if owned {
			far := proto.CloneOf(m)
			wait := max(0, min(time.Until(deadline), farWatch))
			far.WaitMs = wait.Milliseconds()
			if _, failed := e.askHost(ctx, owner, far, hostTry+wait); failed == nil {
				continue
			}
		}
		if !e.pause(ctx) {
			return nil, messages.Errorf(messages.CodeUnavailable, "run %s: the server that owns it did not answer: %w", m.RunId, cmp.Or[error](ctx.Err(), err))
		}
	}
}
