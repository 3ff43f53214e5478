// Package local is the core of what a worker does with local state: which
// values there are, who uses them, when one is built and when it is released.
// It holds no value itself and knows no clock, network or goroutine: values are
// numbers, time comes in with each input, work leaves as actions.
//
// Data flow: an input → Keeper → actions.
//
//	inputs    AttemptBegan, Get, Peek, Built, AttemptEnded, Released, HandOff, Tick, Stop
//	actions   Build and CancelBuild for the user's Bind, Give and Fail for the
//	          functions that asked, Release for the user's Release, HandOff for the
//	          user's hooks
//
// A private value belongs to a run under one epoch of its binding. A shared value
// belongs to a key. The runs bound here that have asked for it hold it; an attempt
// of a run that is not bound holds it while the attempt runs. A query of a run is an
// attempt that is not bound and only peeks: it uses what is there until it returns.
//
// A value passes through these phases:
//
//	queued     a shared value waits for room
//	building   the user's Bind runs
//	there      it may be used
//	releasing  the user's Release runs; then it is gone
//
// An end step takes a private value that is there, or that was handed to it, and has
// none built.
//
// It is dropped when nobody may ask for it any more. A dropped value is released
// when the last function that got it has returned.
//
// Invariants, checked by Keeper.Check:
//
//	L1  a value is released at most once, and never while a function that got
//	    it has not returned or a hand-off reads it
//	L2  of a run, or of a key, at most one value of a name is built or there
//	L3  shared values, those that are being built, dropped or released
//	    included, are never more than SharedMax
//	L4  the bytes of shared values that are not being released are never more
//	    than SharedBytesMax
//	L5  only what nobody holds, uses or waits for is evicted; a run holds
//	    nothing under an epoch that is over
//	L6  who waits, waits for a value that is being built or is queued for room
//
// Nothing is remembered of a run that has no value and runs no attempt.
//
// Imports only actors/attempt and messages.
package local
