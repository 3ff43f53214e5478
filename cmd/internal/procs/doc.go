// Package procs starts processes of this very executable, or of another build of
// it, talks to them line by line, and sees to it that none outlives the process
// that started it.
//
// Data flow: Group.Start → the executable again, with a role → Main → a Child.
// Orders go down the child's stdin and answers come up its stdout, one JSON
// object a line; the first order is the child's configuration. What the child
// logs goes to a file.
//
// Invariants: a child ends when its stdin does, so also when its parent was
// killed (on Linux the kernel kills it besides); Group.Close returns when no
// child is left.
//
// Imports only messages.
package procs
