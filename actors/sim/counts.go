package sim

// counts say what a simulation exercised.
type counts struct {
	Runs, Entries, Executed, Rebinds, Lost, Refused, Moves, Replays, Children, ChildrenAnew, ChildrenParted, Dormant, Conflicts, Admissions, Refusals, Successions, Leaves, Outages, Lapses int
	Events, EventsCame                                                                                                                                                                      int
	PassedOver, NotDelivered, StillBound                                                                                                                                                    int
	Calls, CallsTaken, Signals, Received, WaitsOver, Suspended, BoundAnew, EndSteps, Continued, Cut, Posts, Alls, Timed, Told, PiecesStored, PiecesRead, StreamsCut                         int
	Rebuilds, StateLost, HandOffs, HandOffsFailed, Drains, Strays, Severed, CutOffs, Absences, NotOffered, ClockSteps, Parked, Suspects, Spared, SlotsHeld, Overheld, MovesHeld             int
}

func (c *counts) add(d counts) {
	c.Runs += d.Runs
	c.Entries += d.Entries
	c.Executed += d.Executed
	c.Rebinds += d.Rebinds
	c.Lost += d.Lost
	c.Refused += d.Refused
	c.Moves += d.Moves
	c.Replays += d.Replays
	c.Children += d.Children
	c.ChildrenAnew += d.ChildrenAnew
	c.ChildrenParted += d.ChildrenParted
	c.Dormant += d.Dormant
	c.Conflicts += d.Conflicts
	c.Admissions += d.Admissions
	c.Refusals += d.Refusals
	c.Successions += d.Successions
	c.Leaves += d.Leaves
	c.Outages += d.Outages
	c.CutOffs += d.CutOffs
	c.Lapses += d.Lapses
	c.Rebuilds += d.Rebuilds
	c.StateLost += d.StateLost
	c.HandOffs += d.HandOffs
	c.HandOffsFailed += d.HandOffsFailed
	c.Drains += d.Drains
	c.Told += d.Told
	c.PiecesStored += d.PiecesStored
	c.PiecesRead += d.PiecesRead
	c.StreamsCut += d.StreamsCut
	c.Cut += d.Cut
	c.Events += d.Events
	c.EventsCame += d.EventsCame
	c.PassedOver += d.PassedOver
	c.NotDelivered += d.NotDelivered
	c.StillBound += d.StillBound
	c.Strays += d.Strays
	c.Severed += d.Severed
	c.Absences += d.Absences
	c.NotOffered += d.NotOffered
	c.ClockSteps += d.ClockSteps
	c.Parked += d.Parked
	c.Calls += d.Calls
	c.CallsTaken += d.CallsTaken
	c.Signals += d.Signals
	c.Received += d.Received
	c.WaitsOver += d.WaitsOver
	c.Suspended += d.Suspended
	c.BoundAnew += d.BoundAnew
	c.EndSteps += d.EndSteps
	c.Continued += d.Continued
	c.Posts += d.Posts
	c.Alls += d.Alls
	c.Timed += d.Timed
	c.Suspects += d.Suspects
	c.Spared += d.Spared
	c.SlotsHeld += d.SlotsHeld
	c.Overheld += d.Overheld
	c.MovesHeld += d.MovesHeld
}
