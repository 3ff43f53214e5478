// Package schedule draws the faults of a chaos run: what happens to which node,
// when, and for how long.
//
// Data flow: Config (seed, duration, what is allowed, the nodes) → Plan → a list
// of Fault in the order of time, which the driver executes.
//
// Invariants: the same Config gives the same list. Every fault ends within the
// duration. No node is hurt by two faults at once; a server is always left that
// no fault touches, and so is a worker; the network and PostgreSQL have one
// fault at a time each. Between faults there are quiet gaps, in which recovery
// shows.
//
// Imports nothing of this module.
package schedule
