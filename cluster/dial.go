package cluster

import (
	"context"
	"net"
)

// Dial connects to the address of a member's actors as the remoting does. That
// a connection is refused says that the process is not there any more.
func (n *Node) Dial(ctx context.Context, address string) (net.Conn, error) {
	return n.config.Dial(ctx, address)
}
