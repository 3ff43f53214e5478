package gateway

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// bodyStallMax is how long a body may send nothing.
	bodyStallMax = 20 * time.Second
	// bodyMax is how long all of it may take: 64 MiB at 0.5 MiB a second.
	bodyMax = 128 * time.Second
)

// bodyDeadline has a request's body arrive in time, or ends its connection (or
// its stream of HTTP/2). It stands before everything else: what is answered
// before its body has come, such as a call without the secret, is held to it too.
func bodyDeadline(stall time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			b := &timedBody{ReadCloser: r.Body, control: http.NewResponseController(w), stall: stall, last: time.Now().Add(bodyMax)}
			if r.ProtoMajor == 1 {
				b.header = w.Header()
			}
			b.extend()
			r.Body = b
		}
		next.ServeHTTP(w, r)
	})
}

// timedBody extends the deadline with each read, and lifts it at the end: what
// is read of the connection after that is the next request, or that the caller
// has gone.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	last    time.Time
	// header of the answer, if a connection has one request at a time.
	header http.Header
}

func (b *timedBody) extend() {
	until := time.Now().Add(b.stall)
	if until.After(b.last) {
		until = b.last
	}
	_ = b.control.SetReadDeadline(until) // the connection has gone
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
		b.extend()
	case errors.Is(err, io.EOF):
		_ = b.control.SetReadDeadline(time.Time{})
	case b.header != nil:
		// What comes of the body after all must not be read as a request.
		b.header.Set("Connection", "close")
	}
	return n, err
}
