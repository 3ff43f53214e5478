package gateway

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"path"
	"strings"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/actors/access"
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
	// doors say who calls; nil leaves that to who stands behind.
	doors access.Doors
	// audit notes who is refused; nil leaves that to who stands behind.
	audit *audit
	// route is the pattern of what stands behind, for access.Routes; empty for procedures,
	// which are asked by their names.
	route string
}

func newGuard(doors access.Doors, audit *audit, route string, local bool, address string, next http.Handler) *guard {
	return &guard{
		next: next, writer: connect.NewErrorWriter(), doors: doors, audit: audit, route: route,
		local: local, address: address, origin: http.NewCrossOriginProtection(),
	}
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := g.check(r)
	if err == nil && g.doors != nil {
		var done func()
		if r, done, err = g.entered(r); err == nil {
			defer done()
		}
	}
	if err != nil {
		noteOutcome(r.Context(), err)
		g.noteRefusal(r, err)
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
	if r.ContentLength > messages.RequestBytesMax {
		return messages.Errorf(messages.CodeLimitExceeded, "the request has %d bytes, more than RequestBytesMax = %d", r.ContentLength, messages.RequestBytesMax)
	}
	return nil
}

// entered lets a caller in who may: what is behind is told who that is, by its context,
// which also ends when the caller may call no more. A token comes in the header and
// nowhere else: what is in a URL lies in the logs of proxies.
func (g *guard) entered(r *http.Request) (*http.Request, func(), *messages.Error) {
	presented, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	caller, err := g.doors.Enter(r.Context(), presented, fromOf(r))
	if err == nil && g.route != "" {
		if refused := caller.Refused(g.route, access.Routes[g.route]); refused != nil {
			err = refused
		}
	}
	if err != nil {
		var refused *messages.Error
		if !errors.As(err, &refused) {
			refused = messages.Errorf(messages.CodeUnavailable, "the call ended: %w", err)
		}
		return r, nil, refused
	}
	ctx, done := g.doors.Attend(r.Context(), caller)
	return r.WithContext(access.With(ctx, caller)), done, nil
}

// noteRefusal notes who was not let in. A procedure that there is not is none of theirs.
func (g *guard) noteRefusal(r *http.Request, err *messages.Error) {
	if g.audit == nil || !isRefusal(err) {
		return
	}
	action := cmp.Or(g.route, path.Base(r.URL.Path))
	if _, ok := access.Procedures[action]; !ok && g.route == "" {
		action = "unknown"
	}
	g.audit.note(access.Caller{Who: access.Anonymous, From: fromOf(r)}, action, "", 1, err)
}

// fromOf is the address that a request comes from, without its port.
func fromOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
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
