// Package server holds what runs on a server: thin Proto.Actor shells around the
// pure cores activation and roster.
//
// Host is around activation.Host: it carries out what that decides, and reads for
// it. One run actor lives for each activation, around activation.Activation. Roster
// watches the workers. Engine answers the API. The placement actors are in package
// places.
//
// Data flow of a run: gateway → Engine → Host of the owning server → run actor
// → activation.Activation → run.Machine → journal.Committer → worker actor →
// attempt → run actor.
//
// Rules: an actor's Receive routes and never waits for another actor or for
// the journal; what waits runs in a goroutine and comes back as a message.
// What matters is acknowledged and sent again by whoever needs it.
//
// What becomes of runs when servers come and go is said in package activation. A
// server that is about to stop says so first. It goes on to answer, and passes on
// what comes for its former runs, until the others have taken them up.
//
// Imports cluster, notify, backoff, clock, condition, definitions, activation, journal, roster,
// run, projection, heap, pool, messages, messages/api.
package server
