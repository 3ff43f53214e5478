// Package bench measures what a cluster of processes on this machine does:
// servers, worker processes, and the calling process as the client.
//
// Data flow: Config → Throughput, Failover or Waiting → localcluster → runs →
// times stored with the runs, the ledgers of the steps, the usage of the
// processes → limits of the machine, measured in the same call → a Result.
//
// Throughput: in bulk, all runs are started by calls of up to 10,000, and the
// end is the newest finishing time that is stored, so that waiting costs nothing
// and takes nothing from the precision: the client waits for one run at a time,
// first for the one started last. A run's latency is from created to finished,
// as stored. One at a time, it is from the call to start to the answer with the
// result, by the client's clock. That a run stayed on one worker, and that no
// step ran twice, is taken from what the step functions recorded, not from the
// engine.
//
// Failover: when runs go on after a fault is the difference of two times of the
// ledgers, which all are of one machine's clock.
//
// Waiting: what runs cost that wait for their workers is the memory of the
// servers' processes as the system counts it, against that before the first of
// them.
//
// Keyed and Handoff: how many values of local state were built, and when steps
// ended on the worker that a run moved to, is taken from the ledgers too.
//
// Invariant: what a measurement started, it ends, a private PostgreSQL included.
//
// Imports localcluster, procs, ledger, actors/journal and its sqlite store,
// actors/placement,
// postgrestest, cluster, sdk, messages, messages/api.
package bench
