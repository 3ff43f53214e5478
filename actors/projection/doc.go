// Package projection turns what the journal has of a run into what others read:
// its row, by which runs are found, and what the API shows of it.
//
// Data flow: run.State → Row → journal; journal.Record and run.State → Run → API;
// journal.Row → Listed → API.
//
// Rules: each is a function of what is stored, and of nothing else; what the API
// shows of a run is made here only.
//
// Imports only run, journal, messages and messages/api.
package projection
