package sqlite_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	zombie "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/messages"
)

// fill writes chains of three steps in one commit.
func fill(t *testing.T, store journal.Store, from, runs int) {
	t.Helper()
	var batch []journal.Append
	for i := range runs {
		for n := uint64(1); n <= 5; n++ {
			batch = append(batch, journaltest.ChainAppend(fmt.Sprintf("run-%06d", from+i), n, bytes.Repeat([]byte{byte(i)}, 300)))
		}
	}
	for _, err := range store.Append(t.Context(), batch) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// crashed returns the path of a journal that a server left without closing it.
func crashed(t *testing.T, checkpointed bool) string {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live.db")
	store := open(t, sqlite.Config{Path: live})
	fill(t, store, 0, 50)
	if checkpointed {
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		store = open(t, sqlite.Config{Path: live})
		put := journaltest.ChainAppend("last", 1, []byte("x"))
		if errs := store.Append(t.Context(), []journal.Append{put}); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	path := filepath.Join(t.TempDir(), "crashed.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(live + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// edit changes a file.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func execute(t *testing.T, path, script string) {
	t.Helper()
	conn, err := zombie.OpenConn(path, zombie.OpenReadWrite, zombie.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesWhatItMustNotTouch(t *testing.T) {
	t.Parallel()
	damage := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) { edit(t, path, change) }
	}
	script := func(sql string) func(*testing.T, string) {
		return func(t *testing.T, path string) { execute(t, path, sql) }
	}
	for _, c := range []struct {
		name   string
		damage func(*testing.T, string)
		want   messages.Code
		says   string
	}{
		{"no database", damage(func([]byte) []byte { return []byte(strings.Repeat("not a database. ", 100)) }), messages.CodeJournalCorrupt, "not a database"},
		{"few bytes", damage(func(b []byte) []byte { return b[:50] }), messages.CodeJournalCorrupt, "50 bytes"},
		{"magic", damage(func(b []byte) []byte { b[3] ^= 1; return b }), messages.CodeJournalCorrupt, "header"},
		{"page size", damage(func(b []byte) []byte { b[16] = 77; return b }), messages.CodeJournalCorrupt, ""},
		{"schema page", damage(func(b []byte) []byte { clear(b[100:4000]); return b }), messages.CodeJournalCorrupt, ""},
		{"page in the middle", damage(func(b []byte) []byte { m := len(b) / 2 / 4096 * 4096; clear(b[m : m+4096]); return b }), messages.CodeJournalCorrupt, ""},
		{"cut off", damage(func(b []byte) []byte { return b[:len(b)/2] }), messages.CodeJournalCorrupt, ""},
		{"cut off without a WAL", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { return b[:len(b)/2] })
			edit(t, path+"-wal", func(b []byte) []byte { return nil })
		}, messages.CodeJournalCorrupt, "cut off"},
		{"cut off, with a WAL that lacks pages", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { return b[:len(b)-20*4096] })
		}, messages.CodeJournalCorrupt, "cut off"},
		{"cut to nothing", damage(func([]byte) []byte { return nil }), messages.CodeJournalCorrupt, "-wal"},
		{"cut to nothing, without a WAL", func(t *testing.T, path string) {
			edit(t, path, func([]byte) []byte { return nil })
			must(t, os.Remove(path+"-wal"))
		}, messages.CodeJournalCorrupt, "delete the file"},
		{"deleted, with a WAL", func(t *testing.T, path string) { must(t, os.Remove(path)) }, messages.CodeJournalCorrupt, "-wal"},
		{"newer schema", script("PRAGMA user_version = 9999"), messages.CodeJournalNewer, "1.9999"},
		{"newer generation", script(fmt.Sprintf("PRAGMA application_id = %d", 0x4c696d02)), messages.CodeJournalNewer, "2."},
		{"other application", script("PRAGMA application_id = 1"), messages.CodeInvalidArgument, "another application"},
		{"no application", script("PRAGMA application_id = 0"), messages.CodeInvalidArgument, "another application"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := crashed(t, true)
			c.damage(t, path)
			before := snapshot(t, path)
			for range 2 {
				store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
				if err == nil {
					store.Close()
				}
				if messages.CodeOf(err) != c.want || !strings.Contains(fmt.Sprint(err), path) || !strings.Contains(fmt.Sprint(err), c.says) {
					t.Errorf("open: %v, want %s saying %q", err, c.want, c.says)
				}
			}
			for suffix, data := range snapshot(t, path) {
				if !bytes.Equal(data, before[suffix]) {
					t.Errorf("opening changed journal%s", suffix)
				}
			}
		})
	}
}

func snapshot(t *testing.T, path string) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		out[suffix] = data
	}
	return out
}

