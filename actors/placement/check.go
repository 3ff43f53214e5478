package placement

import "fmt"

// Check returns the first invariant of the package that does not hold.
func (c *Core) Check() error {
	for _, w := range c.seats {
		if w == nil {
			continue
		}
		if err := c.checkSeat(w); err != nil {
			return err
		}
	}
	waiting := 0
	for p := range c.bands {
		for _, l := range c.bands[p].lanes {
			for _, cl := range l.classes {
				if cl.queues[p].Len() == 0 {
					return fmt.Errorf("class %q is in lane %q of priority %d without a question", cl.key, l.workflow, p+1)
				}
				waiting += cl.queues[p].Len()
				if err := c.checkClass(cl, p); err != nil {
					return err
				}
			}
		}
	}
	if waiting != c.waiting {
		return fmt.Errorf("%d questions wait, %d are counted", waiting, c.waiting)
	}
	return c.checkHeld()
}

// checkHeld compares the index of keys with what the workers hold.
func (c *Core) checkHeld() error {
	held, indexed := 0, 0
	for _, w := range c.seats {
		if w != nil {
			held += len(w.held) + len(w.promised)
		}
	}
	for key, list := range c.held.by {
		indexed += len(list)
		for _, w := range list {
			_, promised := w.promised[key]
			if c.workers[w.id()] != w || promised == w.reports(key) {
				return fmt.Errorf("P6: worker %s is taken for a holder of key %x", w.id(), key)
			}
		}
	}
	if held != indexed {
		return fmt.Errorf("P6: the workers hold %d keys, %d are known of", held, indexed)
	}
	return nil
}

func (c *Core) checkSeat(w *worker) error {
	if n := w.running + w.queued + len(w.unseen); w.taken != n {
		return fmt.Errorf("worker %s: %d slots are taken, %d are counted", w.id(), n, w.taken)
	}
	if w.crowded != "" {
		return fmt.Errorf("P1: worker %s was granted run %s when its %d slots were taken", w.id(), w.crowded, w.slots)
	}
	if w.isOpen() != (w.openAt >= 0) || w.openAt >= 0 && c.open[w.openAt] != w {
		return fmt.Errorf("worker %s: open is %v, its place among the open %d", w.id(), w.isOpen(), w.openAt)
	}
	for id, q := range w.unseen {
		if q.worker != w || q.grantID != id || q.state != stateGranted || q.seen {
			return fmt.Errorf("worker %s: grant %d is not one of its own", w.id(), id)
		}
		if f := q.class.fitOf(w); !f.ok {
			return fmt.Errorf("P2: worker %s does not fit %s of run %s", w.id(), q.class.workflow, q.key.run)
		}
	}
	if s := w.sticky; s != nil && s.beyond != "" {
		return fmt.Errorf("P3: worker %s was granted run %s beyond its %d sticky runs", w.id(), s.beyond, s.max)
	}
	return nil
}

func (c *Core) checkClass(cl *class, p int) error {
	for _, w := range c.open {
		if cl.eligible(w) {
			return fmt.Errorf("P4: worker %s is open and fits, run %s waits", w.id(), cl.queues[p].First().key.run)
		}
	}
	for _, q := range cl.queues[p].Items() {
		if q.state != stateWaiting || c.questions[q.key] != q {
			return fmt.Errorf("P5: question %d of run %s step %q waits, but is not the one that is kept", q.number, q.key.run, q.key.step)
		}
	}
	if err := cl.queues[p].Check(); err != nil {
		return fmt.Errorf("questions of class %q, priority %d: %w", cl.key, p+1, err)
	}
	return nil
}
