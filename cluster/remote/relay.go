package remote

import (
	"errors"
	"io"

	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/limpetrun/limpet/messages"
)

const (
	// relayToHeader is set on a stream that a server is to pass on: the address of
	// the process that it is for.
	relayToHeader = "limpet-relay-to"
	// relayedByHeader is set on a stream that a server passes on: its name.
	relayedByHeader = "limpet-relayed-by"
)

// header returns what a stream that comes in has for a name.
func header(stream remote.Remoting_ReceiveServer, name string) string {
	in, _ := metadata.FromIncomingContext(stream.Context())
	if values := in.Get(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// relay passes a stream on to the process at an address, and what that answers
// back, until one of the ends ends it. It keeps nothing: what the one end does not
// take, the other one does not send.
func (r *Remote) relay(in remote.Remoting_ReceiveServer, to string) error {
	if to == r.system.Address() || header(in, relayedByHeader) != "" || !r.known.PassesOn(to) {
		return status.Errorf(codes.NotFound, "%s does not pass on messages to %s", r.name, to)
	}
	defer r.relaying.Add(-1)
	if n := r.relaying.Add(1); n > messages.RelaysMax {
		return status.Errorf(codes.ResourceExhausted, "%s passes on %d streams, RelaysMax = %d", r.name, n-1, messages.RelaysMax)
	}
	conn, err := r.newConn(to, r.dial)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	out, err := remote.NewRemotingClient(conn).Receive(metadata.AppendToOutgoingContext(in.Context(), relayedByHeader, r.name))
	if err != nil {
		return err
	}
	go func() {
		_ = pass(out.Send, in.Recv)
		_ = out.CloseSend()
	}()
	// The stream that came in ends when this returns, and with it the goroutine.
	return pass(in.Send, out.Recv)
}

// pass passes messages on until it cannot, or there are no more.
func pass(send func(*remote.RemoteMessage) error, receive func() (*remote.RemoteMessage, error)) error {
	for {
		m, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = send(m)
		}
		if err != nil {
			return err
		}
	}
}
