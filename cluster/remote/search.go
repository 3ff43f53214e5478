package remote

import (
	"context"
	"errors"
	"runtime"
	"syscall"
	"time"
)

// detoursMax bounds the servers that are tried at once.
const detoursMax = 3

// patienceTicks are those in which the patience passes, see patience.
const patienceTicks = 6

// patience is time as it passes for what the network has for this process. One that
// gets too little of the processors takes up what its timers have before that, and
// would give up what is there and has not been read. So it is counted in ticks, of
// which such a process misses some, and each waits behind all that the network has
// woken.
type patience struct{ *time.Ticker }

func (r *Remote) newPatience() patience { return patience{time.NewTicker(r.patience / patienceTicks)} }

// ticked is for after a tick.
func (patience) ticked() { runtime.Gosched() }

// search finds a way to the process of a peer: the direct one or, if the system of
// that process does not accept a connection in time, the first one by a server.
type search struct {
	peer    *peer
	ctx     context.Context
	stop    context.CancelCauseFunc
	results chan way
	pending int
	direct  *link
	// ticks have passed, and servers are tried, or were, after so many.
	ticks, detoursAfter int
	tried               bool
	found               *link
	// failure is that of the direct way.
	failure error
}

// way is what became of one try.
type way struct {
	link *link
	err  error
}

// search takes connectTicks at most; servers are tried after so many. Its error is
// that of the direct way. Where connections are refused nobody listens, and where they
// are accepted nothing is cut, so no server is tried.
func (p *peer) search(ctx context.Context, detoursAfter int) (*link, error) {
	s := &search{peer: p, results: make(chan way), direct: p.newLink(""), detoursAfter: detoursAfter}
	s.ctx, s.stop = context.WithCancelCause(ctx)
	defer s.stop(nil)
	ticker := p.r.newPatience()
	defer ticker.Stop()
	s.try(s.direct, "")
	for s.pending > 0 {
		if s.ticks >= s.detoursAfter {
			s.tryDetours()
		}
		select {
		case <-ticker.C:
			ticker.ticked()
			if s.ticks++; s.ticks == p.r.connectTicks() {
				s.stop(errUnanswered)
			}
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

// connectTicks is how long a connection may take to be made: connectTime, or as long
// as it takes to find out that there is a cut and to go by a server.
func (r *Remote) connectTicks() int {
	return max(3*patienceTicks, int(connectTime*patienceTicks/r.patience))
}

func (s *search) try(l *link, name string) {
	s.pending++
	go func() { s.results <- way{l, l.connect(s.ctx, name)} }()
}

func (s *search) tryDetours() {
	if s.tried || s.ctx.Err() != nil || s.direct.accepted() {
		return
	}
	s.tried = true
	name, servers := s.peer.r.known.Relays(s.peer.address)
	for _, by := range servers[:min(len(servers), detoursMax)] {
		s.try(s.peer.newLink(by), name)
	}
}

// take takes the first way that is found; the other tries end.
func (s *search) take(w way) {
	switch {
	case w.err == nil && s.found == nil:
		s.found = w.link
		s.stop(nil)
	case w.err == nil:
		w.link.close()
	case w.link.by != "" || s.found != nil:
	case errors.Is(w.err, syscall.ECONNREFUSED):
		s.failure = w.err
		s.stop(nil)
	default:
		s.failure = w.err
		s.tryDetours()
	}
}
