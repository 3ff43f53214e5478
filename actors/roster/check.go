package roster

import (
	"errors"
	"fmt"

	"github.com/limpetrun/limpet/actors/run"
)

// Check returns every broken invariant of the package doc that the state alone
// shows: R1, R7, R8, R9 and the consistency of the indexes.
func (c *Core[W]) Check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	there := 0
	for id, w := range c.workers {
		if id != w.id {
			fail("worker %s is found as %s", w.id, id)
		}
		if err := w.check(); err != nil {
			errs = append(errs, err)
		}
		there += len(w.there)
	}
	if there != len(c.there) {
		fail("%d processes are there, by their ids %d", len(c.there), there)
	}
	for question, w := range c.questions {
		if w.question != question {
			fail("R7: question %d is that of %d", question, w.question)
		}
	}
	return errors.Join(append(errs, c.timers.Check())...)
}

func (w *worker[W]) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	holder := w.holder()
	if holder != nil && w.processNamed(holder.ref.Incarnation) != holder {
		fail("R1: %s~%s holds the id and is not there", w.id, holder.ref.Incarnation)
	}
	for _, p := range w.there {
		name := w.id + "~" + p.ref.Incarnation
		counts := p.told == run.WorkerUp || p.told == run.WorkerDraining
		if counts != (p == holder) {
			fail("R1: %s was told to be %v, and is the holder: %v", name, p.told, p == holder)
		}
		errs = append(errs, w.checkClaim(name, p))
	}
	for _, d := range w.doubts {
		if !d.waits.waiting() {
			fail("R7: the doubt about %s~%s waits for nothing", w.id, d.incarnation)
		}
		if holder != nil && holder.ref.Incarnation == d.incarnation {
			fail("R8: %s~%s is doubted and holds the id", w.id, d.incarnation)
		}
	}
	if len(w.past) > PastMax {
		fail("R9: %d verdicts are remembered of worker %s", len(w.past), w.id)
	}
	return errors.Join(append(errs, w.watchers.check())...)
}

func (w *worker[W]) checkClaim(name string, p *process[W]) error {
	superseded := p.told == run.WorkerGone
	waits := superseded || p.claim.phase.open()
	switch {
	case waits != p.waits.waiting() || p.claim.phase == unmade && !w.awaits(p):
		return fmt.Errorf("R7: the claim of %s, in phase %d, waits: %v", name, p.claim.phase, p.waits.waiting())
	case superseded && p.by == nil:
		return fmt.Errorf("R6: %s is gone, is there, and nobody is known to hold its id", name)
	}
	return nil
}

func (s *watchers[W]) check() error {
	if s.at.Len() != len(s.list) {
		return fmt.Errorf("%d watchers are listed, %d are found", len(s.list), s.at.Len())
	}
	for i, w := range s.list {
		if s.at.Get(w) != i {
			return fmt.Errorf("watcher %d is found at %d", i, s.at.Get(w))
		}
	}
	return nil
}
