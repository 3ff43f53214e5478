package placement

import "time"

// stickyRuns are the live runs bound to a worker that has a StickyRunsMax.
type stickyRuns struct {
	max int
	// The journal has been read; until then no sticky run is granted.
	known bool
	// Run id → order of its grant; 0 for those that the journal named.
	runs map[string]uint64

	listing  bool
	listedAt time.Time       // when the last reading was asked for
	mark     uint64          // order of what came before the reading
	unbound  map[string]bool // unbound since the mark

	// beyond is a run that was granted although there were max; empty for none.
	beyond string
}

func (s *stickyRuns) count() int { return len(s.runs) }

func (s *stickyRuns) full() bool { return !s.known || len(s.runs) >= s.max }

func (c *Core) bind(w *worker, run string) {
	if w.sticky == nil {
		return
	}
	c.seq++
	if _, had := w.sticky.runs[run]; !had && w.sticky.full() {
		w.sticky.beyond = run
	}
	w.sticky.runs[run] = c.seq
	if w.sticky.full() {
		c.caps++
	}
}

func (c *Core) unbind(w *worker, run string, now time.Time) {
	s := w.sticky
	if s == nil {
		return
	}
	if s.listing {
		s.unbound[run] = true
	}
	if _, ok := s.runs[run]; !ok {
		return
	}
	if s.full() {
		c.caps++
	}
	delete(s.runs, run)
	c.fill(w, now)
}

// patience is the time after which a reading is repeated, or given up.
func (s *stickyRuns) patience(cfg Config) time.Duration {
	if s.known {
		return cfg.RelistEvery
	}
	return min(cfg.RelistEvery, time.Second)
}

// listBound asks for the runs bound to the worker, unless that is under way.
func (c *Core) listBound(w *worker, now time.Time) {
	s := w.sticky
	if s == nil || s.listing {
		return
	}
	s.listing, s.listedAt, s.mark = true, now, c.seq
	s.unbound = map[string]bool{}
	// A grant that is on its way may become durable after the reading.
	c.seq++
	for _, q := range w.unseen {
		if _, ok := s.runs[q.key.run]; ok && q.class.sticky {
			s.runs[q.key.run] = c.seq
		}
	}
	c.emit(ListBound{w.id()})
}

// relist reads again where the count may be wrong: a message that a run is
// unbound may be lost, and sticky children are bound without a question.
func (c *Core) relist(now time.Time) {
	for _, w := range c.seats {
		if w == nil || w.sticky == nil || now.Sub(w.sticky.listedAt) < w.sticky.patience(c.cfg) {
			continue
		}
		if s := w.sticky; !s.known || c.waiting > 0 && s.full() || w.boundReported > s.count() {
			s.listing = false // an answer that took so long is lost
			c.listBound(w, now)
		}
	}
}

// BoundRuns answers ListBound: the ids of the unfinished runs bound to the
// worker, read after ListBound was asked.
func (c *Core) BoundRuns(workerID string, runs []string, now time.Time) []Action {
	w := c.workers[workerID]
	if w == nil || w.sticky == nil || !w.sticky.listing {
		return c.take()
	}
	s := w.sticky
	bound := make(map[string]uint64, len(runs))
	for _, run := range runs {
		if !s.unbound[run] {
			bound[run] = 0
		}
	}
	for run, order := range s.runs {
		if order > s.mark {
			bound[run] = order
		}
	}
	s.runs, s.known, s.listing, s.unbound = bound, true, false, nil
	c.fleet++
	c.fill(w, now)
	return c.take()
}

// BoundRunsFailed says that the journal could not be read; it is asked again
// after a while.
func (c *Core) BoundRunsFailed(workerID string, _ time.Time) []Action {
	if w := c.workers[workerID]; w != nil && w.sticky != nil {
		w.sticky.listing, w.sticky.unbound = false, nil
	}
	return c.take()
}
