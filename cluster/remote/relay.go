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
	// roleHeader is set on each stream: what the process is that begins it.
	roleHeader = "limpet-role"
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
	first, err := in.Recv()
	if err != nil {
		return err
	}
	// The other side believes this one. A question that goes before is of nobody.
	if of := first.GetConnectRequest().GetServerConnection(); of != nil {
		if _, err := r.introduced(in, of); err != nil {
			return err
		}
	} else if r.certificates != nil {
		return status.Error(codes.Unauthenticated, "say who you are before anything else")
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
	out, err := remote.NewRemotingClient(conn).Receive(metadata.AppendToOutgoingContext(in.Context(), relayedByHeader, r.name, roleHeader, header(in, roleHeader)))
	if err != nil {
		return err
	}
	if err := out.Send(first); err != nil {
		return err
	}
	go func() {
		_ = pass(r.onlyOnce(out.Send), in.Recv)
		_ = out.CloseSend()
	}()
	// The stream that came in ends when this returns, and with it the goroutine.
	return pass(in.Send, out.Recv)
}

// onlyOnce passes on what a process sends that has said who it is: it may not say so
// again, as another one.
func (r *Remote) onlyOnce(send func(*remote.RemoteMessage) error) func(*remote.RemoteMessage) error {
	return func(m *remote.RemoteMessage) error {
		if m.GetConnectRequest().GetServerConnection() != nil {
			return status.Error(codes.InvalidArgument, "who it is is said once")
		}
		return send(m)
	}
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
