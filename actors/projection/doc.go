// Package projection turns what the cores know into what others read: the row of
// a run, by which it is found, and what the API shows of runs and workers.
//
//	from                     by      to
//	run.State                Row     journal
//	journal.Record, State    Run     API
//	journal.Record           Attempts API
//	journal.Row              Listed  API
//	roster.WorkerStatus      Worker  API
//
// Rules: each is a function of its arguments, and of nothing else; what the API
// shows of a run or a worker is made here only.
//
// Imports only run, roster, journal, messages and messages/api.
package projection
