package run

import "time"

// clock is the time of the run: that of the server's clock, and what it is
// ahead of that. It does not go back: not within an activation, and not behind
// the newest entry, which may come from a server whose clock is ahead.
type clock struct {
	now   time.Time
	ahead time.Duration
}

// set takes what the server's clock shows.
func (c *clock) set(shown time.Time) {
	now := time.UnixMicro(shown.UnixMicro()).Add(c.ahead)
	if back := c.now.Sub(now); back > 0 {
		c.ahead += back
		now = c.now
	}
	c.now = now
}

// shown is what the server's clock shows at a time of the run; zero for zero.
func (c *clock) shown(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(-c.ahead)
}

// due says that a time has come.
func (c *clock) due(at time.Time) bool { return !c.now.Before(at) }
