package slots

// suspects takes care that of the steps that may be what ends this process one is
// executed at a time, so that the loss of the process is the doing of that one as
// far as the others of them go.
//
//	the first to come           has the turn, in the queue and while it works
//	the others                  stand aside in the queue, and take no slot
//	one that waits for a child  gives the turn up: the child may be a suspect; it
//	                            goes on without the turn
type suspects struct {
	// turn is the one whose turn it is; nil for none.
	turn *attempt
	// aside is how many of the queue it is not the turn of.
	aside int
}

// mayBegin says that no suspect keeps an attempt from beginning. One that is a
// suspect itself takes the turn if nobody has it.
func (s *suspects) mayBegin(a *attempt) bool {
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
