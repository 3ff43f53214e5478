package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
)

// TestSystemdIsTold when the server is up and when it stops, so that a restart
// returns once the server serves.
func TestSystemdIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	hear := func() string {
		buffer := make([]byte, 100)
		n, err := l.Read(buffer)
		if err != nil {
			t.Error(err)
		}
		return string(buffer[:n])
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, _, stderr := testCLI(map[string]string{"NOTIFY_SOCKET": socket})
	s := &fakeServer{done: make(chan error)}
	c.start = func(context.Context, config.Values, *slog.Logger) (runningServer, error) { return s, nil }
	ended := make(chan int)
	go func() { ended <- c.execute(ctx, []string{"server"}) }()
	if told := hear(); told != "READY=1" {
		t.Errorf("systemd is told %q when the server is up", told)
	}
	cancel()
	if told := hear(); told != "STOPPING=1" {
		t.Errorf("systemd is told %q when the server stops", told)
	}
	if code := <-ended; code != 0 {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
