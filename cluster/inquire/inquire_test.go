package inquire_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/limpetrun/limpet/cluster/inquire"
)

// talker takes connections and answers the first bytes of each, or ends it without
// an answer if there is none.
func talker(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestAt(t *testing.T) {
	alive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			_, _ = io.WriteString(w, `{"alive":true,"clock_steps":0}`)
		}
	}))
	defer alive.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.StartTLS()
	defer secure.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct {
		address string
		want    inquire.Listener
	}{
		"API":                    {alive.Listener.Addr().String(), inquire.API},
		"another web server":     {other.Listener.Addr().String(), inquire.Web},
		"TLS that says so":       {secure.Listener.Addr().String(), inquire.TLS},
		"TLS that says so else":  {talker(t, "HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port"), inquire.TLS},
		"TLS that sends alerts":  {talker(t, "\x15\x03\x01\x00\x02\x02\x28"), inquire.TLS},
		"HTTP/2 from the start":  {talker(t, "\x00\x00\x0c\x04\x00\x00\x00\x00\x00"), inquire.Cluster},
		"who ends connections":   {talker(t, ""), inquire.Mute},
		"who speaks another way": {talker(t, "220 mail ready\r\n"), inquire.Mute},
		"nobody":                 {gone.Listener.Addr().String(), inquire.Nobody},
		"no address":             {"nonsense", inquire.Nobody},
	} {
		if got := inquire.At(t.Context(), inquire.TCP, c.address); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	// One who takes connections and says nothing.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := inquire.At(ctx, inquire.TCP, l.Addr().String()); got != inquire.Nobody {
		t.Errorf("a deaf one: %d", got)
	}
}
