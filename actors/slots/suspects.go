package slots

import "time"

const (
	// SuspectApart is the time from the start of another function to that of a
	// suspect, SuspectQuiet that from the start of a suspect to the next one of
	// another function.
	SuspectApart = 2 * time.Second
	SuspectQuiet = 10 * time.Second
)

// suspects takes care that of the steps that may be what ends this process one is
// executed at a time, so that the loss of the process is the doing of that one as
// far as the others of them go.
//
//	the first to come           has the turn, in the queue and while it works
//	the others                  stand aside in the queue, and take no slot
//	one that waits for a child  gives the turn up: the child may be a suspect; it
//	                            goes on without the turn
//
// What is no suspect yet may be what ends the process all the same, most likely soon
// after it has begun. So a suspect begins a while after it, and it a while after a
// suspect.
type suspects struct {
	// turn is the one whose turn it is; nil for none.
	turn *attempt
	// aside is how many of the queue it is not the turn of.
	aside int
	// lastStart is that of the newest function that is no suspect.
	lastStart time.Time
}

// apartUntil is until when an attempt that comes next is kept from beginning.
func (s *suspects) apartUntil(a *attempt) time.Time {
	switch {
	case s.turn == nil || a.phase == phaseReturning:
		return time.Time{}
	case s.turn == a:
		return s.lastStart.Add(SuspectApart)
	case s.turn.phase == phaseRunning:
		return s.turn.started.Add(SuspectQuiet)
	}
	return time.Time{}
}

// mayBegin says that no suspect keeps a new attempt from beginning at once: neither
// that which works nor one that waits at the head of the queue.
func (c *Core) mayBegin(now time.Time, a *attempt) bool {
	return c.suspects.hasTurn(a) && c.queue.Len() == c.suspects.aside && !now.Before(c.suspects.apartUntil(a))
}

// apartDue is when the next attempt of the queue is kept no longer; zero for never.
func (c *Core) apartDue() time.Time {
	if c.queue.Len() == 0 {
		return time.Time{}
	}
	if due := c.suspects.apartUntil(c.queue.First()); due.After(c.at) {
		return due
	}
	return time.Time{}
}

// hasTurn says that it is the turn of an attempt, or that it needs none. A suspect
// takes the turn if nobody has it.
func (s *suspects) hasTurn(a *attempt) bool {
	if !a.dispatch.Suspect {
		return true
	}
	if s.turn == nil {
		s.turn = a
	}
	return s.turn == a
}

// over ends the turn of an attempt, if it has it.
func (s *suspects) over(a *attempt) {
	if s.turn == a {
		s.turn = nil
	}
}

// passTurn gives the turn, if nobody has it, to the first of those that stand
// aside.
func (c *Core) passTurn() {
	if c.suspects.turn != nil || c.suspects.aside == 0 {
		return
	}
	var next *attempt
	for _, a := range c.queue.Items() {
		if a.queueClass == classAside && (next == nil || a.goesBefore(next)) {
			next = a
		}
	}
	c.dequeue(next)
	c.enqueue(next)
}
