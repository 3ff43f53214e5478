package slots

import (
	"slices"
	"time"
)

// Leaseless says that the core knows of no lease.
func (c *Core) Leaseless() bool { return c.leaseless }

// LeaseEnded says that the worker may not act any more, as its runs may be
// given to others: every attempt that has not ended is lost, whatever its function
// returns afterwards, and nothing starts until LeaseBegan. A dispatch that was sent under an earlier term is dropped, for
// it may have been on its way while its run went elsewhere.
func (c *Core) LeaseEnded(now time.Time, term uint64, cause error) []Action {
	if !c.begin() {
		return nil
	}
	c.leaseless, c.term = true, term
	for _, a := range slices.Clone(c.queue.Items()) {
		if a.phase == phaseQueued {
			c.abandon(now, a, cause)
		}
	}
	for _, id := range c.functionIDs() {
		if a := c.byID[id]; a.phase != phaseEnded && a.phase != phaseForgotten {
			a.lapsed = true
			c.abandon(now, a, cause)
		}
	}
	return c.end(now)
}

// LeaseBegan says that the worker may act, under a term that is another one than
// that of the time without a lease: what was sent in that time is dropped too.
func (c *Core) LeaseBegan(now time.Time, term uint64) []Action {
	if !c.begin() {
		return nil
	}
	c.leaseless, c.term = false, term
	c.serve(now)
	return c.end(now)
}

// fromBefore says that what was sent under a term may have been sent before the
// worker's present lease began, or before the next one, as there is none.
func (c *Core) fromBefore(term uint64) bool { return c.leaseless || term < c.term }
