package cluster

import (
	"context"

	"github.com/limpetrun/limpet/cluster/remote"
)

// Refused says that connections to the address of a member's actors are refused:
// its process is not there any more.
func (n *Node) Refused(ctx context.Context, address string) bool {
	return remote.Refused(ctx, n.config.Dial, address)
}
