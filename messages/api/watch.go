package api

import (
	"net/http"

	"connectrpc.com/connect"
)

// servedHeader marks the response of a watch whose run was found and read.
const servedHeader = "Limpet-Watching"

// SayServed tells the client of a watch at once that the run was found and
// read: there may be no entry to send for hours. It may be called again.
func SayServed[M any](stream *connect.ServerStream[M]) error {
	if Served(stream.ResponseHeader()) {
		return nil
	}
	stream.ResponseHeader().Set(servedHeader, "true")
	return stream.Send(nil)
}

// Served says whether the response of a watch came from a server that could
// serve it, whatever became of the stream since.
func Served(response http.Header) bool { return response.Get(servedHeader) != "" }
