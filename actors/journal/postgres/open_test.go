package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/messages"
)

func wantCode(t *testing.T, what string, err error, want messages.Code) {
	t.Helper()
	if code := messages.CodeOf(err); code != want {
		t.Errorf("%s: %v, want code %q", what, err, want)
	}
}

// TestOpenAtOnce opens a new database from eight servers at the same time.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	stores := make([]*postgres.Store, 8)
	var opening sync.WaitGroup
	for i := range stores {
		opening.Go(func() {
			var err error
			if stores[i], err = postgres.Open(t.Context(), postgres.Config{URL: url, Commits: 1, Readers: 1}); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	for i, store := range stores {
		if store == nil {
			continue
		}
		a := journaltest.ChainAppend(fmt.Sprint("run", i), 1, []byte("x"))
		if err := store.Append(t.Context(), []journal.Append{a})[0]; err != nil {
			t.Error(err)
		}
		must(t, store.Close())
	}
	var done int
	must(t, connect(t, url).QueryRow(t.Context(), "SELECT count(*) FROM limpet_schema WHERE version_id = 1").Scan(&done))
	if done != 1 {
		t.Errorf("the first migration was done %d times", done)
	}
}

// TestOpenNewer: the tables of a later version are left alone; a server that
// has them open goes on.
func TestOpenNewer(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	running := open(t, postgres.Config{URL: url})
	_, err := connect(t, url).Exec(t.Context(), "INSERT INTO limpet_schema (version_id, is_applied) VALUES (99, true)")
	must(t, err)
	_, err = postgres.Open(t.Context(), postgres.Config{URL: url})
	wantCode(t, "open a newer schema", err, messages.CodeJournalNewer)
	if err == nil || !strings.Contains(err.Error(), "99") || !strings.Contains(err.Error(), server.Addr()) {
		t.Errorf("error %v does not name the version and the database", err)
	}
	a := journaltest.ChainAppend("run", 1, []byte("x"))
	if err := running.Append(t.Context(), []journal.Append{a})[0]; err != nil {
		t.Error(err)
	}
}

func TestOpenRefused(t *testing.T) {
	t.Parallel()
	good := database(t, server)
	_, err := connect(t, good).Exec(t.Context(), "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
	must(t, err)
	_, err = connect(t, good).Exec(t.Context(), "CREATE ROLE guest LOGIN PASSWORD 'guest'; REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO guest")
	must(t, err)
	change := func(with func(*url.URL)) string {
		u, err := url.Parse(good)
		must(t, err)
		with(u)
		return u.String()
	}
	password := "open-sesame"
	for what, c := range map[string]struct {
		url  string
		want messages.Code
		says string
	}{
		"empty":            {"", messages.CodeInvalidArgument, "URL"},
		"no URL":           {"postgres://a:" + password + "@[::1/x", messages.CodeInvalidArgument, "URL"},
		"wrong password":   {change(func(u *url.URL) { u.User = url.UserPassword("postgres", password) }), messages.CodeInvalidArgument, "password"},
		"no such user":     {change(func(u *url.URL) { u.User = url.UserPassword("nobody", password) }), messages.CodeInvalidArgument, "nobody"},
		"no such database": {change(func(u *url.URL) { u.Path = "/nowhere" }), messages.CodeInvalidArgument, "nowhere"},
		"no right to make": {change(func(u *url.URL) { u.User = url.UserPassword("guest", "guest") }), messages.CodeJournalDenied, "permission denied"},
		"other encoding":   {change(func(u *url.URL) { u.Path = "/ascii" }), messages.CodeInvalidArgument, "SQL_ASCII"},
		"nobody listens":   {"postgres://a:" + password + "@127.0.0.1:1/x", messages.CodeJournalUnavailable, "127.0.0.1:1"},
	} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: c.url})
		wantCode(t, what, err, c.want)
		if err == nil {
			continue
		}
		if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q must be one line, name %q and not the password", what, err, c.says)
		}
	}
}

// TestUnsafeSettings: a database that may lose commits is used, and told of.
func TestUnsafeSettings(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	var told []string
	cfg := postgres.Config{URL: url, Hooks: postgres.Hooks{Unsafe: func(setting, value string) { told = append(told, setting+"="+value) }}}
	open(t, cfg)
	if len(told) != 0 {
		t.Errorf("told of %q", told)
	}
	_, err := connect(t, url).Exec(t.Context(), "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$")
	must(t, err)
	open(t, cfg)
	if len(told) != 1 || told[0] != "synchronous_commit=off" {
		t.Errorf("told of %q", told)
	}
}

