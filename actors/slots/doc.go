// Package slots is the core of a worker: what it does with the attempts that
// runs send it. It knows no clock, network or goroutine: time comes in with
// each input, work leaves as actions.
//
// Data flow: an input → Core → actions.
//
//	inputs    Dispatch, Revoke, CancelAttempt, ResultAck, RunReleased, the end of
//	          a function, a drain and its end, Tick
//	actions   Start and CancelContext for the functions, Send for the runs, Report
//	          for placement, AskBound for the owners of runs, Stopped for the process
//
// An attempt passes through these phases:
//
//	queued     it waits for its first slot
//	running    its function holds a slot
//	waiting    its function waits for a child and holds no slot
//	returning  the child has ended, and the function waits for a slot again
//	ended      its result is kept until the run has acknowledged it
//
// After that a mark of a few bytes remains.
//
// Invariants, checked by Core.Check:
//
//	W1  functions that hold a slot are never more than the slots
//	W2  the function of an attempt is started at most once, and never after the
//	    attempt was revoked, canceled unseen, or followed by a newer one; nor while
//	    the function of a suspended attempt of the step is about to return
//	W3  a result is kept and sent again until it is acknowledged
//	W4  nothing is queued while a slot is free, unless the results that are kept
//	    are above ResultsBytesMax: then only what has begun goes on; or it is a
//	    suspect, and it is not its turn; or it is kept apart from a suspect
//	W5  the queue is served in order: steps that come back from waiting for a
//	    child, then steps of runs bound here, then new runs; within the last
//	    two by priority, then by the time they became ready
//	W6  a draining worker starts only what is of a HARD run or of a SOFT run that
//	    was bound to it before, and nothing at all after the operator's deadline
//	W7  a bound run of which nothing was heard for StillBoundAfter is asked about,
//	    the longest unheard first: RunReleased may be lost
//	W8  of the suspects, steps that may be what ends the process, one at a time has
//	    the turn: no other one begins until it has ended or waits for a child
//	W9  a slot counts as held if its attempt is over and its function has not
//	    returned within CancelGrace
//	W10 what is kept does nothing but wait, and holds no slot; no more than KeptMax
//	    are kept but for those whose runs are asked to suspend them
//
// Marks are bounded. Those of runs with nothing in flight are kept for MarksMax
// attempts; the oldest go first. When a sticky run is released its epoch replaces
// its marks. A message is taken for a new one only if it is older than MarksMax
// attempts.
//
// Imports only heap and messages.
package slots
