// Package demo is the main job on real input: some twenty sticky runs index
// the source of Go's standard library in the memory of three worker processes
// and answer questions from there, while one of the workers is killed and
// comes back.
//
// Data flow: corpus → runs → step functions (index, questions; each records
// its executions in a ledger) → Board, fed by the histories of the runs → table
// → verdict: what the steps recorded, compared with what was promised.
//
// Imports localcluster, procs, ledger, program, sdk, messages, messages/api.
package demo
