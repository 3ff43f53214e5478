// Package localcluster is a whole cluster on this machine, for the demo and
// the bench: server processes and worker processes on loopback, restarted when
// they die.
//
// Data flow: Start → procs.Group → ServerChild and WorkerChild, the code of
// the processes → node.Start and worker.Run. Step functions record what they
// do in a ledger file of their process.
//
// Invariants: a process that dies without being told to comes back under the
// same id, a server also at the same addresses and on the same store; Close
// returns when none is left.
//
// Imports procs, ledger, actors/journal and its stores, actors/placement, cluster,
// actors/node, sdk, sdk/worker, messages.
package localcluster
