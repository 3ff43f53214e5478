// Package bench measures what a cluster of processes on this machine does:
// one server, worker processes, and the calling process as the client.
//
// Data flow: Config → localcluster → runs, started in bulk or one at a time →
// times stored with the runs, the ledgers of the steps, the usage of the
// processes → limits of the machine, measured in the same call → Figures.
//
// In bulk, all runs are started by calls of 10,000, and the end is the newest
// finishing time that is stored, so that waiting costs nothing and takes
// nothing from the precision: the client waits for one run at a time, first
// for the one started last. A run's latency is from created to finished, as
// stored. One at a time, it is from the call to start to the answer with the
// result, by the client's clock.
//
// That a run stayed on one worker, and that no step ran twice, is taken from
// what the step functions recorded, not from the engine.
//
// Imports localcluster, procs, ledger, actors/journal and its sqlite store,
// cluster, sdk, messages, messages/api.
package bench
