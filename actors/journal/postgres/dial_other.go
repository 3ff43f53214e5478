//go:build !linux

package postgres

import (
	"context"
	"net"
	"time"
)

// dial makes a connection that notices that the other machine is gone.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2}}
	return d.DialContext(ctx, network, addr)
}
