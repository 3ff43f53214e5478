package gateway

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// DefaultListen is where the API is unless told otherwise.
const DefaultListen = "127.0.0.1:7080"

// Server is a gateway that listens.
type Server struct {
	gateway  *gateway
	listener net.Listener
	http     *http.Server
	stop     context.CancelFunc
	done     chan error
}

// Start listens and serves; errors are those of Listen.
func Start(ctx context.Context, backend Backend, c Config) (*Server, error) {
	listener, err := Listen(ctx, c.Listen, c.Secret)
	if err != nil {
		return nil, err
	}
	return Serve(listener, backend, c), nil
}

// CheckListen returns SECRET_REQUIRED for an address of the API beyond loopback
// without a secret that is long enough, and INVALID_ARGUMENT for what is no
// address. Empty is the default.
func CheckListen(address, secret string) error {
	return checkListen("API address", cmp.Or(address, DefaultListen), secret)
}

func checkListen(what, address, secret string) error {
	if err := cluster.CheckAddress(what, address); err != nil {
		return err
	}
	return cluster.CheckSecret(what, address, secret)
}

// Listen takes the address; connections wait until Serve is called. It returns
// ADDRESS_IN_USE for a port that is taken, and the errors of CheckListen.
func Listen(ctx context.Context, address, secret string) (net.Listener, error) {
	if err := CheckListen(address, secret); err != nil {
		return nil, err
	}
	return listen(ctx, "API address", cmp.Or(address, DefaultListen))
}

func listen(ctx context.Context, what, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, listenError(what, address, err)
	}
	return listener, nil
}

// Serve serves at a listener of Listen.
func Serve(listener net.Listener, backend Backend, c Config) *Server {
	c.Listen = cmp.Or(c.Listen, DefaultListen)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.bodyStall, c.auditApart = cmp.Or(c.bodyStall, bodyStallMax), cmp.Or(c.auditApart, gatherFor)
	local := cluster.IsLoopback(c.Listen)
	stopping, stop := context.WithCancel(context.Background())
	g := &gateway{backend: backend, config: c, stopping: stopping, journal: newProbe(c.Journal), doors: newDoors(stopping, c.Secret, c.Access, c.Times, c.Logger)}
	g.audit = newAudit(c, g.doors.now)
	go g.doors.keep()
	go g.audit.keep(stopping)
	s := &Server{gateway: g, listener: listener, stop: stop, done: make(chan error, 1)}
	s.http = &http.Server{
		Handler:           g.handler(local, listener.Addr().String()),
		Protocols:         protocols(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// A connection of HTTP/2 whose other end has gone without a word is ended
		// too.
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.done <- err
		}
		close(s.done)
	}()
	return s
}

// protocols: gRPC needs HTTP/2, here without TLS and by prior knowledge.
func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

func listenError(what, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return messages.Errorf(messages.CodeAddressInUse, "%s %s: another process listens there", what, address)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return messages.Errorf(messages.CodeInvalidArgument, "%s %s: %w", what, address, err)
}

// Address is the host:port that the API listens on.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Done gives the error that ended serving, if it was not Stop, and is closed
// when serving has ended.
func (s *Server) Done() <-chan error { return s.done }

// NotReady has /readyz answer 503 with the reason from now on, so that load
// balancers send no more calls here; calls that come are served until Stop. The
// first reason stays.
func (s *Server) NotReady(reason string) { s.gateway.notReady.CompareAndSwap(nil, &reason) }

// Stop takes no new calls, ends long polls with UNAVAILABLE and waits for the
// other calls until ctx ends; then it breaks them off and returns ctx's error.
func (s *Server) Stop(ctx context.Context) error {
	s.NotReady("the server is stopping")
	s.stop()
	err := s.http.Shutdown(ctx)
	if s.gateway.audit.flush(ctx) != nil {
		s.gateway.config.Logger.Warn("the end of the audit log is not written")
	}
	if err != nil {
		_ = s.http.Close() // the listener is closed already
	}
	return err
}
