// Package activation is the core of what a server does around the machines of
// its runs. An Activation is one run in memory: it loads the run, feeds the
// machine, and ends without losing a message. A Host is the set of the
// activations of a server: it takes up the runs of the shards that the server
// gains, lets go of those that it loses, starts new runs, wakes dormant ones,
// and finds what was lost in between. Neither knows a clock, a goroutine, the
// network or the journal: time comes in with each input, work leaves as actions.
//
// Data flow of a run: message → Activation.Receive → run.Machine → Actions.
// Data flow of a server: Input → Host.Handle → Actions; a Read is carried out by
// the shell, whose answers are inputs again.
//
// Duties of the shell:
//
//  1. An Activation has a mailbox, and one caller at a time. Begin comes first.
//  2. A Host has one caller at a time, too. Methods that say so only read: any
//     number of callers may use them while nobody calls Handle.
//  3. Spawn and Tell are carried out before the next call of Handle: a message is
//     in the mailbox before the activation can be forgotten.
//  4. Actions are carried out in their order. All others than those two may
//     take their time.
//  5. When an activation says Stop, the shell gives Retired to the host at once,
//     and ends the mailbox when what is in it was received.
//
// Invariants of an activation, the first four and A7 checked by Activation.Check:
//
//	A1  early messages exist only while the run is loaded, held ones only while
//	    the activation leaves
//	A2  an activation leaves only while an append is in flight; when that is
//	    stored it retires
//	A3  what has retired holds no message: each was passed on or answered
//	A4  the machine's state keeps the invariants of package run
//	A5  an attempt is sent under a lease term that the server knew before the
//	    activation was last shown to be the newest: by an entry that was stored,
//	    by the reading of the history, or because the journal had nothing more;
//	    one that may not be sent under the term of its worker is withdrawn
//	A6  an activation whose load or append failed is loaded again, after a pause
//	    that doubles, unless the run is unknown or cannot be read
//	A7  what waits for the journal is counted, one copy of what a worker repeats,
//	    and never above RunQueueBytesMax for a run and ServerQueueBytesMax in all
//	A8  a call that asks again is told that there is no news only when the journal,
//	    read after that, shows the activation to be the newest; else it is refused
//	    and asks the next one
//	A9  the clock of a server is not behind the newest entry of a run in its memory
//
// Invariants of a host, the first three and H8 checked by Host.Check:
//
//	H1  a run has at most one activation in the set
//	H2  the counts of what is under way are those of what is under way
//	H3  a set of shards that is being let go waits for activations that have not
//	    retired, for the answers of new owners, or for the time to ask again
//	H4  on its own account a host activates only runs of shards that it owns
//	H5  the new owner of a shard is told that it was let go after the last append
//	    to its runs was stored
//	H6  a lease mark is taken before the reading that it stands for
//	H7  waking never fills the memory: beyond a bound it goes on only as fast as
//	    woken runs leave
//	H8  of the runs that wait for placement no more are in memory than the lines
//	    allow; none that is parked is forgotten, or passed over by one of its line
//	    that became ready later, but for a part of the window
//
// Imports only run, shrinkmap, slots, journal and messages.
package activation
