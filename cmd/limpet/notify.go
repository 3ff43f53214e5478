package main

import (
	"context"
	"net"
)

// States that systemd is told of.
const (
	notifyReady    = "READY=1"
	notifyStopping = "STOPPING=1"
)

// notify tells systemd the state of a unit of Type=notify; without one that
// listens it does nothing.
func (c *cli) notify(ctx context.Context, state string) error {
	name := c.getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unixgram", name)
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	_ = conn.Close()
	return err
}
