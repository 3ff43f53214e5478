package sdk

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

const (
	// pingEvery is how long a server may owe an answer before it is asked
	// whether it is alive, and again and again.
	pingEvery = 400 * time.Millisecond
	// pingPatience is how long that may take if there is another server to go
	// to, pingPatienceAlone if there is none.
	pingPatience      = 800 * time.Millisecond
	pingPatienceAlone = 10 * time.Second
	// refusedPatience is how long a server that takes no new connections may
	// take to end what it is asked on old ones: it stops in order, or the
	// machine at its address has started anew and knows of none.
	refusedPatience = 5 * time.Second
)

// avoidPauses are how long a server that failed is left alone while there is
// another one.
var avoidPauses = backoff.Pauses{First: 500 * time.Millisecond, Most: 10 * time.Second}

// errSilent ends the calls of a server that does not answer a ping.
var errSilent = messages.Errorf(messages.CodeUnavailable, "the server does not answer a health check on another connection")

// server is one address of a client and what the client knows of it.
//
// A process that was stopped, or a machine that is cut off, keeps its
// connections and never answers. So while calls are out the server is pinged
// at its /healthz, once for all of them, and silence ends them. A server that
// answers is never left for being slow.
type server struct {
	address  string
	health   string
	http     connect.HTTPClient
	service  apiconnect.LimpetServiceClient
	patience time.Duration

	mu sync.Mutex
	// known says that it has answered as a server does.
	known bool
	// avoid is until when the server is left alone; pauses grow with each
	// failure.
	avoid  time.Time
	pauses backoff.Pauses
	// heard is the last sign of life, refused since when it takes no
	// connections; zero if it does.
	heard   time.Time
	refused time.Time
	// out are the calls that end when the server is found silent.
	out map[*outCall]struct{}
	// timer runs while there are such calls, and once more.
	timer *time.Timer
}

type outCall struct{ cancel context.CancelCauseFunc }

func newServer(address, base string, options []connect.ClientOption, client connect.HTTPClient) *server {
	return &server{
		address: address, health: base + "/healthz", http: client, out: make(map[*outCall]struct{}), pauses: avoidPauses,
		service: apiconnect.NewLimpetServiceClient(client, base, options...),
	}
}

// answered notes a sign of life and, if the server can serve, forgets failures.
func (s *server) answered(serves bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard, s.known = time.Now(), true
	if serves {
		s.avoid = time.Time{}
		s.pauses.Reset()
	}
}

func (s *server) isKnown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// failed has the server left alone for a while: longer each time.
func (s *server) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.avoid = time.Now().Add(s.pauses.Next())
}

// avoidedUntil is when the server may be asked again although there are others.
func (s *server) avoidedUntil() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.avoid
}

// guard returns a context that also ends, with errSilent as its cause, when the
// server is found silent. The function must be called when the call has ended.
func (s *server) guard(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	call := &outCall{cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out[call] = struct{}{}
	if s.timer == nil {
		s.timer = time.AfterFunc(pingEvery, s.ping)
	}
	return ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.out, call)
		cancel(nil)
	}
}

// ping asks whether the server is alive, unless that is known.
func (s *server) ping() {
	s.mu.Lock()
	if len(s.out) == 0 {
		s.timer, s.refused = nil, time.Time{}
		s.mu.Unlock()
		return
	}
	if quiet := time.Since(s.heard); quiet < pingEvery {
		s.timer.Reset(pingEvery - quiet)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	err := s.askHealth()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		s.heard, s.refused = now, time.Time{}
	case !errors.Is(err, context.DeadlineExceeded) && s.refused.IsZero():
		s.refused = now
	case !errors.Is(err, context.DeadlineExceeded) && now.Sub(s.refused) < refusedPatience:
	default:
		for call := range s.out {
			call.cancel(errSilent)
		}
		clear(s.out)
		s.refused = time.Time{}
	}
	s.timer.Reset(pingEvery)
}

// askHealth takes any answer for life: what stands between may know no /healthz.
func (s *server) askHealth() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.health, nil)
	if err != nil {
		return err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10))
	return res.Body.Close()
}
