// Package bench measures what a cluster of processes on this machine does:
// servers, worker processes, and the calling process as the client.
//
// Data flow: Config → Throughput, Failover or Waiting → localcluster → runs →
// times stored with the runs, the ledgers of the steps, the usage of the
// processes → limits of the machine, measured in the same call → a Result.
//
// Where the figures come from:
//   - Throughput in bulk. All runs are started by calls of up to 10,000. The end is
//     the newest finishing time that is stored, so that waiting costs nothing and
//     takes nothing from the precision. A run's latency is from created to
//     finished, as stored. The client waits for one run at a time, first for the
//     one that was started last.
//   - Throughput one at a time. A run's latency is from the call to start until
//     the answer with the result, by the client's clock.
//   - That a run stayed on one worker, and that no step ran twice. Both are taken
//     from what the step functions recorded, not from the engine.
//   - Failover. When runs go on after a fault is the difference of two times of
//     the ledgers, which all are of one machine's clock.
//   - Waiting. What a run costs that waits for its worker is the memory of the
//     servers' processes as the system counts it, less that before the first run.
//   - Signals. When a run goes on is in the ledgers, when it was sent its message is
//     of the client's clock, the same machine's.
//   - Asked. How long an answer takes is by the client's clock. That queries leave
//     nothing behind is in the servers' counts of what they appended.
//   - Streamed. When a piece was written, and when a flushed one was durable, is said
//     in the stream by the step, when it is read is of the client's clock.
//   - Suspended. When a run goes on is in the ledgers, the moment that all wait for is
//     chosen before they are started. What a small run takes meanwhile is by the
//     client's clock.
//   - Keyed and Handoff. How many values of local state were built, and when steps
//     ended on the worker that a run moved to, is in the ledgers too.
//
// Invariant: what a measurement started, it ends, a private PostgreSQL included.
//
// Imports localcluster, procs, ledger, actors/journal and its sqlite store,
// actors/placement, postgrestest, cluster, cluster/backoff, sdk, messages,
// messages/api.
package bench
