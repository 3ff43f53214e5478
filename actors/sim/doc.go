// Package sim runs a whole cluster in one goroutine on simulated time: the real
// cores of run, placement and slots, the real rows and indexes of the journal's
// memory store, and models of what is around them: shells, roster, membership,
// network, disks, clients and step functions. Everything that happens follows
// from a seed, so a failure is replayed by its number.
//
// Data flow: Run(seed) → a cluster and a workload drawn from the seed → faults
// (lost, doubled, late and overtaking messages; partitions; servers and workers
// that crash, freeze and come back; false suspicions; drains; a journal that
// fails before and after it has written) → all faults heal → every run must end.
//
// Checked after every event:
//
//   - the invariants of the cores: run I1 to I8 at every durable event, slots W1
//     to W5, placement P1 to P5
//   - nothing is sent before the entry that causes it is durable
//   - an attempt is executed at most once, by the process that it was durably
//     sent to; a HARD run's only on the worker that it is bound to
//   - a SOFT run moves only for a reason that is recorded and true
//   - what a step recorded is what its live attempt returned
//   - an attempt is lost only with a process that was declared gone: never
//     because a server died
//   - a result is acknowledged only once nobody needs it any more
//   - a run that was acknowledged to its client is in the journal
//
// Checked at the end: every run has ended, no worker holds a result, no slot or
// grant is taken, no run counts as bound, and nothing is left in memory.
//
// Imports only run, placement, slots, journal and messages.
package sim
