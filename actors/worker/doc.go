// Package worker is what a worker's process runs: the worker's actor, and one
// actor for each running attempt, thin Proto.Actor shells around the pure cores
// slots and local.
//
// Data flow: Dispatch of a run → worker actor → slots.Core → attempt's actor →
// function → Result, kept until its run has acknowledged it.
//
// Rules: the actor's Receive never waits; a result is kept until it is
// acknowledged, and sent again to whoever owns the run; what a function got of
// local state is there until it has returned. The slot of a function is free while
// it waits for a child, or only for goroutines of its own which do: see look.go.
//
// Imports cluster, cluster/backoff, slots, local, attempt, tracing,
// usercode, pool, messages.
package worker
