package gateway

import (
	"io"
	"net/http"
)

// inProcess calls a handler of this process as if it were at the other end of a
// connection: so pages of this process take what they show by the same way as
// every other caller.
type inProcess struct{ handler http.Handler }

// Do implements connect.HTTPClient. The answer streams; it ends with the context
// of the request.
func (p inProcess) Do(r *http.Request) (*http.Response, error) {
	read, write := io.Pipe()
	answer := &pipedAnswer{header: http.Header{}, body: write, begun: make(chan struct{})}
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	go func() {
		defer func() {
			_ = r.Body.Close()
			answer.begin(http.StatusOK)
			_ = write.Close() // the reader gets io.EOF
		}()
		p.handler.ServeHTTP(answer, r)
	}()
	select {
	case <-answer.begun:
	case <-r.Context().Done():
		_ = read.Close() // what the handler still writes is dropped
		return nil, r.Context().Err()
	}
	return &http.Response{
		StatusCode: answer.status, Status: http.StatusText(answer.status), Header: answer.sent, Body: read, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
	}, nil
}

// pipedAnswer writes an answer into a pipe. It is the handler's goroutine's, but
// for what is fixed once begun is closed.
type pipedAnswer struct {
	header http.Header
	body   *io.PipeWriter

	begun  chan struct{}
	status int
	sent   http.Header
}

func (a *pipedAnswer) Header() http.Header { return a.header }

func (a *pipedAnswer) WriteHeader(status int) { a.begin(status) }

func (a *pipedAnswer) Write(data []byte) (int, error) {
	a.begin(http.StatusOK)
	return a.body.Write(data)
}

func (a *pipedAnswer) Flush() { a.begin(http.StatusOK) }

// begin sends the header, once.
func (a *pipedAnswer) begin(status int) {
	if a.sent == nil {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	}
}
