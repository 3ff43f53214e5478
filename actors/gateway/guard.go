package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// guard stands before the service: who may call at all. Its refusals are
// written in the protocol of the caller.
type guard struct {
	next   http.Handler
	writer *connect.ErrorWriter
	// local: only this machine can connect, so a name that is not its own in
	// the Host header is a web page that was pointed here (DNS rebinding).
	local   bool
	address string
	origin  *http.CrossOriginProtection
	// want is the hash of the secret; nil wants none. Hashes have one length,
	// so that comparing them tells nothing of the secret.
	want []byte
}

func newGuard(secret string, local bool, address string, next http.Handler) *guard {
	g := &guard{
		next: next, writer: connect.NewErrorWriter(),
		local: local, address: address, origin: http.NewCrossOriginProtection(),
	}
	if secret != "" {
		sum := sha256.Sum256([]byte(secret))
		g.want = sum[:]
	}
	return g
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := g.check(r); err != nil {
		noteOutcome(r.Context(), err)
		if g.writer.IsSupported(r) {
			_ = g.writer.Write(w, r, api.ToConnect(err)) // the caller has gone
			return
		}
		http.Error(w, err.Error(), err.Code.HTTPStatus())
		return
	}
	g.next.ServeHTTP(w, r)
}

func (g *guard) check(r *http.Request) *messages.Error {
	if g.local && !g.ownHost(r.Host) {
		return messages.Errorf(messages.CodeUnauthenticated, "host %q is not this machine: this server listens on loopback only", r.Host)
	}
	if err := g.origin.Check(r); err != nil {
		return messages.Errorf(messages.CodeUnauthenticated, "calls from web pages of other origins are refused: %w", err)
	}
	if g.want != nil {
		if r.Header.Get("Authorization") == "" {
			return messages.Errorf(messages.CodeUnauthenticated, "the call carries no secret, and this cluster has one")
		}
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(sum[:], g.want) != 1 {
			return messages.Errorf(messages.CodeUnauthenticated, "the secret of the call is not the cluster's")
		}
	}
	if r.ContentLength > messages.RequestBytesMax {
		return messages.Errorf(messages.CodeLimitExceeded, "the request has %d bytes, more than RequestBytesMax = %d", r.ContentLength, messages.RequestBytesMax)
	}
	return nil
}

func (g *guard) ownHost(hostport string) bool {
	if hostport == g.address {
		return true
	}
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return cluster.IsLoopback(host)
}
