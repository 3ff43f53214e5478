// Package postgrestest runs a private PostgreSQL for tests, benchmarks and
// chaos, and does to it what happens to databases: a crash, a freeze, a
// restart.
//
// Data flow: Start → initdb → postgres, in a directory of its own, on a free
// port → NewDatabase, one for each test.
//
// Invariants:
//   - Commits are durable: fsync and synchronous_commit are on.
//   - No server outlives the process that started it (on Linux).
//   - Root starts it as another user, for PostgreSQL refuses to run as root.
//
// It needs the programs of a PostgreSQL server, not a running one; the error
// says how to get them if there are none.
//
// Imports only messages.
package postgrestest
