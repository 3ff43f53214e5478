// Package ground is what a chaos run stands on: servers, workers and PostgreSQL
// on one machine, each node in a network namespace of its own, and the faults
// that are done to them.
//
// Data flow: Enter → this command again, in a network namespace without a name
// → Start → nodes, each a namespace, an address on a bridge and a process →
// Inject, which does a fault of the schedule and undoes it.
//
// Invariants: nothing touches the machine's own network. Namespaces have no
// names and are held by this process alone, and the kernel kills each child when
// this process dies, so that nothing is left behind even after a SIGKILL. Only
// own processes are signalled. Without namespaces the nodes share loopback, and
// there are no partitions.
//
// Imports cmd/chaos/internal/schedule, messages.
package ground
