package sdk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/cluster/inquire"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// errMute is in the error of an address that ends connections without an answer.
// So does what stands before servers that are all away.
var errMute = errors.New("no answer")

// misaddressed returns why an address is not that of a server's API, as far as
// that can be found out from the failure of a call; nil if it may be. A server
// that has answered once is one.
func (s *server) misaddressed(ctx context.Context, err error) error {
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		return messages.Errorf(messages.CodeCertificateRefused, "the certificate of %s is refused: %w", s.address, &summary{refused.Err.Error(), []error{refused}})
	}
	if s.isKnown() || !notFromServer(err) {
		return nil
	}
	base, parseErr := url.Parse(s.health)
	if parseErr != nil {
		return nil
	}
	listener := inquire.At(ctx, inquire.TCP, hostPort(base))
	what := says(listener, base)
	// A web server that ends a connection may be what stands before servers.
	if what == "" || listener == inquire.Web && api.Broken(err) {
		return nil
	}
	causes := []error{err}
	if listener == inquire.Mute {
		causes = append(causes, errMute)
	}
	return messages.Errorf(messages.CodeWrongAddress, "%w", &summary{fmt.Sprintf("API address %s: %s", s.address, what), causes})
}

// says describes a listener that is not what the address says; empty if that
// cannot be told.
func says(listener inquire.Listener, base *url.URL) string {
	secure := base.Scheme == "https"
	switch {
	case listener == inquire.API && secure:
		return "a limpet server is there, but it speaks no TLS: give it as http://" + base.Host
	case listener == inquire.Web && secure:
		return "a web server without TLS is there, perhaps not limpet's: https:// is for servers behind one that speaks TLS"
	case listener == inquire.TLS && !secure:
		return "it speaks TLS: give it as https://" + base.Host
	case listener == inquire.Web, listener == inquire.TLS:
		return "a web server is there, but not a limpet server"
	case listener == inquire.Cluster:
		return "it is the address by which servers and workers talk to each other, not that of an API"
	case listener == inquire.Mute:
		return "what is there speaks no HTTP: perhaps it is the gossip address of a server, which workers join"
	}
	return ""
}

// notFromServer says whether a failure is of a kind that an address of something
// else brings: an answer that is none of Connect's, or a connection that breaks.
func notFromServer(err error) bool {
	var answered *connect.Error
	if !errors.As(err, &answered) || connect.IsWireError(err) || unsent(err) {
		return false
	}
	switch answered.Code() {
	case connect.CodeCanceled: // or so Connect calls a connection that is reset
		return api.Broken(err)
	case connect.CodeDeadlineExceeded, connect.CodeResourceExhausted:
		return false
	case connect.CodeUnavailable:
		// With a status it is a proxy that says that its server is away.
		_, scanErr := fmt.Sscanf(answered.Message(), "%3d ", new(int))
		return scanErr != nil
	}
	return true
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "https" {
		return u.Host + ":443"
	}
	return u.Host + ":80"
}
