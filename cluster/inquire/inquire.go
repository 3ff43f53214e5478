// Package inquire finds out what listens at an address, after it was not what was
// looked for: so that an error can say which address the user has given instead.
//
// Data flow: address → a request of HTTP by hand → the first bytes of the answer,
// or a handshake of TLS if there is none → a Listener.
//
// Invariants: it takes at most Within, and sends nothing but GET /healthz. It
// guesses: what it finds is for a message to people, never for a decision.
//
// Imports nothing of ours.
package inquire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// Listener is what listens at an address.
type Listener int

// Listeners.
const (
	// Nobody listens there, or nobody answers in time.
	Nobody Listener = iota
	// API is that of a limpet server.
	API
	// Web is another web server.
	Web
	// TLS is anything that speaks it.
	TLS
	// Cluster is the address by which servers and workers talk to each other.
	Cluster
	// Mute speaks neither HTTP nor TLS: the gossip of a server, for example.
	Mute
)

const (
	// Within is the longest time that it takes.
	Within = 2 * time.Second
	// answerBytesMax is how much of an answer is read.
	answerBytesMax = 4 << 10
)

// Dial connects to an address.
type Dial func(ctx context.Context, address string) (net.Conn, error)

// TCP is the usual Dial.
func TCP(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// At finds out what listens at host:port.
func At(ctx context.Context, dial Dial, address string) Listener {
	ctx, cancel := context.WithTimeout(ctx, Within)
	defer cancel()
	answer, err := ask(ctx, dial, address)
	switch {
	case err != nil && len(answer) == 0 && !closed(err):
		return Nobody
	case bytes.HasPrefix(answer, []byte("HTTP/")):
		return webServer(answer)
	case len(answer) > 4 && answer[0] == 0 && answer[3] == settingsFrame:
		return Cluster
	case shakesHands(ctx, dial, address):
		return TLS
	}
	return Mute
}

// settingsFrame is the type of the frame with which a server of HTTP/2 begins.
const settingsFrame = 4

func ask(ctx context.Context, dial Dial, address string) ([]byte, error) {
	conn, err := connect(ctx, dial, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n"); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(conn, answerBytesMax))
}

func connect(ctx context.Context, dial Dial, address string) (net.Conn, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, errDial
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			_ = conn.Close()
			return nil, errDial
		}
	}
	return conn, nil
}

var errDial = errors.New("no connection")

// closed says that whoever listens ended the connection without an answer.
func closed(err error) bool {
	var timeout net.Error
	return !errors.Is(err, errDial) && (!errors.As(err, &timeout) || !timeout.Timeout())
}

// webServer tells those apart that answer in HTTP. Many that want TLS say so.
func webServer(answer []byte) Listener {
	switch {
	case bytes.Contains(answer, []byte(`"alive":`)):
		return API
	case bytes.Contains(answer, []byte("to an HTTPS server")), bytes.Contains(answer, []byte("to HTTPS port")):
		return TLS
	}
	return Web
}

// shakesHands says whether TLS is spoken there, whatever the certificate.
func shakesHands(ctx context.Context, dial Dial, address string) bool {
	conn, err := connect(ctx, dial, address)
	if err != nil {
		return false
	}
	defer conn.Close()
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) //nolint:gosec // nothing is sent to it
	var alert tls.AlertError
	var refused *net.OpError
	return err == nil || errors.As(err, &alert) || errors.As(err, &refused) && refused.Op == "remote error"
}
