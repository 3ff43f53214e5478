package main

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
)

// TestServerOnADatabaseThatRefuses: the server ends at once and says why,
// without the password; only what may pass by itself is waited for.
func TestServerOnADatabaseThatRefuses(t *testing.T) {
	store := newDatabase(t)
	good, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	change := func(how func(u *url.URL)) string {
		u := *good
		how(&u)
		return u.String()
	}
	if r := executeUntilUp(t, "--store", store); r.code != exitOK {
		t.Fatalf("a good database: %+v", r)
	}
	query(t, store, "INSERT INTO limpet_schema (version_id, is_applied) VALUES (99999, true)")
	for name, tc := range map[string]struct {
		args []string
		want messages.Code
		code int
		says string
	}{
		"nobody listens": {[]string{"--store-wait", "0s", "--store", change(func(u *url.URL) { u.Host = "127.0.0.1:1" })}, messages.CodeJournalUnavailable, exitUnavailable, "127.0.0.1:1"},
		"waited in vain": {[]string{"--store-wait", "600ms", "--store", change(func(u *url.URL) { u.Host = "127.0.0.1:1" })}, messages.CodeJournalUnavailable, exitUnavailable, "did not answer for 600ms (--store-wait)"},
		"wrong password": {[]string{"--store", change(func(u *url.URL) { u.User = url.UserPassword("postgres", "hush") })}, messages.CodeInvalidArgument, exitInvalid, "password authentication failed"},
		"no database":    {[]string{"--store", change(func(u *url.URL) { u.Path = "/none" })}, messages.CodeInvalidArgument, exitInvalid, `"none" does not exist`},
		"no URL":         {[]string{"--store", "postgres://postgres:hush@[::1/test"}, messages.CodeInvalidArgument, exitInvalid, "URL"},
		"newer":          {[]string{"--store", store}, messages.CodeJournalNewer, exitPrecondition, "99999"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := executeServer(t.Context(), tc.args...)
			if r.code != tc.code || !strings.Contains(r.err, "error "+string(tc.want)+":") || !strings.Contains(r.err, tc.says) {
				t.Errorf("%+v, want %s", r, tc.want)
			}
			password, _ := good.User.Password()
			if strings.Contains(r.err, "hush") || strings.Contains(r.err, password) {
				t.Errorf("it tells the password: %s", r.err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// executeUntilUp starts a server and stops it as soon as it is up.
func executeUntilUp(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, write := io.Pipe()
	c, _, stderr := testCLI(nil)
	c.out.w, c.start = write, startServer
	ended := make(chan int, 1)
	go func() {
		code := c.execute(ctx, append([]string{"server", "--json", "--gossip", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, args...))
		_ = write.Close()
		ended <- code
	}()
	up := make([]byte, 1000)
	n, err := read.Read(up)
	cancel()
	code := <-ended
	if err != nil && code == exitOK {
		t.Errorf("it never was up: %v", err)
	}
	return result{string(up[:n]), stderr.String(), code}
}

func query(t *testing.T, store, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// TestServerWaitsForItsDatabase: servers may be started before the database,
// and say what they wait for.
func TestServerWaitsForItsDatabase(t *testing.T) {
	database, err := postgrestest.Start(t.Context(), postgrestest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := database.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stderr := new(output)
	c, stdout, _ := testCLI(nil)
	c.err.w, c.start = stderr, func(ctx context.Context, f config.Values, log *slog.Logger) (runningServer, error) {
		defer cancel() // it is up, or not: stop it
		return startServer(ctx, f, log)
	}
	ended := make(chan int, 1)
	go func() {
		ended <- c.execute(ctx, []string{"server", "--store", store, "--store-wait", "-1s", "--gossip", "127.0.0.1:0", "--listen", "127.0.0.1:0"})
	}()
	for !strings.Contains(stderr.String(), "the store does not answer, trying again") {
		if backoff.Sleep(ctx, pollEvery) != nil {
			t.Fatalf("it does not wait: exit %d: %s", <-ended, stderr)
		}
	}
	if err := database.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != exitOK || !strings.Contains(stdout.String(), "limpet server is up") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}
