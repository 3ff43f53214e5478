package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// startReal runs the server command as it is and returns where its API is,
// and a stop that gives the exit code.
func startReal(t *testing.T, args ...string) (address string, stop func() int) {
	t.Helper()
	read, write := io.Pipe()
	var stderr strings.Builder
	c := &cli{
		in:  strings.NewReader(""),
		now: time.Now, zone: time.UTC, getenv: func(string) string { return "" }, start: startServer,
	}
	c.writesTo(write, false, &stderr, false)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		code := c.execute(ctx, append([]string{"server", "--json", "--listen", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--log-level", "error"}, args...))
		_ = write.Close()
		done <- code
	}()
	stop = func() int {
		cancel()
		code := <-done
		if code != 0 || stderr.Len() > 0 {
			t.Logf("server: exit %d: %s", code, &stderr)
		}
		return code
	}
	var up struct{ API, Gossip, Store string }
	if err := json.NewDecoder(read).Decode(&up); err != nil {
		t.Fatalf("the server did not come up: %v, exit %d: %s", err, stop(), &stderr)
	}
	return up.API, stop
}

// TestRealServer drives a server that keeps its journal in a file through its
// whole life with the commands that users have.
func TestRealServer(t *testing.T) {
	store := "sqlite:" + filepath.Join(t.TempDir(), "data", "journal.db")
	address, stop := startReal(t, "--store", store)
	env := map[string]string{"LIMPET_ADDRESS": address}
	for line, want := range map[string]result{
		"member list":                      {out: "server", code: exitOK},
		"worker list":                      {err: "no workers", code: exitOK},
		"workflow list":                    {err: "no workflows", code: exitOK},
		"run list":                         {err: "no runs", code: exitOK},
		"run get none":                     {err: "error UNKNOWN_RUN:", code: exitNotFound},
		"run watch none":                   {err: "error UNKNOWN_RUN:", code: exitNotFound},
		"run signal none ok":               {err: "error UNKNOWN_RUN:", code: exitNotFound},
		"run signal none ok --payload {":   {err: "error INVALID_INPUT:", code: exitInvalid},
		"run signal none":                  {err: "missing argument: the name of a signal", code: exitInvalid},
		"run cancel none":                  {err: "error UNKNOWN_RUN:", code: exitNotFound},
		"run replay none":                  {err: "error UNKNOWN_RUN:", code: exitNotFound},
		"run start none":                   {err: "error UNKNOWN_WORKFLOW:", code: exitNotFound},
		"event push a:b --payload {}":      {out: "no workflow is triggered by it", code: exitOK},
		"event push a:b --payload {":       {err: "error INVALID_INPUT:", code: exitInvalid},
		"run list --page-token nonsense":   {err: "error INVALID_ARGUMENT:", code: exitInvalid},
		"run start none --priority 9":      {err: "error INVALID_ARGUMENT:", code: exitInvalid},
		"run get none --secret not-needed": {err: "error UNKNOWN_RUN:", code: exitNotFound},
	} {
		r := execute(t.Context(), env, strings.Fields(line)...)
		if r.code != want.code || !strings.Contains(r.out, want.out) || !strings.Contains(r.err, want.err) {
			t.Errorf("limpet %s: %+v, want %+v", line, r, want)
		}
	}
	for name, tc := range map[string]struct {
		args []string
		want messages.Code
		code int
	}{
		"port taken":   {[]string{"--store", "memory", "--listen", address}, messages.CodeAddressInUse, exitPrecondition},
		"store in use": {[]string{"--store", store}, messages.CodeJournalInUse, exitPrecondition},
	} {
		if r := executeServer(t.Context(), tc.args...); r.code != tc.code || !strings.Contains(r.err, "error "+string(tc.want)) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if code := stop(); code != 0 {
		t.Errorf("exit %d after a signal", code)
	}
	if r := execute(t.Context(), env, "run", "list"); r.code != exitUnavailable {
		t.Errorf("after the stop: %+v", r)
	}
	if _, stop := startReal(t, "--store", store); stop() != 0 {
		t.Error("the server did not come up again on its store")
	}
}

// executeServer runs a server command that is to fail.
func executeServer(ctx context.Context, args ...string) result {
	c, stdout, stderr := testCLI(nil)
	c.start = startServer
	code := c.execute(ctx, append([]string{"server", "--log-level", "error", "--gossip", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, args...))
	return result{stdout.String(), stderr.String(), code}
}

func TestServerRefusesBadSettings(t *testing.T) {
	corrupt := filepath.Join(t.TempDir(), "journal.db")
	if err := os.WriteFile(corrupt, []byte(strings.Repeat("not a database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want messages.Code
		code int
	}{
		{[]string{"--store", "postgres"}, messages.CodeInvalidArgument, exitInvalid},
		{[]string{"--store", "sqlite:"}, messages.CodeInvalidArgument, exitInvalid},
		{[]string{"--store", "sqlite:" + corrupt}, messages.CodeJournalCorrupt, exitFailed},
		{[]string{"--store", "memory", "--preset", "fast"}, messages.CodeInvalidArgument, exitInvalid},
		{[]string{"--store", "memory", "--id", "a b"}, messages.CodeInvalidArgument, exitInvalid},
		{[]string{"--store", "memory", "--listen", "nowhere"}, messages.CodeInvalidArgument, exitInvalid},
		{[]string{"--store", "memory", "--listen", "0.0.0.0:0"}, messages.CodeSecretRequired, exitPrecondition},
	} {
		r := executeServer(t.Context(), tc.args...)
		if r.code != tc.code || !strings.Contains(r.err, "error "+string(tc.want)+":") {
			t.Errorf("%v: %+v, want %s", tc.args, r, tc.want)
		}
	}
}
