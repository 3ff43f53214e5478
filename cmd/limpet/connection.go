package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/codec"
)

// callTimeout limits calls that answer at once, with all their tries.
const callTimeout = 30 * time.Second

// sayAgainAfter is for how long a failure has to be away to be told of anew.
const sayAgainAfter = time.Minute

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
	// Each server's failure is said once while it lasts, whatever else fails.
	said := map[string]time.Time{}
	client, err := sdk.NewClient(sdk.ClientConfig{
		Address: c.address, Secret: c.secret, Token: c.token, ConnectFor: sdk.Never, Codec: c.codec(),
		OnRetry: func(r sdk.Retry) {
			text, failure := messageOf(r.Err), r.Address+" "+string(messages.CodeOf(r.Err))
			last := said[failure]
			said[failure] = c.now()
			if said[failure].Sub(last) < sayAgainAfter {
				return
			}
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

// codec is that of the payloads; nil for none. A program that it starts ends with this
// one.
func (c *cli) codec() codec.Codec {
	if c.settings.Codec == "" {
		return nil
	}
	return codec.Remote(c.settings.Codec)
}

// call makes one call with a limit on its time and returns the answer, or an
// error of the catalogue.
func call[Req, Resp any](ctx context.Context, conn *connection, method func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error), req *Req) (*Resp, error) {
	return callWithin(ctx, callTimeout, conn, method, req)
}

// callWithin is call for what may take another time.
func callWithin[Req, Resp any](ctx context.Context, within time.Duration, conn *connection, method func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error), req *Req) (*Resp, error) {
	if m, ok := any(req).(proto.Message); ok {
		if err := messages.CheckFieldsAs(m, flagOf); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	resp, err := method(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, conn.explain(err)
	}
	return resp.Msg, nil
}

// flags are those that fill in a field of a request, by the field's full name.
var flags = map[string]string{
	"limpet.api.v1.CreateTokenRequest.role":            "--role",
	"limpet.api.v1.CreateTokenRequest.workflow_prefix": "--workflows",
	"limpet.api.v1.CreateTokenRequest.pool":            "--pool",
	"limpet.api.v1.StartRunRequest.idempotency_key":    "--key",
	"limpet.api.v1.StartRunRequest.priority":           "--priority",
	"limpet.api.v1.StartRunRequest.metadata":           "--meta",
	"limpet.api.v1.StartRunRequest.signal_name":        "--signal",
	"limpet.api.v1.StartRunRequest.signal_message_id":  "--signal-id",
	"limpet.api.v1.CancelRunRequest.reason":            "--reason",
	"limpet.api.v1.CancelRunRequest.without_end_step":  "--without-end-step",
	"limpet.api.v1.ReplayRunRequest.steps":             "--step",
	"limpet.api.v1.ListRunsRequest.workflow":           "--workflow",
	"limpet.api.v1.ListRunsRequest.worker_id":          "--worker",
	"limpet.api.v1.ListRunsRequest.parent_run":         "--parent",
	"limpet.api.v1.ListRunsRequest.metadata":           "--meta",
	"limpet.api.v1.ListRunsRequest.page_token":         "--page-token",
	"limpet.api.v1.SignalRunRequest.message_id":        "--id",
	"limpet.api.v1.PushEventRequest.event_id":          "--id",
	"limpet.api.v1.PushEventRequest.metadata":          "--meta",
	"limpet.api.v1.ListEventsRequest.key":              "--key",
	"limpet.api.v1.ListEventsRequest.page_token":       "--page-token",
}

// flagOf names a field as the command line does; other fields are arguments.
func flagOf(field, words string) string { return orDefault(flags[field], words) }

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
