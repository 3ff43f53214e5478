// Package places is the placement actor of a pool: a thin Proto.Actor shell
// around the pure core placement.
//
// Data flow: Place of a run, LoadReport of a worker, change of the roster →
// actor → placement.Core → Placed to the run, an answer to the worker.
//
// Rules: the actor is soft state, and a new one begins without questions: it
// says so to all servers, which ask again; the definitions of a worker are
// durable before it is admitted; nothing in Receive waits.
//
// Imports server, clock, cluster, definitions, journal, placement, run, messages.
package places