func TestDamageFoundLater(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	store := open(t, sqlite.Config{Path: path})
	fill(t, store, 0, 50)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(b []byte) []byte {
		// Every page but that of the schema, whose tables then lead nowhere.
		clear(b[4096:])
		return b
	})
	_, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, CheckBytesMax: -1})
	if messages.CodeOf(err) != messages.CodeJournalCorrupt {
		t.Errorf("open with a check: %v", err)
	}
	// Too large to be checked, it opens or is refused; whatever is asked of
	// it then must say that it is corrupt.
	store, err = sqlite.Open(t.Context(), sqlite.Config{Path: path, CheckBytesMax: 1})
	if err == nil {
		defer store.Close()
		_, err = store.Load(t.Context(), "run-000001")
	}
	if messages.CodeOf(err) != messages.CodeJournalCorrupt {
		t.Errorf("without a check: %v", err)
	}
}

func TestOpenAfterCrash(t *testing.T) {
	t.Parallel()
	for _, checkpointed := range []bool{false, true} {
		store := open(t, sqlite.Config{Path: crashed(t, checkpointed)})
		for i := range 50 {
			rec, err := store.Load(t.Context(), fmt.Sprintf("run-%06d", i))
			if err != nil || len(rec.Entries) != 5 {
				t.Errorf("checkpointed %v, run %d: %d entries, %v", checkpointed, i, len(rec.Entries), err)
			}
		}
	}
}

func TestOpenInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	store := open(t, sqlite.Config{Path: path})
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		_, err := sqlite.Open(t.Context(), sqlite.Config{Path: p})
		if messages.CodeOf(err) != messages.CodeJournalInUse || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "this process") {
			t.Errorf("open %s again: %v", p, err)
		}
	}
	fill(t, store, 0, 1) // it goes on
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, sqlite.Config{Path: link})
}

func TestOpenPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, want := range map[string]messages.Code{
		"":  messages.CodeInvalidArgument,
		dir: messages.CodeInvalidArgument,
		filepath.Join(dir, "file", "below", "a", "file"): messages.CodeInvalidArgument,
		filepath.Join(dir, strings.Repeat("long", 100)):  messages.CodeInvalidArgument,
	} {
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path}); messages.CodeOf(err) != want {
			t.Errorf("open %q: %v, want %s", path, err, want)
		}
	}
	// Nobody may make a directory there, whoever asks.
	if _, err := os.Stat("/sys/kernel"); err == nil {
		if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: "/sys/limpet/journal.db"}); messages.CodeOf(err) != messages.CodeJournalDenied || !strings.Contains(err.Error(), "not permitted") {
			t.Errorf("open where nothing may be made: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "canceled.db")}); messages.CodeOf(err) != messages.CodeJournalUnavailable {
		t.Errorf("open with a context that has ended: %v", err)
	}
	// Odd names and a directory to be made are good.
	odd := filepath.Join(dir, "new", "a?b=c#d %20 'e'.db")
	store := open(t, sqlite.Config{Path: odd})
	fill(t, store, 0, 1)
	for name, want := range map[string]os.FileMode{odd: 0o600, odd + "-wal": 0o600, odd + ".lock": 0o600, filepath.Dir(odd): 0o700 | os.ModeDir} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v, want mode %v", name, info.Mode(), err, want)
		}
	}
}

// TestCheckpoint sees the WAL start over again and again.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	done := make(chan int, 1000)
	path := filepath.Join(t.TempDir(), "journal.db")
	store := open(t, sqlite.Config{Path: path, CheckpointFrames: 100, Hooks: sqlite.Hooks{
		Checkpointed:     func(pages int, _, _ time.Duration) { done <- pages },
		CheckpointFailed: func(err error) { t.Error(err) },
	}})
	for i := range 5 {
		for len(done) > 0 { // those are of before these runs
			<-done
		}
		for k := range 40 {
			fill(t, store, i*80+k*2, 2)
		}
		if pages := <-done; pages == 0 {
			t.Error("a checkpoint copied nothing")
		}
	}
	info, err := os.Stat(path + "-wal")
	if err != nil || info.Size() > 9<<20 {
		t.Errorf("the WAL has %d bytes, %v", info.Size(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if pages := binary.BigEndian.Uint32(data[28:]); int(pages)*4096 < 512<<10 {
		t.Errorf("after 400 runs the file has %d pages", pages)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A new journal whose making was broken off, by a crash for example, is begun again;
// an empty file in which none was begun is refused, and left alone.
func TestOpenEmptyFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	must(t, os.WriteFile(path, nil, 0o600))
	for range 2 {
		if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path}); messages.CodeOf(err) != messages.CodeJournalCorrupt {
			t.Fatalf("an empty file: %v", err)
		}
	}
	must(t, os.Remove(path))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sqlite.Open(ctx, sqlite.Config{Path: path}); messages.CodeOf(err) != messages.CodeJournalUnavailable {
		t.Fatalf("broken off: %v", err)
	}
	must(t, os.WriteFile(path, nil, 0o600)) // where it may have been broken off
	store := open(t, sqlite.Config{Path: path})
	fill(t, store, 0, 1)
	must(t, store.Close())
	must(t, os.Truncate(path, 0))
	if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path}); messages.CodeOf(err) != messages.CodeJournalCorrupt {
		t.Fatalf("cut to nothing: %v", err)
	}
}

