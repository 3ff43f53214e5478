// Package roster is the core of a server's watcher of workers: which process
// holds a worker id, which ones are gone, and which run hears of it when. It
// knows no clock, network or goroutine: time comes in with each input, work
// leaves as actions.
//
// Data flow: ViewChanged, Watch, Unwatch, Described, Silent, Leases, Tick → Core
// → Tell for runs and listeners, Ask for processes, AskLeases for the other
// servers, Supersede for processes that lost their id.
//
// Words:
//
//   - A process is there while the view has it and it is admitted.
//   - The holder is the process that holds the worker id. It is there, and it
//     has said who it is.
//   - A claim is what is being found out about a process that is there and is
//     not the holder: whether it takes the id over.
//   - A verdict says that a process has gone, and why. It is final if the process
//     is known to have ended or left: such a process never acts again.
//   - A doubt is about a process that a run watches, and that is not there or does
//     not hold the id. It may act all the same, for another server may have given
//     it a lease. The doubt lasts until no lease is left. See package lease.
//
// # Claims
//
// A process that is there claims the id. What is asked depends on the holder:
//
//	the holder is                  asked are
//	nobody                         the process
//	earlier than the process       the process: placement has admitted it
//	later than the process, or     the holder, which keeps the id if it answers;
//	the process had the id before  if it is silent, the process
//
// A process whose turn comes after that of a later one, which has yet to say who
// it is, waits for that one. A process that has said who it is takes the id over
// once no other process of the id that is there can have a lease, nor an earlier
// one that is doubted. The questions are asked again after a pause until the claim
// is decided or the process vanishes. A holder that was only frozen answers then.
//
// # Verdicts
//
// A run that begins to watch a process hears at once what it does not expect.
// That the process has gone it hears at once only if the verdict is final. A
// verdict that is not final is no news: the process may have come back to another
// server since, and the run with it. So the run waits for a doubt: the server
// asks the others for leases of the process after the run began to watch. Whoever
// dispatched for the run before its history was read here did so under a lease
// that has ended by then.
//
// Invariants. Check looks at those with a star; scripts in testdata and the
// simulator test them all:
//
//	R1* Of the processes of an id that are there, the holder alone counts as up or
//	    draining. Every other one has been called gone, or nothing yet.
//	R2  An earlier process than the holder, and one that was given up before,
//	    takes the id over only after the holder was asked and was silent.
//	R3  No process takes an id over while another one that is there may have a
//	    lease, or an earlier one that is doubted.
//	R4  A run hears that a process has gone which is not there only when the
//	    verdict is final, or no lease was left after the run began to watch.
//	R5  A process that has never been seen gets the settle time to appear, and one
//	    that is joining is not called gone.
//	R6  A process that lost its id while it is there is told so, at once and every
//	    SupersedeEvery until it has vanished.
//	R7* Every open claim and every doubt waits for one answer or for one time, or,
//	    a claim, for a later process that has yet to say who it is.
//	R8* The holder is not doubted.
//	R9* No more than PastMax verdicts are remembered of an id. When a new id would
//	    be one more than WorkersMax, those are forgotten that are neither there
//	    nor watched.
//	R10 News of a worker leaves in the order in which it became so, the same for
//	    everybody who watches it.
//
// Imports only heap, shrinkmap, run and messages.
package roster
