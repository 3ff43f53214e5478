// Package actorstest is a whole cluster in memory on fake time, for tests of the
// actors: servers with hosts, rosters and placement over one store, and workers.
// RosterWorld has a roster only, and processes that answer who they are.
//
// Data flow: a test → Bubble → World → Server and Worker, over clustertest and a
// store with a hook before each call.
//
// Imports server, places, worker, attempt, journal, cluster, clustertest,
// messages; tests only.
package actorstest
