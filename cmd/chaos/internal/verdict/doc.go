// Package verdict judges a chaos test: from what clients were told, what the
// API tells of every run, what the step functions themselves wrote down, and
// what was done to the cluster, it says which promises were broken and how
// long the cluster took to recover. It shares no rule with the engine: it reads
// histories on its own.
//
// Data flow: Evidence and Faults → Check → Report.
//
// Recovery is measured per fault, from the ledger and the histories:
//
//   - worker_kill, worker_stop: from the signal until the last of the steps of
//     SOFT and NONE runs that were running in the process began elsewhere.
//   - hard_return: from the admission of the process that takes the place of a
//     killed one until the last of the steps of HARD runs that had been running
//     began in it.
//   - server_kill, server_stop, server_leave: from the signal until the last of
//     the results was recorded that were held up: recorded more than heldUpAfter
//     after their function returned, which it did until the fault was undone. A
//     fault that held up nothing is no sample.
//   - partition: the longer one of both, over the nodes cut off, from the cut.
//   - cut: the longest time by which, while two nodes did not reach each other, a
//     result was held up, or a step that had been sent.
//   - pg_restart, pg_kill, pg_freeze: from the database being up again until the
//     first entry of any history after it.
//
// A fault during whose recovery another one was in force is no sample, unless
// that was on a worker which had no part in it.
//
// All times are of one machine's clock. Imports ledger, messages.
package verdict
