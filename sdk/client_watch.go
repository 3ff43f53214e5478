package sdk

import (
	"context"
	"iter"

	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// WatchOptions are options of Client.Watch.
type WatchOptions struct {
	// Topics that are wanted, of runs, workers and members; none for all.
	Topics []string
	// Position of an item: what came after it is wanted. Empty: what comes from now on.
	Position string
}

// Watch yields what happens in the whole cluster until the loop is left or the context
// ends. A stream that breaks is gone on with at another server, where it was. An item of
// the topic "watch" and the kind "gap" says that things happened which are not known any
// more: look at what there is then. At most one options may be given.
func (c *Client) Watch(ctx context.Context, options ...*WatchOptions) iter.Seq2[*api.WatchResponse, error] {
	o, err := onlyOptions(options)
	if err != nil {
		return func(yield func(*api.WatchResponse, error) bool) { yield(nil, err) }
	}
	return follow(ctx, c, apiconnect.LimpetServiceClient.Watch,
		func() *api.WatchRequest { return &api.WatchRequest{Topics: o.Topics, Position: o.Position} },
		func(m *api.WatchResponse) bool {
			o.Position = m.GetPosition()
			return true
		})
}
