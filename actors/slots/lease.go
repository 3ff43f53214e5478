package slots

import (
	"slices"
	"time"
)

// LeaseEnded says that the worker may not act any more, as its runs may be
// given to others: every attempt that has not ended is lost, and nothing starts
// until LeaseBegan. Term counts the leases that have ended: a dispatch that was
// sent under an earlier one is dropped, for it may have been on its way while
// its run went elsewhere.
func (c *Core) LeaseEnded(now time.Time, term uint64, cause error) []Action {
	if !c.begin() {
		return nil
	}
	c.leaseless, c.term = true, term
	for _, a := range slices.Clone(c.queue) {
		if a.phase == phaseQueued {
			c.abandon(now, a, cause)
		}
	}
	for _, id := range c.functionIDs() {
		if a := c.byID[id]; a.phase != phaseEnded && a.phase != phaseForgotten {
			c.abandon(now, a, cause)
		}
	}
	return c.end(now)
}

// LeaseBegan says that the worker may act.
func (c *Core) LeaseBegan(now time.Time) []Action {
	if !c.begin() {
		return nil
	}
	c.leaseless = false
	c.serve(now)
	return c.end(now)
}
