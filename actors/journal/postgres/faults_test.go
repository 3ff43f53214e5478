package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
	"github.com/limpetrun/limpet/messages"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ownServer starts a server for a test that harms it.
func ownServer(t *testing.T, cfg postgrestest.Config) *postgrestest.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := postgrestest.Start(ctx, cfg)
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
	return server
}

// TestSeveralServers lets four servers fight for the same runs.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	l := startLoad(t, url, 4, postgres.Config{Commits: 4})
	l.progress(3000)
	l.check(url)
	if l.refused == 0 {
		t.Error("no append was refused, so the servers did not fight")
	}
}

// TestLoadSurvives strikes the database under the appends of three servers.
func TestLoadSurvives(t *testing.T) {
	t.Parallel()
	server := ownServer(t, postgrestest.Config{})
	for _, strike := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"crash", func(t *testing.T) {
			must(t, server.Kill())
			must(t, server.Restart(t.Context()))
		}},
		{"restart", func(t *testing.T) { must(t, server.Restart(t.Context())) }},
		{"freeze", func(t *testing.T) {
			must(t, server.Freeze())
			<-time.After(3 * time.Second) // more than the longest call
			must(t, server.Thaw())
		}},
	} {
		t.Run(strike.name, func(t *testing.T) {
			url := database(t, server)
			l := startLoad(t, url, 3, postgres.Config{Commits: 4, CallTimeout: 2 * time.Second})
			for range 3 {
				l.progress(200)
				strike.do(t)
			}
			l.progress(200)
			l.check(url)
			if l.tries == 0 {
				t.Error("no commit was tried again, so nothing was struck")
			}
		})
	}
}

