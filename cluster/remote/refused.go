package remote

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// Refused says that a connection to an address is refused, so that certainly
// nobody listens there. Whatever else keeps this process from connecting says
// nothing of the other one.
func Refused(ctx context.Context, dial func(context.Context, string) (net.Conn, error), address string) bool {
	conn, err := dial(ctx, address)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
