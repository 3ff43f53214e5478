// Package messages holds what the parts of Limpet say to each other and what
// they keep: workflow definitions, the events of a run's history, the messages
// between actors, the catalogue of errors, the limits, the ids and the shards.
// Why something happened is an enum; what people read of it stands in one table,
// reasons.go. The .proto files are normative; the Go code beside them is generated
// by `make generate`.
//
// Data flow: definition.proto (what a workflow is) → event.proto (what happened
// to a run, durable, never renumbered) ← wire.proto (what actors tell each
// other, may be lost, doubled or overtaken).
//
// Invariants: a field number is never reused; a code of the catalogue is never
// renamed; a message is not changed once it was sent.
//
// Imports only messages/schema.
package messages
