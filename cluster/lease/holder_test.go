package lease

import (
	"slices"
	"testing"
	"time"
)

// pacing is a holder without a lease that knows one server.
func pacing(t *testing.T) (*Holder, time.Time) {
	t.Helper()
	h, at := NewHolder(Config{For: 2 * time.Second}), time.Unix(0, 0)
	h.Servers(at, []string{"a"})
	return h, at
}

// A worker without a lease asks soon, and then at the usual pace: servers that do not
// answer may have too much to do.
func TestQuestionsWithoutALease(t *testing.T) {
	h, at := pacing(t)
	every := h.cfg.Every()
	for range soonMax {
		if pause := h.NextAsk().Sub(h.asked); pause != every/4 {
			t.Fatalf("asks after %v", pause)
		}
		h.Ask(at)
	}
	if pause := h.NextAsk().Sub(h.asked); pause != every {
		t.Fatalf("goes on asking every %v", pause)
	}
	// With a lease again the count begins anew.
	h.Granted("a", h.Ask(at), h.cfg.For)
	h.Check(at)
	h.Check(at.Add(h.cfg.For))
	h.Ask(at.Add(h.cfg.For))
	if pause := h.NextAsk().Sub(h.asked); pause != every/4 {
		t.Fatalf("asks after %v when a lease has ended", pause)
	}
}

// Looks at a server that is silent and accepts connections become seldomer; an answer
// or a refusal has them begin anew.
func TestLooksBecomeSeldomer(t *testing.T) {
	h, at := pacing(t)
	looks := func(accepts bool) (n int) {
		for end := at.Add(20 * time.Second); at.Before(end); at = at.Add(h.cfg.Every() / 4) {
			if slices.Contains(h.Looks(at), "a") {
				h.Looked("a", at, !accepts)
				n++
			}
		}
		return n
	}
	// At pauses of 0.29 s, 0.57 s, 1.1 s and then 2 s.
	if n := looks(true); n < 10 || n > 13 {
		t.Errorf("%d looks in 20 s at a server that accepts connections", n)
	}
	// Each of these renews what follows from the end of all servers.
	if n := looks(false); n < 20 {
		t.Errorf("%d looks in 20 s at a server that refuses connections", n)
	}
	looks(true)
	h.Granted("a", h.Ask(at), h.cfg.For)
	at = at.Add(h.cfg.For - h.cfg.Every()/2)
	if len(h.Looks(at)) != 1 {
		t.Error("no look at a server that has answered since")
	}
}

// Terms with a lease, and before the first one, are even.
func TestTermsWithALease(t *testing.T) {
	h, at := pacing(t)
	for range 3 {
		if !Held(h.Term()) {
			t.Fatalf("term %d is taken for one without a lease", h.Term())
		}
		h.Granted("a", h.Ask(at), h.cfg.For)
		h.Check(at)
		if !Held(h.Term()) {
			t.Fatalf("term %d is taken for one without a lease", h.Term())
		}
		at = at.Add(h.cfg.For)
		h.Check(at)
		if Held(h.Term()) {
			t.Fatalf("term %d is taken for one with a lease", h.Term())
		}
		h.Granted("a", h.Ask(at), h.cfg.For)
		h.Check(at)
	}
}
