// Package server holds what runs on a server: thin Proto.Actor shells around the
// pure core run.
//
// Host starts runs, finds their activations and brings back what is unfinished.
// One run actor lives for each activation. Roster watches the workers. Engine
// answers the API. The placement actors are in package places.
//
// Data flow of a run: gateway → Engine → Host of the owning server → run actor
// → run.Machine → journal.Committer → worker actor → attempt → run actor.
//
// Rules: an actor's Receive routes and never waits for another actor or for
// the journal; what waits runs in a goroutine and comes back as a message.
// What matters is acknowledged and sent again by whoever needs it.
//
// What becomes of runs when servers come and go:
//
//   - A server that gains a shard reads its unfinished runs from the journal at
//     once.
//   - A server that loses one stops its activations when their appends in flight
//     are stored. Then it tells the gainer, which compares.
//   - A server that is about to stop says so first. It goes on to answer, and
//     passes on what comes for its former runs, until the others have taken them
//     up.
//   - A server that others had given up begins anew from the journal.
//   - A sweep finds what was lost in between: runs that nobody has activated, and
//     activations that are behind the journal.
//
// Imports cluster, notify, backoff, journal, roster, run, projection, slots, heap, pool,
// messages, messages/api.
package server
