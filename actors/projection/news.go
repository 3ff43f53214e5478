package projection

import (
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// News is something that happened, as a watch of the cluster has it.
func News(n *messages.News) *api.WatchResponse {
	return &api.WatchResponse{
		At: api.Moment(time.UnixMicro(n.AtUs)), Topic: n.Topic, Kind: n.Kind, RunId: n.RunId, Workflow: n.Workflow, Status: n.Status,
		WorkerId: n.WorkerId, Incarnation: n.Incarnation, Epoch: n.Epoch, Reason: n.Reason, Text: n.Text,
	}
}