// What becomes of the files of an open journal is noticed, and nothing is
// acknowledged or read from then on, unless the file comes back.
func TestFilesThatGoWhileTheyAreInUse(t *testing.T) {
	t.Parallel()
	rename := func(t *testing.T, path string) { must(t, os.Rename(path, path+".away")) }
	for name, c := range map[string]struct {
		away func(t *testing.T, path string)
		back func(t *testing.T, path string)
		want messages.Code
		says string
	}{
		"deleted":      {func(t *testing.T, path string) { must(t, os.Remove(path)) }, nil, messages.CodeJournalUnavailable, "deleted or renamed"},
		"WAL deleted":  {func(t *testing.T, path string) { must(t, os.Remove(path+"-wal")) }, nil, messages.CodeJournalUnavailable, "-wal"},
		"lock deleted": {func(t *testing.T, path string) { must(t, os.Remove(path+".lock")) }, nil, messages.CodeJournalUnavailable, ".lock"},
		"renamed":      {rename, func(t *testing.T, path string) { must(t, os.Rename(path+".away", path)) }, messages.CodeJournalUnavailable, "deleted or renamed"},
		"replaced": {func(t *testing.T, path string) {
			rename(t, path)
			must(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<20), 0o600))
		}, func(t *testing.T, path string) { must(t, os.Rename(path+".away", path)) }, messages.CodeJournalUnavailable, "replaced"},
		"cut short": {func(t *testing.T, path string) { must(t, os.Truncate(path, 4096)) }, nil, messages.CodeJournalCorrupt, "was cut from"},
		"WAL cut":   {func(t *testing.T, path string) { must(t, os.Truncate(path+"-wal", 100)) }, nil, messages.CodeJournalCorrupt, "was cut from"},
		"directory renamed": {func(t *testing.T, path string) { must(t, os.Rename(filepath.Dir(path), filepath.Dir(path)+".away")) },
			func(t *testing.T, path string) { must(t, os.Rename(filepath.Dir(path)+".away", filepath.Dir(path))) }, messages.CodeJournalUnavailable, "deleted or renamed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "dir", "journal.db")
			lost, found := make(chan error, 10), make(chan bool, 10)
			store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Hooks: sqlite.Hooks{
				Lost: func(err error) { lost <- err }, Found: func() { found <- true }}})
			must(t, err)
			defer func() { _ = store.Close() }()
			fill(t, store, 0, 50)
			c.away(t, path)
			if err := <-lost; messages.CodeOf(err) != c.want || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s saying %q", err, c.want, c.says)
			}
			entry := journaltest.ChainAppend("late", 1, []byte("x"))
			_, beatErr := store.Heartbeat(t.Context(), "s1", nil)
			_, nowErr := store.Now(t.Context())
			_, loadErr := store.Load(t.Context(), "run-000001")
			for what, err := range map[string]error{"append": store.Append(t.Context(), []journal.Append{entry})[0], "heartbeat": beatErr, "clock": nowErr, "load": loadErr} {
				if messages.CodeOf(err) != c.want {
					t.Errorf("%s: %v, want %s", what, err, c.want)
				}
			}
			if c.back == nil {
				return
			}
			c.back(t, path)
			<-found
			must(t, store.Append(t.Context(), []journal.Append{entry})[0])
			must(t, store.Close())
			if _, err := open(t, sqlite.Config{Path: path}).Load(t.Context(), "late"); err != nil {
				t.Errorf("what was appended after the file was back: %v", err)
			}
		})
	}
}

// The identity of a journal is made once, and is no other's.
func TestIdentity(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	store := open(t, sqlite.Config{Path: path})
	id := store.Identity()
	must(t, store.Close())
	if again := open(t, sqlite.Config{Path: path}).Identity(); again != id || !strings.HasPrefix(id, "sqlite/") || len(id) < 30 {
		t.Errorf("the identity is %q, and %q when it is opened again", id, again)
	}
	if other := open(t, sqlite.Config{}).Identity(); other == id {
		t.Errorf("two journals are %q", id)
	}
}
