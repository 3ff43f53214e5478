package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpetrun/limpet/messages"
)

const (
	// probeTimeout bounds one question to the journal.
	probeTimeout = time.Second
	// probeEvery is how long its answer holds.
	probeEvery = time.Second
	// journalPatience is how long a call waits for a journal that is out of
	// reach before it is told so. A restart of the database may be shorter.
	journalPatience = 2 * time.Second
)

// errJournal ends calls that wait for a journal that is out of reach.
var errJournal = messages.Errorf(messages.CodeJournalUnavailable, journalAwayText)

// readiness is the answer of /readyz.
type readiness struct {
	Ready  bool             `json:"ready"`
	Checks map[string]check `json:"checks"`
}

// check is one of the things that a server needs to serve. The reason is for
// everybody to read: it holds no address and no secret.
type check struct {
	OK     bool          `json:"ok"`
	Code   messages.Code `json:"code,omitempty"`
	Reason string        `json:"reason,omitempty"`
}

func checked(err error) check {
	if err == nil {
		return check{OK: true}
	}
	return check{Code: messages.CodeOf(err), Reason: messageOf(err)}
}

// readiness asks everything that is to be asked.
func (g *gateway) readiness(ctx context.Context) readiness {
	r := readiness{Ready: true, Checks: map[string]check{"serving": checked(g.serving())}}
	if g.config.Member != nil {
		r.Checks["member"] = checked(g.config.Member())
	}
	if g.journal != nil {
		c := checked(g.journal.ask(ctx))
		if text := discreetTexts[c.Code]; text != "" {
			// The store's own words may name the database and its user.
			c.Reason, _, _ = strings.Cut(text, ";")
		}
		r.Checks["journal"] = c
	}
	for _, c := range r.Checks {
		r.Ready = r.Ready && c.OK
	}
	return r
}

// serving is nil unless the server stops or NotReady was called.
func (g *gateway) serving() error {
	if reason := g.notReady.Load(); reason != nil {
		return messages.Errorf(messages.CodeUnavailable, "%s", *reason)
	}
	return nil
}

func (g *gateway) serveReady(w http.ResponseWriter, r *http.Request) {
	ready := g.readiness(r.Context())
	status := http.StatusOK
	if !ready.Ready {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, ready)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller has gone
}

// probe asks the journal whether it is within reach: once for all that want to
// know at one time, and no more often than every probeEvery.
type probe struct {
	check func(context.Context) error

	// lost is since when the journal is out of reach, in µs; 0 while it is not.
	lost atomic.Int64

	mu  sync.Mutex
	at  time.Time
	err error
	// checking is closed when the question under way is answered; nil for none.
	checking chan struct{}
}

// newProbe is nil if the journal cannot be asked.
func newProbe(check func(context.Context) error) *probe {
	if check == nil {
		return nil
	}
	return &probe{check: check}
}

// ask returns why the journal is out of reach; nil if it is not.
func (p *probe) ask(ctx context.Context) error {
	p.mu.Lock()
	if time.Since(p.at) < probeEvery {
		defer p.mu.Unlock()
		return p.err
	}
	if p.checking == nil {
		p.checking = make(chan struct{})
		go p.checkOnce(p.checking)
	}
	done := p.checking
	p.mu.Unlock()
	select {
	case <-done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *probe) checkOnce(done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	err := p.check(ctx)
	if ctx.Err() != nil && err != nil {
		err = messages.Errorf(messages.CodeJournalUnavailable, "the journal does not answer within %s: %w", probeTimeout, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.err, p.checking = time.Now(), err, nil
	if err == nil {
		p.lost.Store(0)
	} else {
		p.lost.CompareAndSwap(0, p.at.UnixMicro())
	}
}

// outOfReach says whether the journal has been for longer than calls wait.
func (p *probe) outOfReach(ctx context.Context) bool {
	if p == nil {
		return false
	}
	lost := p.lost.Load()
	return lost != 0 && time.Since(time.UnixMicro(lost)) > journalPatience && p.ask(ctx) != nil && ctx.Err() == nil
}

// whileJournal returns a context that also ends, with errJournal as its cause,
// when the call has waited for a while and the journal is out of reach: what it
// wanted may be recorded once the journal is back.
func (g *gateway) whileJournal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if g.journal == nil {
		return ctx, func() { cancel(nil) }
	}
	var timer *time.Timer
	var mu sync.Mutex
	mu.Lock()
	timer = time.AfterFunc(journalPatience, func() {
		if err := g.journal.ask(ctx); err != nil && ctx.Err() == nil {
			cancel(errJournal)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			timer.Reset(probeEvery)
		}
	})
	mu.Unlock()
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}
