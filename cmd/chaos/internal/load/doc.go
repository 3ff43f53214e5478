// Package load is what a chaos test does to a cluster beside breaking it: the
// workflows, the worker processes that serve them, and the clients that start,
// cancel, replay, wait for and watch their runs and write down what they were
// told.
//
// Data flow: seed → operations, at a rate → sdk.Client → calls; step functions
// → ledger; and in the end calls, ledger and what the API tells of every run →
// verdict.Evidence.
//
// The seed says which operation follows which and what each of them is; when
// it happens depends on the machine. The output of every step is a function of
// the run's input, so that the checker knows it beforehand; steps fail, sleep
// and overrun as the input says.
//
// HARD runs wait for their worker without end: at the end of a test every
// worker id that ever served must be back, or Settle waits in vain.
//
// Imports verdict, ledger, cluster, sdk, sdk/worker, messages.
package load
