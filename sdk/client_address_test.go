package sdk_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
)

// plainServer answers at one path, and is not found at any other.
func plainServer(t *testing.T, path, answer string) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path == "" || r.URL.Path != path {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	return s
}

// answersOnce sends some bytes to each connection, and ends it.
func answersOnce(t *testing.T, answer string) string {
	return breaks(t, func(conn net.Conn, _ <-chan struct{}) {
		_, _ = conn.Read(make([]byte, 1))
		_, _ = io.WriteString(conn, answer)
	}).address
}

// Each address of something else than an API is said to be what it is.
func TestWrongAddresses(t *testing.T) {
	limpet, other, odd, secure := plainServer(t, "/healthz", `{"alive":true}`), plainServer(t, "", ""), plainServer(t, apiconnect.LimpetServiceGetRunProcedure, "<html>"), plainServer(t, "", "")
	for _, s := range []*httptest.Server{limpet, other, odd} {
		s.Start()
	}
	secure.StartTLS()
	for name, c := range map[string]struct {
		address string
		code    messages.Code
		want    string
	}{
		"another web server":     {other.URL, messages.CodeWrongAddress, "a web server is there, but not a limpet server"},
		"one that answers pages": {odd.URL, messages.CodeWrongAddress, "a web server is there, but not a limpet server"},
		"https to a plain API":   {"https://" + host(limpet), messages.CodeWrongAddress, "speaks no TLS: give it as http://" + host(limpet)},
		"https to a plain port":  {"https://" + host(other), messages.CodeWrongAddress, "a web server without TLS is there"},
		"http to a TLS port":     {host(secure), messages.CodeWrongAddress, "it speaks TLS: give it as https://" + host(secure)},
		"nobody's certificate":   {secure.URL, messages.CodeCertificateRefused, "the certificate of " + secure.URL + " is refused: x509: "},
		"a cluster address":      {answersOnce(t, "\x00\x00\x0c\x04\x00\x00\x00\x00\x00"), messages.CodeWrongAddress, "servers and workers talk to each other"},
		"a gossip address":       {answersOnce(t, ""), messages.CodeWrongAddress, "perhaps it is the gossip address"},
		"https to gossip":        {"https://" + answersOnce(t, ""), messages.CodeWrongAddress, "perhaps it is the gossip address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client(t, sdk.ClientConfig{Address: c.address, ConnectFor: sdk.Never}).Run("r1").Get(t.Context())
			text := ""
			if err != nil {
				text = err.Error()
			}
			if messages.CodeOf(err) != c.code || !strings.Contains(text, c.want) || !strings.Contains(text, c.address) || strings.Count(text, string(c.code)) != 1 {
				t.Errorf("%v, want %s: %s", err, c.code, c.want)
			}
		})
	}
}

func host(s *httptest.Server) string {
	return strings.TrimPrefix(strings.TrimPrefix(s.URL, "http://"), "https://")
}

// A wrong address among right ones does no harm, and one that is away is the
// failure of both.
func TestAWrongAddressAmongOthers(t *testing.T) {
	other, right := plainServer(t, "", ""), (&cancelAPI{}).serve(t)
	other.Start()
	for range 8 { // which one is first is drawn
		if _, err := client(t, sdk.ClientConfig{Addresses: []string{other.URL, right}, ConnectFor: sdk.Never}).Run("r1").Get(t.Context()); err != nil {
			t.Error(err)
		}
		_, err := client(t, sdk.ClientConfig{Addresses: []string{other.URL, "127.0.0.1:1"}, ConnectFor: sdk.Never}).Run("r1").Get(t.Context())
		if messages.CodeOf(err) != messages.CodeUnavailable || !strings.Contains(err.Error(), other.URL) {
			t.Error(err)
		}
	}
}

// A proxy whose server is away is waited for.
func TestAProxyWithoutItsServer(t *testing.T) {
	for _, status := range []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		defer proxy.Close()
		_, err := client(t, sdk.ClientConfig{Address: proxy.URL, ConnectFor: sdk.Never}).Run("r1").Get(t.Context())
		if messages.CodeOf(err) != messages.CodeUnavailable {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// A server behind TLS is reached by who trusts its certificate.
func TestTLS(t *testing.T) {
	api := httptest.NewUnstartedServer(nil)
	_, api.Config.Handler = apiconnect.NewLimpetServiceHandler(&cancelAPI{})
	api.StartTLS()
	defer api.Close()
	if _, err := client(t, sdk.ClientConfig{Address: api.URL, HTTPClient: api.Client()}).Run("r1").Get(t.Context()); err != nil {
		t.Error(err)
	}
}
