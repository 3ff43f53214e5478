package postgrestest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
	"github.com/limpetrun/limpet/messages"
)

// patience is how long anything may take on a busy machine.
const patience = 60 * time.Second

func start(t *testing.T, cfg postgrestest.Config) *postgrestest.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := postgrestest.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(server.LogFile()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the log is still there: %v", err)
		}
	})
	return server
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask returns the only value of a query.
func ask[T any](t *testing.T, url, sql string) (value T, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return value, err
	}
	defer func() { must(t, conn.Close(ctx)) }()
	err = conn.QueryRow(ctx, sql).Scan(&value)
	return value, err
}

func TestServer(t *testing.T) {
	t.Parallel()
	server := start(t, postgrestest.Config{Settings: map[string]string{"work_mem": "5MB"}})
	first, err := server.NewDatabase(t.Context())
	must(t, err)
	second, err := server.NewDatabase(t.Context())
	must(t, err)
	for _, url := range []string{first, second} {
		n, err := ask[int](t, url, "CREATE TABLE t (); SELECT 1")
		if err == nil || n != 0 {
			t.Errorf("two statements in one: %d, %v", n, err)
		}
		if _, err := ask[string](t, url, "SELECT set_config('a.b', 'c', false)"); err != nil {
			t.Error(err)
		}
	}
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "work_mem": "5MB",
		"server_encoding": "UTF8", "listen_addresses": "127.0.0.1",
	} {
		if got, err := ask[string](t, first, "SHOW "+setting); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", setting, got, err, want)
		}
	}
	config, err := pgx.ParseConfig(server.URL())
	must(t, err)
	config.Password = "not the password"
	_, err = pgx.ConnectConfig(t.Context(), config)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("connect with another password: %v", err)
	}
}

func TestCrashFreezeRestart(t *testing.T) {
	t.Parallel()
	server := start(t, postgrestest.Config{})
	url, err := server.NewDatabase(t.Context())
	must(t, err)
	_, err = ask[int](t, url, "CREATE TABLE t AS SELECT 42 AS v")
	if !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	read := func(when string) {
		t.Helper()
		if v, err := ask[int](t, url, "SELECT v FROM t"); err != nil || v != 42 {
			t.Fatalf("%s: %d, %v", when, v, err)
		}
	}
	session, err := pgx.Connect(t.Context(), url)
	must(t, err)
	must(t, server.Kill())
	must(t, server.Kill()) // again: nothing to do
	if _, err := session.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a session outlived the crash")
	}
	if _, err := ask[int](t, url, "SELECT 1"); err == nil {
		t.Error("a killed server answers")
	}
	must(t, server.Restart(t.Context()))
	read("after a crash")
	log, err := os.ReadFile(server.LogFile())
	must(t, err)
	if !strings.Contains(string(log), "was not properly shut down") {
		t.Errorf("the kill was none: %s", log)
	}

	session, err = pgx.Connect(t.Context(), url)
	must(t, err)
	must(t, server.Freeze())
	frozen, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := session.Exec(frozen, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a frozen server: %v", err)
	}
	must(t, server.Thaw())
	read("after a freeze")

	must(t, server.Freeze())
	must(t, server.Stop(t.Context()))
	if err := server.Freeze(); err == nil {
		t.Error("a stopped server was frozen")
	}
	must(t, server.Restart(t.Context()))
	read("after a stop")
	must(t, server.Restart(t.Context()))
	read("after a restart")
}

func TestPrefixedCommand(t *testing.T) {
	t.Parallel()
	var ran []string
	server := start(t, postgrestest.Config{Command: func(name string, args ...string) *exec.Cmd {
		ran = append(ran, name)
		return exec.Command("env", append([]string{"LIMPET_PREFIXED=1", name}, args...)...)
	}})
	if len(ran) != 1 {
		t.Errorf("commands: %q", ran)
	}
	url, err := server.NewDatabase(t.Context())
	must(t, err)
	if n, err := ask[int](t, url, "SELECT 1"); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestDoesNotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755)) // for root's tests run it as another
	_, err := postgrestest.Start(t.Context(), postgrestest.Config{Dir: dir, Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("error: %v, want one that shows the log", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestDirectoryOfRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	server, err := postgrestest.Start(t.Context(), postgrestest.Config{Dir: dir})
	if os.Geteuid() != 0 {
		must(t, err)
		must(t, server.Close())
		return
	}
	if messages.CodeOf(err) != messages.CodeInvalidArgument || !strings.Contains(err.Error(), dir) {
		t.Errorf("error: %v, want INVALID_ARGUMENT that names the directory", err)
	}
}

// TestMain lets the test executable be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LIMPET_POSTGRES_OWNER"); dir != "" {
		server, err := postgrestest.Start(context.Background(), postgrestest.Config{Dir: dir})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(server.URL())
		select {}
	}
	os.Exit(m.Run())
}

func TestDiesWithItsOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755)) // for root's tests run it as another
	executable, err := os.Executable()
	must(t, err)
	owner := exec.Command(executable)
	owner.Env = append(os.Environ(), "LIMPET_POSTGRES_OWNER="+dir)
	out, err := owner.StdoutPipe()
	must(t, err)
	must(t, owner.Start())
	var url string
	if _, err := fmt.Fscanln(out, &url); err != nil || strings.HasPrefix(url, "error") {
		t.Fatalf("%q, %v", url, err)
	}
	if _, err := ask[int](t, url, "SELECT 1"); err != nil {
		t.Error(err)
	}
	must(t, owner.Process.Kill())
	if err := owner.Wait(); err == nil {
		t.Error("the owner ended well")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		if _, err := ask[int](t, url, "SELECT 1"); err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server outlives its owner")
		}
	}
}
