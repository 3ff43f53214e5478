package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
)

// callTimeout limits calls that answer at once, with all their tries.
const callTimeout = 30 * time.Second

// connection is the API of a cluster, by any of its servers.
type connection struct {
	apiconnect.LimpetServiceClient
	client *sdk.Client
	// line shows what is tried again; nil prints it.
	line *progress
}

// connect returns the API at --address; it does not connect yet. Where no
// server answers at all, calls fail at once; one that was there before is
// waited for.
func (c *cli) connect() (*connection, error) {
	conn := &connection{}
	said := ""
	client, err := sdk.NewClient(sdk.ClientConfig{
		Address: c.address, Secret: c.secret, ConnectFor: sdk.Never,
		OnRetry: func(r sdk.Retry) {
			text := messageOf(r.Err)
			if text == said {
				return
			}
			said = text
			if conn.line != nil && conn.line.to.terminal {
				conn.line.say("%s; trying again", text)
				return
			}
			c.err.printf("%s %s; trying again\n", c.err.paint(yellow, string(messages.CodeOf(r.Err))+":"), text)
		},
	})
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "--address: %s", messageOf(err))
	}
	conn.LimpetServiceClient, conn.client = client.Service(), client
	return conn, nil
}

// call makes one call with a limit on its time and returns the answer, or an
// error of the catalogue.
func call[Req, Resp any](ctx context.Context, conn *connection, method func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error), req *Req) (*Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := method(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, conn.explain(err)
	}
	return resp.Msg, nil
}

// explain gives the error of a call that reached nobody a hint of its own.
func (conn *connection) explain(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return &hinted{err, "`limpet dev` starts a server here; --address or LIMPET_ADDRESS names others"}
	}
	return err
}

// messageOf is an error's message without its code.
func messageOf(err error) string {
	var coded *messages.Error
	if errors.As(err, &coded) {
		return coded.Message
	}
	return err.Error()
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, ", ")
}
