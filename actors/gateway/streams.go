package gateway

import (
	"context"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// ReadStream streams pieces of a stream of a run from a place on.
func (g *gateway) ReadStream(ctx context.Context, req *connect.Request[api.ReadStreamRequest], stream *connect.ServerStream[api.ReadStreamResponse]) error {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return err
	}
	ctx, cancel := g.untilStop(ctx)
	defer cancel()
	section, number := r.GetSection(), r.GetNumber()
	for {
		reply, err := poll(ctx, g.backend.ReadStream, &messages.ReadStream{RunId: r.GetRunId(), Stream: r.GetStream(), Section: section, Number: number,
			Follow: r.GetFollow(), WaitMs: pollMax.Milliseconds()})
		if err != nil {
			return err
		}
		if err := api.SayServed(stream); err != nil {
			return err
		}
		if to := reply.GetCutTo(); to > 0 {
			section, number = to, 1
			if err := stream.Send(&api.ReadStreamResponse{Section: section, First: number, Cut: true}); err != nil {
				return err
			}
		}
		for _, p := range reply.GetPieces() {
			section, number = p.GetSection(), p.GetFirst()+uint64(len(p.GetPieces()))
			if err := stream.Send(&api.ReadStreamResponse{Section: p.GetSection(), First: p.GetFirst(), Pieces: p.GetPieces(), Step: p.GetStep(), Attempt: p.GetAttempt()}); err != nil {
				return err
			}
		}
		if reply.GetEnded() {
			return nil
		}
	}
}
