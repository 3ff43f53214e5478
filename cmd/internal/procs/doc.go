// Package procs starts processes of this very executable, built or by `go run`,
// talks to them line by line, and sees to it that none outlives the process that
// started it.
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
// What a process has used is read by prometheus/procfs. shirou/gopsutil knows more
// systems, but of CPU time only the ticks of a hundredth of a second: too coarse
// for what few runs cost.
//
// Imports only messages.
package procs
