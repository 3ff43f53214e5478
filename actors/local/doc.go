// Package local is the core of what a worker does with local state: which
// values there are, who uses them, when one is built and when it is released.
// It holds no value itself and knows no clock, network or goroutine: values are
// numbers, time comes in with each input, work leaves as actions.
//
// Data flow: AttemptBegan, Get, Built, AttemptEnded, Released, HandOff, Tick,
// Stop → Keeper → Build and CancelBuild for the user's Bind, Give and Fail for
// the functions that asked, Release for the user's Release, HandOff for the
// user's hooks.
//
// A private value belongs to a run under one epoch of its binding. A shared one
// belongs to a key: the runs bound here that have asked for it hold it, and so
// do attempts of runs that are not bound while they run. A value is perhaps
// queued for room, then built, then there; when nobody may ask for it any more
// it is dropped: it stays until the last function that got it has returned, and
// is then released. It is gone when its release has ended.
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
// What is not bounded by limits is bounded by what is bound here: nothing is
// remembered of a run that has no value and runs no attempt.
//
// Imports only actors/attempt and messages.
package local
