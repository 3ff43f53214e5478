package activation

import (
	"fmt"

	"github.com/limpetrun/limpet/messages"
)

// Check says which invariant of the package is broken.
func (a *Activation) Check() error {
	switch {
	case a.early.Len() > 0 && (a.m != nil || a.retired):
		return fmt.Errorf("A1: run %s holds %d early messages and is loaded", a.RunID, a.early.Len())
	case a.held.Len() > 0 && !a.leaving && !a.retired:
		return fmt.Errorf("A1: run %s holds %d messages and does not leave", a.RunID, a.held.Len())
	case a.leaving && (a.m == nil || !a.m.Appending()):
		return fmt.Errorf("A2: run %s leaves, and no append is in flight", a.RunID)
	case a.retired && (a.held.Len() > 0 || a.leaving || len(a.unproven) > 0):
		return fmt.Errorf("A3: run %s has retired and holds %d messages, and the answers of %d", a.RunID, a.held.Len(), len(a.unproven))
	}
	return a.checkState()
}

func (a *Activation) checkState() error {
	switch {
	case a.waiting() != a.counted || a.counted > messages.RunQueueBytesMax:
		return fmt.Errorf("A7: %d bytes wait for run %s, %d are counted, the most is %d", a.waiting(), a.RunID, a.counted, messages.RunQueueBytesMax)
	case a.m == nil:
		return nil
	}
	if err := a.m.State().Check(); err != nil {
		return fmt.Errorf("A4: %w", err)
	}
	return nil
}

// Check says which invariant of the package is broken.
func (h *Host) Check() error {
	for id, a := range h.active.All() {
		if a.RunID != id {
			return fmt.Errorf("H1: the activation of %s is that of %s", id, a.RunID)
		}
	}
	owned := 0
	for _, mine := range h.owned {
		if mine {
			owned++
		}
	}
	if owned != h.ownedCount || h.taking < 0 || h.wakings < 0 || h.passing < 0 || h.passing > passingMax {
		return fmt.Errorf("H2: owned %d of %d, taking %d, wakings %d, passing %d", h.ownedCount, owned, h.taking, h.wakings, h.passing)
	}
	if err := h.checkLines(); err != nil {
		return err
	}
	for _, r := range h.releases {
		if len(r.waits) == 0 && r.asked == 0 && !r.paused {
			return fmt.Errorf("H3: the letting go of shards %v waits for nothing", r.shards)
		}
	}
	return nil
}

// Idle says what is under way although nothing should be; nil if nothing is.
func (h *Host) Idle() error {
	if h.taking > 0 || len(h.releases) > 0 || len(h.claims) > 0 || h.wakings > 0 || h.passing > 0 {
		return fmt.Errorf("taking %d, letting go %d, claims %d, wakings %d, passing %d", h.taking, len(h.releases), len(h.claims), h.wakings, h.passing)
	}
	return nil
}

// checkLines holds H8.
func (h *Host) checkLines() error {
	asking := map[*line]int{}
	for _, a := range h.active.All() {
		if a.line != nil {
			asking[a.line] += a.weight
		}
	}
	total := 0
	for _, l := range h.lines {
		if l.asking != asking[l] {
			return fmt.Errorf("H8: line %x counts %d of runs that ask, and has %d", l.name, l.asking, asking[l])
		}
		if l.asking == 0 && !l.parked && !l.reading {
			return fmt.Errorf("H8: line %x is kept for nothing", l.name)
		}
		total += l.asking
		delete(asking, l)
	}
	if len(asking) > 0 || total != h.asking || total > 2*h.cfg.LineMax+len(h.lines)*h.cfg.LineLeast {
		return fmt.Errorf("H8: runs of weight %d ask, %d is counted, with %d lines; %d in lines that nobody has", total, h.asking, len(h.lines), len(asking))
	}
	return nil
}