// TestFrozen: calls end in time, and say why.
func TestFrozen(t *testing.T) {
	t.Parallel()
	server := ownServer(t, postgrestest.Config{})
	store := open(t, postgres.Config{URL: database(t, server), CallTimeout: 1500 * time.Millisecond})
	must(t, server.Freeze())
	for what, call := range map[string]func() error{
		"append": func() error {
			return store.Append(t.Context(), []journal.Append{journaltest.ChainAppend("a", 1, []byte("x"))})[0]
		},
		"load":   func() error { _, err := store.Load(t.Context(), "a"); return err },
		"sign":   func() error { _, err := store.Heartbeat(t.Context(), "s", nil); return err },
		"now":    func() error { _, err := store.Now(t.Context()); return err },
		"delete": func() error { _, err := store.DeleteFinished(t.Context(), time.Now(), 1); return err },
	} {
		start := time.Now()
		err := call()
		if messages.CodeOf(err) != messages.CodeJournalUnavailable || !strings.Contains(err.Error(), server.Addr()) || !strings.Contains(err.Error(), "in time") {
			t.Errorf("%s: %v, want JOURNAL_UNAVAILABLE, the address, and that it is not in time", what, err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s took %v", what, took)
		}
	}
	must(t, server.Thaw())
	wait(t, "an answer", func() bool { _, err := store.Now(t.Context()); return err == nil })
}

// TestStandby: a database that takes no writes, as after a failover, is
// unavailable until it takes them again; then connections are made anew.
func TestStandby(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	store := open(t, postgres.Config{URL: url})
	admin := connect(t, url)
	sql := func(statement string) {
		t.Helper()
		_, err := admin.Exec(t.Context(), statement)
		must(t, err)
	}
	sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$")
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	appendOne := func() error {
		return store.Append(t.Context(), []journal.Append{journaltest.ChainAppend("a", 1, []byte("x"))})[0]
	}
	var last error
	wait(t, "a refusal to write", func() bool {
		last = appendOne()
		return messages.CodeOf(last) == messages.CodeJournalUnavailable && strings.Contains(last.Error(), "standby")
	})
	if _, _, err := store.List(t.Context(), journal.Filter{}, 10, ""); err != nil {
		t.Errorf("reading from it: %v", err)
	}
	sql("SET default_transaction_read_only = off")
	sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$")
	if err := appendOne(); err != nil {
		t.Errorf("after the refusal the connections were kept: %v", err)
	}
}

// TestReadsReconnect: whoever reads does not notice a restart.
func TestReadsReconnect(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	store := open(t, postgres.Config{URL: url})
	if errs := store.Append(t.Context(), []journal.Append{journaltest.ChainAppend("a", 1, []byte("x"))}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	admin := connect(t, url)
	for range 3 {
		_, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		must(t, err)
		if _, err := store.Load(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
}

// TestDiskFull fills the disk of a database and frees it again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir, ok := smallDisk(t, "40m")
	if !ok {
		t.Log("no disk can be mounted here; TestCodes checks what the store makes of the error")
		return
	}
	server := ownServer(t, postgrestest.Config{})
	admin := connect(t, server.URL())
	owner := filepath.Join(dir, "tablespace")
	must(t, os.Mkdir(owner, 0o700))
	info, err := os.Stat(filepath.Dir(server.LogFile()))
	must(t, err)
	must(t, chownLike(owner, info))
	_, err = admin.Exec(t.Context(), fmt.Sprintf("CREATE TABLESPACE small LOCATION '%s'", owner))
	must(t, err)
	_, err = admin.Exec(t.Context(), "CREATE DATABASE small TABLESPACE small")
	must(t, err)
	ballast := filepath.Join(dir, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, 8<<20), 0o600))
	store := open(t, postgres.Config{URL: strings.Replace(server.URL(), "/postgres?", "/small?", 1)})
	var full error
	stored := 0
	for n := 0; full == nil && n < 1000; n++ {
		full = store.Append(t.Context(), []journal.Append{journaltest.ChainAppend(fmt.Sprint("run", n), 1, make([]byte, 1<<20))})[0]
		if full == nil {
			stored++
		}
	}
	if messages.CodeOf(full) != messages.CodeJournalUnavailable || !strings.Contains(full.Error(), "disk of the database is full") {
		t.Fatalf("after %d: %v", stored, full)
	}
	must(t, os.Remove(ballast))
	next := journaltest.ChainAppend(fmt.Sprint("run", stored), 1, make([]byte, 1<<20))
	if err := store.Append(t.Context(), []journal.Append{next})[0]; err != nil {
		t.Errorf("with room again: %v", err)
	}
	rows, _, err := store.List(t.Context(), journal.Filter{}, 2000, "")
	if err != nil || len(rows) != stored+1 {
		t.Errorf("%d runs are stored, want %d: %v", len(rows), stored+1, err)
	}
	must(t, store.Close())
}

// smallDisk mounts a file system of a size, if this process may.
func smallDisk(t *testing.T, size string) (dir string, ok bool) {
	t.Helper()
	if os.Geteuid() != 0 {
		return "", false
	}
	dir, err := os.MkdirTemp("", "small-disk-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=0755,size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Logf("mount: %v: %s", err, out)
		return "", false
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir, true
}

// TestDeleteLeavesNothing: while runs are deleted, others add entries to them
// and use their ids again.
func TestDeleteLeavesNothing(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	first, second := open(t, postgres.Config{URL: url}), open(t, postgres.Config{URL: url})
	finished := func(id string) *journal.Row {
		return &journal.Row{RunID: id, Status: messages.RunStatus_RUN_STATUS_SUCCEEDED, CreatedAt: time.UnixMicro(1), FinishedAt: time.UnixMicro(2)}
	}
	stop := make(chan struct{})
	var working sync.WaitGroup
	var mu sync.Mutex
	appended, deleted := 0, 0
	end := sync.OnceFunc(func() { close(stop); working.Wait() })
	defer end()
	for w := range 4 {
		store := []*postgres.Store{first, second}[w%2]
		working.Go(func() {
			numbers := make(map[string]uint64)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("run-%d", n%7)
				a := journal.Append{RunID: id, Number: numbers[id] + 1, Entry: []byte("x")}
				if a.Number == 1 || n%3 == 0 {
					a.Row = finished(id)
				}
				switch err := store.Append(t.Context(), []journal.Append{a})[0]; messages.CodeOf(err) {
				case "":
					numbers[id]++
					mu.Lock()
					appended++
					mu.Unlock()
				case messages.CodeJournalConflict:
					rec, err := store.Load(t.Context(), id)
					if err != nil && messages.CodeOf(err) != messages.CodeUnknownRun {
						t.Error(err)
					}
					numbers[id] = uint64(len(rec.Entries))
				default:
					t.Error(err)
				}
			}
		})
	}
	for _, store := range []*postgres.Store{first, second} {
		working.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n, err := store.DeleteFinished(t.Context(), time.Now(), 5)
				// A busy machine may let it wait too long for its lock.
				if err != nil && messages.CodeOf(err) != messages.CodeJournalUnavailable {
					t.Error(err)
				}
				mu.Lock()
				deleted += n
				mu.Unlock()
			}
		})
	}
	wait(t, "deletions in between", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return appended > 500 && deleted > 60
	})
	end()
	var orphans, gaps int
	must(t, connect(t, url).QueryRow(t.Context(), `SELECT
		(SELECT count(*) FROM limpet_entries e WHERE NOT EXISTS (SELECT FROM limpet_runs r WHERE r.run_id = e.run_id)),
		(SELECT count(*) FROM (SELECT run_id, count(*) AS n, max(number) AS last FROM limpet_entries GROUP BY 1) c WHERE n <> last)`).Scan(&orphans, &gaps))
	if orphans != 0 || gaps != 0 {
		t.Errorf("%d entries without a run, %d runs with gaps", orphans, gaps)
	}
}
