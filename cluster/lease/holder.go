package lease

import (
	"slices"
	"strings"
	"time"
)

// soonMax is how many questions of a worker without a lease come at four times the
// usual pace.
const soonMax = 8

// Holder is a worker's side. Its methods are not safe for concurrent use; the
// times that they take are of one monotonic clock.
type Holder struct {
	cfg     Config
	rounds  rounds
	asked   time.Time
	servers map[string]*source
	until   time.Time
	// held is what the last Check said; term is of the present lease, or of the
	// time without one.
	held bool
	term uint64
	// without are the questions since the last lease ended.
	without int
}

// source is a server that may give leases.
type source struct {
	// there: in the view; gone is since when it is not.
	there bool
	gone  time.Time
	// left: it said that it leaves.
	left  bool
	until time.Time
	// heard is when the last question was sent that it answered.
	heard time.Time
	// refused is the beginning of the newest look that found that nobody listens
	// there; zero if it was found otherwise since.
	refused time.Time
	// lookAt is when the next look may begin, after pause: somebody listens there.
	lookAt time.Time
	pause  time.Duration
}

// NewHolder makes a Holder without a lease.
func NewHolder(c Config) *Holder { return &Holder{cfg: c, servers: map[string]*source{}} }

// Servers takes the names of the servers in the view. One that has left it is
// forgotten after GhostFor, unless it may be the last one.
func (h *Holder) Servers(now time.Time, there []string) {
	h.Until()
	for _, name := range there {
		s := h.servers[name]
		if s == nil {
			s = &source{}
			h.servers[name] = s
		}
		s.there, s.left = true, false
	}
	for name, s := range h.servers {
		if s.there && !slices.Contains(there, name) {
			s.there, s.gone = false, now
		}
		if len(there) > 0 && !s.there && now.Sub(s.gone) > GhostFor {
			delete(h.servers, name)
		}
	}
}

// Left says that a server has said that it leaves.
func (h *Holder) Left(server string) {
	if s := h.servers[server]; s != nil {
		s.left = true
	}
}

// Replaced says that another process has taken a server's place.
func (h *Holder) Replaced(server string) {
	h.Until()
	delete(h.servers, server)
}

// Ask begins a question to all servers, which Known returns; it returns its
// number.
func (h *Holder) Ask(now time.Time) uint64 {
	h.asked = now
	if !h.held {
		h.without++
	}
	return h.rounds.begin(now)
}

// Known are the servers to ask, in the order of their names.
func (h *Holder) Known() []string {
	out := make([]string, 0, len(h.servers))
	for name := range h.servers {
		out = append(out, name)
	}
	slices.SortFunc(out, strings.Compare)
	return out
}

// NextAsk is when the next question is due: soon after a lease has ended. Servers
// that have left some questions unanswered may have too many to answer, and are
// asked at the usual pace.
func (h *Holder) NextAsk() time.Time {
	if h.held || h.without >= soonMax {
		return h.asked.Add(h.cfg.Every())
	}
	return h.asked.Add(h.cfg.Every() / 4)
}

// Granted takes a server's answer to a question.
func (h *Holder) Granted(server string, seq uint64, valid time.Duration) {
	s := h.servers[server]
	sent, ok := h.rounds.at(seq)
	if s == nil || !ok || valid <= 0 {
		return
	}
	s.until, s.heard = later(s.until, sent.Add(Discount(valid))), later(s.heard, sent)
	s.lookAt, s.pause = time.Time{}, 0
	if sent.After(s.refused) {
		s.refused = time.Time{}
	}
}

// Looks are servers that have left two questions unanswered, or never answered
// one, while the end of the lease comes near: whether their processes have ended
// is to be found out. When it is very near, one question is enough. Looks at one
// where somebody listens become seldomer: it may have too much to do, and each look
// is a connection that it has to accept.
func (h *Holder) Looks(now time.Time) []string {
	left := h.Until().Sub(now)
	if left > h.cfg.For/2 {
		return nil
	}
	silent := 2 * h.cfg.Every()
	if left <= silent {
		silent = h.cfg.Every()
	}
	var out []string
	for _, name := range h.Known() {
		if s := h.servers[name]; now.Sub(s.heard) > silent && !now.Before(s.lookAt) {
			out = append(out, name)
		}
	}
	return out
}

// Looked takes the end of a look that began at a time: whether all ports of the
// server refuse connections.
func (h *Holder) Looked(server string, began time.Time, refused bool) {
	s := h.servers[server]
	switch {
	case s == nil:
	case refused && began.After(s.heard):
		s.refused = later(s.refused, began)
		s.lookAt, s.pause = time.Time{}, 0
	case !refused && began.After(s.refused):
		s.refused = time.Time{}
		s.pause = min(max(2*s.pause, h.cfg.Every()), h.cfg.For)
		s.lookAt = began.Add(s.pause)
	}
}

// Until is the end of the lease, as things are; zero for none. It never goes
// back: what was granted stands, and so does what followed from the end of all
// servers, whoever has taken their places since.
func (h *Holder) Until() time.Time {
	until, oldest := h.until, time.Time{}
	ended := true
	for _, s := range h.servers {
		until = later(until, s.until)
		switch {
		case s.refused.IsZero():
			ended = ended && s.left
		case oldest.IsZero():
			oldest = s.refused
		default:
			oldest = earlier(oldest, s.refused)
		}
	}
	if ended && !oldest.IsZero() {
		until = later(until, oldest.Add(Discount(h.cfg.For)))
	}
	h.until = until
	return until
}

// Check says whether there is a lease now, and whether that has changed since
// the last Check. A lease that is over is over: what comes later is another one.
func (h *Holder) Check(now time.Time) (held, changed bool) {
	held = now.Before(h.Until())
	changed = held != h.held
	if held {
		h.without = 0
	}
	if changed && (!held || h.term > 0) {
		h.term++
		// The servers are told at once: what they send under the term before is
		// dropped.
		h.asked = time.Time{}
	}
	h.held = held
	return held, changed
}

// Term is 0 for the first lease and the time before it, in which nothing is sent to
// the worker (H4). It grows at each end of
// a lease, and when another one begins: servers that hear the worker while it
// does not hear them know the term of the time without a lease, and what they
// sent under it may have been on its way while its run went elsewhere.
func (h *Holder) Term() uint64 { return h.term }

// Held says that a term is of a lease, or of the time before the first one, and not
// of a time without one.
func Held(term uint64) bool { return term%2 == 0 }
