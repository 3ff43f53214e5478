// Package slots is the core of a worker: what it does with the attempts that
// runs send it. It knows no clock, network or goroutine: time comes in with
// each input, work leaves as actions.
//
// Data flow: Dispatch, Revoke, CancelAttempt, ResultAck, RunReleased, the end
// of a function, a drain and its end, Tick → Core → Start and CancelContext for the functions, Send
// for the runs, Report for placement, AskBound for the owners of runs, Stopped
// for the process.
//
// An attempt is queued, then runs, perhaps waits for a child (and then comes
// back through the queue), then ends; its result is kept until the run has
// acknowledged it. After that a mark of a few bytes remains.
//
// Invariants, checked by Core.Check:
//
//	W1  functions that hold a slot are never more than the slots
//	W2  the function of an attempt is started at most once, and never after the
//	    attempt was revoked, canceled unseen, or followed by a newer one
//	W3  a result is kept and sent again until it is acknowledged
//	W4  nothing is queued while a slot is free
//	W5  the queue is served in order: steps that come back from waiting for a
//	    child, then steps of runs bound here, then new runs; within the last
//	    two by priority, then by the time they became ready
//	W6  a draining worker starts only what is of a HARD run or of a SOFT run that
//	    was bound to it before, and nothing at all after the operator's deadline
//	W7  a bound run of which nothing was heard for StillBoundAfter is asked about,
//	    the longest unheard first: RunReleased may be lost
//
// What is not bounded by slots is bounded otherwise: marks of runs with nothing
// in flight are kept for MarksMax attempts, the oldest go first; those of a
// sticky run are replaced by its epoch when the run is released. A message would have to be
// older than MarksMax attempts to be taken for a new one.
//
// Imports only messages.
package slots
