// Package sim runs a whole cluster in one goroutine on simulated time: the real
// cores of run, activation, roster, placement, slots, leases and quorum, the real
// rows and indexes of the journal's memory store, and models of what is around them:
// shells, memberlist, network, disks, clients and step functions. Everything that
// happens follows from a seed, so a failure is replayed by its number.
//
// Data flow: Run(seed) → a cluster and a workload drawn from the seed → faults
// (lost, doubled, late and overtaking messages; partitions; servers and workers
// that crash, freeze and come back; workers that come back to all servers but
// one; false suspicions; drains, of several workers
// at once, and taken back; a journal that fails before and after it has written,
// or is lost for seconds; all servers away at once, for longer than steps may
// wait; servers that leave, join and are rolled; clocks that
// differ, go at paces of their own and are set; servers that are suspended; links that are deaf one way;
// pairs of nodes that do not reach each other but all others, one way or both; second processes of a worker id, also
// while the first one drains; local state that steps find lost, functions that do not return, hand-offs that
// fail or are not answered) → all faults heal → every run must end.
//
// Checked after every event:
//
//   - the invariants of the cores: run I1 to I19 at every durable event, slots W1
//     to W9, placement P1 to P6, roster R1 and R7 to R9, activation A1 to A4 and
//     H1 to H3
//
//   - nothing is sent before the entry that causes it is durable
//
//   - an attempt is executed at most once, by the process that it was durably
//     sent to; a HARD run's only on the worker that it is bound to
//
//   - a sticky run has no more attempts at its worker than that has slots, but for
//     those that wait for a child
//
//   - a SOFT run moves only for a reason that is recorded and true
//
//   - what a step recorded is what its live attempt returned, before the lease
//     ended under which it ran
//
//   - an attempt is lost only with a process that was declared gone: never
//     because a server died
//
//   - no process begins to act for a sticky run, or for a step of another one,
//     while another process acts for it: executes a function whose context has not
//     ended, and has a lease
//
//   - a recorded call is never called again (I12): a later attempt goes on with what is
//     on record, and a step has made all its calls when it succeeds
//
//   - a suspended attempt is live nowhere: it did nothing but wait where it was, and its
//     function never goes on. A run that is bound anew where it is had nothing else there
//
//   - waiting holds no slot: a worker whose functions all wait has room for others
//
//   - a suspended step goes on after its wait is decided: none stays suspended for which
//     there is a message, and none for which a time or an end of a child has come
//
//   - an end step runs once for each end, for the outcome on record, and before the
//     state that other steps have left under its epoch is released
//
//   - a run that goes on as new keeps its binding and its messages
//
//   - a message is received at most once, in order, and is in the journal if it was
//     acknowledged; a run that ends says how many were not
//
//   - a timer never fires early: a wait that time ends is over when its sleep, or its
//     timeout, is, by the time of its run and by a true clock; a later attempt waits until
//     the same times
//
//   - a message that a step sends has one id, whatever attempt sends it; a call has sent
//     it only if the other run has it, and failed only if that one has not
//
//   - a wait for all of several things is a call for each: a step goes on with all of
//     them on record
//
//   - an event that a call has fits it, is durable, and came while it waited, or within
//     the time that it looks back; a call has no event only if none was kept as it began
//     to wait, and once all is well, none came that fits
//
//   - what is on record of a step's progress is what its attempt has told; what an attempt
//     told before it failed is on record with that, and is what the next one is given (I17)
//
//   - a stream has no gap, and nothing twice within a section; pieces are stored only while
//     the attempt that has the section is live, by what is durable (I19); all that a step
//     has written is stored when it has succeeded; each reader, by whatever server, gets all
//     that is stored, in order
//
//   - a result is acknowledged only once nobody needs it any more
//
//   - a run that was acknowledged to its client is in the journal
//
//   - the entries of a run are in the order of their times, and no back-off or
//     schedule timeout is over before its time by a true clock
//
//   - a step fails for having waited too long only after so long in which a
//     server was there
//
//   - no process is admitted while another one of its worker id lives in reach
//
//   - a step that needs local state starts only where that was built or handed
//     over under its epoch, unless another step has just found it lost; what a
//     rebuild returns never replaces an output
//
//   - no worker executes anything of a run under an epoch whose state it has
//     handed off, nor hands off what is in use; a run does not leave a live
//     worker without what it has there
//
// Checked soon after everybody is back: a step that is ready runs if a worker has
// nothing to do, what was sent is known to its worker, nobody has overslept, no function
// of a suspended attempt is kept, and of each worker id there is one process, which every server knows. Where nothing
// goes wrong but that servers crash, their runs are in memory elsewhere in 3 s.
//
// Where nothing goes wrong but that pairs do not reach each other, no lease ends, no
// attempt is lost, and no run stands still for longer than 3 s while a worker has
// nothing to do.
//
// Checked at the end: every run has ended, no worker holds a result, no slot or
// grant is taken, no run counts as bound, and nothing is left in memory.
//
// Imports only activation, heap, run, roster, placement, slots, projection, timeline, journal,
// stream, cluster/lease, cluster/quorum and messages.
package sim
