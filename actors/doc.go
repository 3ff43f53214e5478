// Package actors holds the actors of a cluster: thin Proto.Actor shells around
// the pure cores run, placement and slots.
//
// On a server: Host starts runs, finds their activations and brings back what
// is unfinished; one run actor lives for each activation; Roster watches the
// workers; one placement actor lives for each pool. On a worker process: the
// worker actor and one actor for each running attempt.
//
// Data flow of a run: gateway → Engine → Host of the owning server → run actor
// → run.Machine → journal.Committer → worker actor → attempt → run actor.
//
// Rules: an actor's Receive routes and never waits for another actor or for
// the journal; what waits runs in a goroutine and comes back as a message.
// What matters is acknowledged and sent again by whoever needs it.
//
// Imports cluster, journal, run, placement, slots, attempt, messages.
package actors
