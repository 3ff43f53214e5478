package run

import "time"

// clock is the time of the run: that of the server's clock. It does not go back: not
// within an activation, and not behind the newest entry, which may come from a server
// whose clock is ahead. Then it stands still until that of this one has come as far: a
// server that is behind catches up at once when it reads the store's, and what counted
// on from there would come too early. The server goes on from there as soon as it has
// loaded the run (activation.Seen), if it is behind by more than a second: so nothing
// comes later than by that.
type clock struct {
	now time.Time
}

// set takes what the server's clock shows.
func (c *clock) set(shown time.Time) {
	if at := time.UnixMicro(shown.UnixMicro()); at.After(c.now) {
		c.now = at
	}
}

// due says that a time has come.
func (c *clock) due(at time.Time) bool { return !c.now.Before(at) }
