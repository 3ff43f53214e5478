package remote

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// detoursMax bounds the servers that are tried at once.
const detoursMax = 3

// search finds a way to the process of a peer: the direct one or, if that is not
// there within the patience, the first one by a server.
type search struct {
	peer    *peer
	ctx     context.Context
	stop    context.CancelFunc
	results chan way
	pending int
	// detours fires when the servers are tried.
	detours *time.Timer
	found   *link
	// failure is that of the direct way.
	failure error
}

// way is what became of one try.
type way struct {
	by   string
	link *link
	err  error
}

// search takes connectTime at most. Its error is that of the direct way. Where
// connections are refused nobody listens, so no server is tried.
func (p *peer) search(ctx context.Context) (*link, error) {
	s := &search{peer: p, results: make(chan way), detours: time.NewTimer(p.r.patience)}
	s.ctx, s.stop = context.WithTimeoutCause(ctx, connectTime, errUnanswered)
	defer s.stop()
	defer s.detours.Stop()
	s.try("", "")
	for s.pending > 0 {
		select {
		case <-s.detours.C:
			s.tryDetours()
		case w := <-s.results:
			s.pending--
			s.take(w)
		}
	}
	if s.found != nil {
		return s.found, nil
	}
	return nil, s.failure
}

func (s *search) try(by, name string) {
	s.pending++
	go func() {
		l, err := s.peer.connect(s.ctx, by, name)
		s.results <- way{by, l, err}
	}()
}

func (s *search) tryDetours() {
	name, servers := s.peer.r.known.Relays(s.peer.address)
	for _, by := range servers[:min(len(servers), detoursMax)] {
		s.try(by, name)
	}
}

// take takes the first way that is found; the other tries end.
func (s *search) take(w way) {
	switch {
	case w.err == nil && s.found == nil:
		s.found = w.link
		s.detours.Stop()
		s.stop()
	case w.err == nil:
		w.link.close()
	case w.by != "" || s.found != nil:
	case errors.Is(w.err, syscall.ECONNREFUSED):
		s.failure = w.err
		s.detours.Stop()
		s.stop()
	default:
		s.failure = w.err
		if s.detours.Stop() {
			s.tryDetours()
		}
	}
}
