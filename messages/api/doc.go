// Package api is the surface of a cluster for its clients: the messages of
// LimpetService, generated from api.proto, and the mapping of the error
// catalogue to Connect and back. The handlers stand in actors/gateway, the
// client that users see in sdk.
//
// Data flow: client → Connect, gRPC or gRPC-Web → gateway; on the way back an
// error carries an ErrorDetail, from which the client makes the catalogue's
// error again.
//
// Imports only messages.
package api
