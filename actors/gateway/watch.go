package gateway

import (
	"context"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Watch streams what happens in the cluster.
func (g *gateway) Watch(ctx context.Context, req *connect.Request[api.WatchRequest], stream *connect.ServerStream[api.WatchResponse]) error {
	if err := messages.CheckFields(req.Msg); err != nil {
		return err
	}
	topics := req.Msg.GetTopics()
	for _, t := range topics {
		switch t {
		case api.TopicRuns, api.TopicWorkers, api.TopicMembers:
		default:
			return messages.Errorf(messages.CodeInvalidArgument, "topic %.100q is none: it is one of %s, %s and %s", t, api.TopicRuns, api.TopicWorkers, api.TopicMembers)
		}
	}
	ctx, cancel := g.untilStop(ctx)
	defer cancel()
	return g.backend.Watch(ctx, topics, req.Msg.GetPosition(), func(r *api.WatchResponse) error {
		if err := api.SayServed(stream); err != nil {
			return err
		}
		return stream.Send(r)
	})
}