// TestTexts: what PostgreSQL cannot store as text, or cannot index, harms
// nothing but itself.
func TestTexts(t *testing.T) {
	t.Parallel()
	store := open(t, postgres.Config{URL: database(t, server)})
	made := func(id string, change func(*journal.Append)) journal.Append {
		row := *journaltest.ChainAppend(id, 1, nil).Row
		a := journal.Append{RunID: id, Number: 1, Entry: []byte("x"), Row: &row}
		change(&a)
		return a
	}
	noise := make([]byte, 0, 12_000)
	for i := range cap(noise) / 4 {
		noise = fmt.Appendf(noise, "%04x", i*40503%65536)
	}
	batch := []journal.Append{
		made("first", func(*journal.Append) {}),
		made("zero\x00", func(*journal.Append) {}),
		made("worker", func(a *journal.Append) { a.Row.BoundWorker = "w\x00" }),
		made("latin1", func(a *journal.Append) { a.Row.Workflow = "caf\xe9" }),
		made("message", func(a *journal.Append) { a.Row.FailureMessage = "caf\xe9 \x00!" }),
		made("indexed", func(a *journal.Append) { a.Row.ParentRun = string(noise) }),
		made("last", func(*journal.Append) {}),
	}
	want := []messages.Code{"", messages.CodeInvalidArgument, messages.CodeInvalidArgument, messages.CodeInvalidArgument, "", messages.CodeLimitExceeded, ""}
	for i, err := range store.Append(t.Context(), batch) {
		wantCode(t, batch[i].RunID, err, want[i])
	}
	rows, _, err := store.List(t.Context(), journal.Filter{}, 10, "")
	must(t, err)
	if len(rows) != 3 || rows[0].RunID != "message" || rows[1].RunID != "last" || rows[2].RunID != "first" {
		t.Errorf("stored: %v", rows)
	}
	if got := rows[0].FailureMessage; got != "caf\uFFFD \uFFFD!" {
		t.Errorf("message %q", got)
	}
	_, err = store.Load(t.Context(), "zero\x00")
	wantCode(t, "load", err, messages.CodeUnknownRun)
	_, err = store.Entries(t.Context(), "\xff", 0, 1)
	wantCode(t, "entries", err, messages.CodeUnknownRun)
	_, err = store.Definition(t.Context(), "\x00")
	wantCode(t, "definition", err, messages.CodeUnknownWorkflow)
	wantCode(t, "put a definition", store.PutDefinition(t.Context(), journal.Definition{Hash: "\x00"}), messages.CodeInvalidArgument)
	_, err = store.Heartbeat(t.Context(), "\x00", nil)
	wantCode(t, "sign", err, messages.CodeInvalidArgument)
	for _, f := range []journal.Filter{{Workflow: "\x00"}, {BoundWorker: "\xff"}, {ParentRun: "\x00"}} {
		if rows, _, err := store.List(t.Context(), f, 10, ""); err != nil || len(rows) != 0 {
			t.Errorf("list %+v: %v %v", f, rows, err)
		}
	}
	if woken, err := store.WokenByUp(t.Context(), nil, "\x00", "\x00", 10); err != nil || len(woken) != 0 {
		t.Errorf("woken: %v %v", woken, err)
	}
	if active, err := store.Active(t.Context(), nil, "\xff\x00", 10); err != nil || len(active) != 0 {
		t.Errorf("active: %v %v", active, err)
	}
	if counts, err := store.BoundCounts(t.Context(), "\x00"); err != nil || len(counts) != 0 {
		t.Errorf("bound: %v %v", counts, err)
	}
}

// TestCommitterAsksTheStore: a committer commits as many batches at a time as
// the store likes.
func TestCommitterAsksTheStore(t *testing.T) {
	t.Parallel()
	if postgres.DefaultCommits < 2 {
		t.Fatal("this test needs commits that run side by side")
	}
	store := &counting{Store: open(t, postgres.Config{URL: database(t, server)}), all: make(chan struct{})}
	c := journal.NewCommitter(store, journal.CommitterConfig{MaxBatch: 1})
	done := make(chan error, 20)
	for n := range cap(done) {
		c.Append(journaltest.ChainAppend(fmt.Sprint("run", n), 1, []byte("x")), func(err error) { done <- err })
	}
	for range cap(done) {
		must(t, <-done)
	}
	must(t, c.Close(t.Context()))
	if store.most != postgres.DefaultCommits {
		t.Errorf("at most %d commits were under way at one time, want %d", store.most, postgres.DefaultCommits)
	}
}

// counting counts the appends under way, and lets none go on before there are
// as many as there can be.
type counting struct {
	*postgres.Store
	all       chan struct{}
	mu        sync.Mutex
	now, most int
}

func (s *counting) enter(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now += by; s.now > s.most {
		if s.most = s.now; s.most == postgres.DefaultCommits {
			close(s.all)
		}
	}
}

// Append implements journal.Store.
func (s *counting) Append(ctx context.Context, batch []journal.Append) []error {
	s.enter(1)
	defer s.enter(-1)
	select {
	case <-s.all:
	case <-time.After(patience):
	}
	return s.Store.Append(ctx, batch)
}

// TestIdentity: the identity of a database is made once, and is no other's.
func TestIdentity(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	id := open(t, postgres.Config{URL: url}).Identity()
	if again := open(t, postgres.Config{URL: url}).Identity(); again != id || !strings.HasPrefix(id, "postgres/") || len(id) < 30 {
		t.Errorf("the identity is %q, and %q when it is opened again", id, again)
	}
	if other := open(t, postgres.Config{URL: database(t, server)}).Identity(); other == id {
		t.Errorf("two databases are %q", id)
	}
}
