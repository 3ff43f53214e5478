// Package sqlite keeps a journal in one file on the machine of its server: the
// embedded store. A commit is on stable storage when Append returns (WAL,
// synchronous=FULL).
//
// Data flow: Append → writer connection (one transaction a batch) → WAL →
// checkpointer (in the background) → database file. Reads go to a few
// connections of their own and see every commit that returned before.
//
// Invariants:
//   - One Store at a time has the file: a lock on FILE.lock says so. Therefore
//     what the writer knows in memory about live runs (number of the last
//     entry, row) is true, and compare-and-swap of a live run reads nothing.
//   - A failed transaction leaves nothing, on disk or in memory.
//   - Nothing is acknowledged, and nothing read, once a file was found deleted,
//     replaced or cut short: it is looked for four times a second.
//   - A file that is corrupt, newer or of another application is not changed.
//
// The SQLite library is translated to Go, so there is no C compiler to be had;
// the locking needs a Unix.
//
// Imports only journal and messages.
package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Config configures a Store; zero fields mean the defaults.
type Config struct {
	// Path of the database file. Required. The file is created with mode 0600
	// and its directory with 0700 if there is none; FILE-wal, FILE-shm and
	// FILE.lock appear beside it.
	Path string
	// Readers is the number of connections for reading. Defaults to 3.
	Readers int
	// CheckBytesMax is the size up to which all pages of the file are checked
	// when it is opened, in bytes; negative checks files of any size. Of a
	// larger file the header and the size are. Defaults to 64 MiB, which takes
	// about a second.
	CheckBytesMax int64
	// CheckpointFrames is how many pages the WAL gathers before they are
	// copied to the database file. Defaults to 2,000, about 8 MiB.
	CheckpointFrames int
	// Hooks are told what happens; nil ones are not called.
	Hooks Hooks
}

// Hooks are called on the store's own goroutines. They must not block.
type Hooks struct {
	// Checkpointed is called after a checkpoint: pages copied, the time it
	// took, and the part of it in which commits had to wait.
	Checkpointed func(pages int, took, stalled time.Duration)
	// CheckpointFailed is called when a checkpoint failed; it is tried again
	// after the next commits. Nothing is lost meanwhile, but the WAL grows.
	CheckpointFailed func(err error)
	// Lost is called when a file of the journal is found deleted, replaced or cut
	// short while it is in use; every call fails from then on. Found is called when
	// the file that was missing is back, and calls are served again.
	Lost  func(err error)
	Found func()
}

func (c Config) withDefaults() Config {
	if c.Readers <= 0 {
		c.Readers = 3
	}
	if c.CheckBytesMax == 0 {
		c.CheckBytesMax = 64 << 20
	}
	if c.CheckpointFrames <= 0 {
		c.CheckpointFrames = 2000
	}
	return c
}

// Store is a journal.Store in a SQLite file.
type Store struct {
	cfg  Config
	path string
	id   string
	lock *os.File

	// calls is held for reading by every running call and for writing by
	// Close.
	calls  sync.RWMutex
	closed bool

	// writing has room for one: who puts something in may write, and owns w.
	writing chan struct{}
	w       *writer
	readers *sqlitex.Pool
	ckpt    *checkpointer
	watch   *watch
	beats   journal.Heartbeats
}

var _ journal.Store = (*Store)(nil)

// Open opens the journal in a file, or makes one. Errors: JOURNAL_IN_USE if
// another Store has it, JOURNAL_CORRUPT if it is damaged or no database,
// JOURNAL_NEWER if a later version of Limpet wrote it, INVALID_ARGUMENT for a
// path that cannot be one, JOURNAL_UNAVAILABLE for whatever else keeps it from
// being opened. After an error the file is as it was.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	cfg = cfg.withDefaults()
	defer func() { err = denied(cfg.Path, err) }()
	path, err := preparePath(cfg.Path)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, path: path, writing: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	var beginning bool
	if s.lock, beginning, err = acquire(path); err != nil {
		return nil, err
	}
	if err := inspect(ctx, path, beginning, cfg.CheckBytesMax); err != nil {
		return nil, err
	}
	conn, err := openWriter(ctx, path)
	if err != nil {
		return nil, s.fail("open", err)
	}
	s.w = &writer{conn: conn, liveMax: liveMax}
	if s.id, err = queryText(conn, "SELECT id FROM identity"); err != nil {
		return nil, s.fail("open", err)
	}
	if err := s.w.prepare(); err != nil {
		return nil, s.fail("open", err)
	}
	if s.readers, err = sqlitex.NewPool(path, sqlitex.PoolOptions{
		Flags: sqlite.OpenReadOnly, PoolSize: cfg.Readers, PrepareConn: prepareReader,
	}); err != nil {
		return nil, s.fail("open", err)
	}
	if s.ckpt, err = startCheckpointer(s); err != nil {
		return nil, s.fail("open", err)
	}
	if err := begun(s.lock); err != nil {
		return nil, s.fail("open", err)
	}
	if s.watch, err = startWatch(path, &s.cfg.Hooks); err != nil {
		return nil, s.fail("open", err)
	}
	return s, nil
}

// denied gives an error of opening its code if it is one that no waiting
// mends: the process may not do it, the file system is read-only, or the path leads
// to no file.
func denied(path string, err error) error {
	is := func(all ...error) bool {
		return slices.ContainsFunc(all, func(one error) bool { return errors.Is(err, one) })
	}
	var code messages.Code
	switch result := sqlite.ErrCode(err).ToPrimary(); {
	case err == nil:
		return nil
	case result == sqlite.ResultReadOnly, result == sqlite.ResultPerm, is(fs.ErrPermission, syscall.EROFS):
		code = messages.CodeJournalDenied
	case is(syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENAMETOOLONG):
		code = messages.CodeInvalidArgument
	default:
		return err
	}
	var coded *messages.Error
	if errors.As(err, &coded) {
		return messages.Errorf(code, "%s", coded.Message)
	}
	return messages.Errorf(code, "journal %q: %w", path, err)
}

// preparePath returns the path that the file has without symbolic links, in a
// directory that exists.
func preparePath(path string) (string, error) {
	if path == "" {
		return "", messages.Errorf(messages.CodeInvalidArgument, "journal: the path of its file is empty")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", messages.Errorf(messages.CodeInvalidArgument, "journal %q: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", messages.Errorf(messages.CodeJournalUnavailable, "journal %q: %w", path, err)
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", messages.Errorf(messages.CodeJournalUnavailable, "journal %q: %w", path, err)
	}
	return real, nil
}

// openWriter opens the writing connection, brings the schema up to date and
// leaves an empty WAL of full size.
func openWriter(ctx context.Context, path string) (_ *sqlite.Conn, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite, sqlite.OpenWAL)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	conn.SetBusyTimeout(10 * time.Second)
	for _, pragma := range writerPragmas {
		if err := sqlitex.ExecuteTransient(conn, pragma, nil); err != nil {
			return nil, err
		}
	}
	if err := sqlitemigration.Migrate(ctx, conn, schema); err != nil {
		return nil, err
	}
	if err := fillMetadata(conn); err != nil {
		return nil, err
	}
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA wal_checkpoint(TRUNCATE)", nil); err != nil {
		return nil, err
	}
	if err := extendWAL(path + "-wal"); err != nil {
		return nil, err
	}
	return conn, syncDirectory(filepath.Dir(path))
}

// syncDirectory makes the names of new files durable; SQLite does not do so
// for a database and its WAL.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

var writerPragmas = []string{
	"PRAGMA synchronous = FULL",
	// The page cache is the kernel's; a large one of SQLite's own costs a scan
	// of its hash table in every commit that splits a page.
	"PRAGMA cache_size = -8192",
	"PRAGMA temp_store = MEMORY",
	// The checkpointer does it. This is for the case that it cannot.
	"PRAGMA wal_autocheckpoint = 50000",
}

// walBytes is the size that the WAL gets when the journal is opened. Writing
// over what is there is synced in half the time that growing takes.
const walBytes = 8 << 20

// extendWAL fills up an empty WAL with zeros, which end it for SQLite.
func extendWAL(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() != 0 {
		return err
	}
	if _, err := file.Write(make([]byte, walBytes)); err != nil {
		return err
	}
	return file.Sync()
}

func prepareReader(conn *sqlite.Conn) error {
	return sqlitex.ExecuteTransient(conn, "PRAGMA cache_size = -4096", nil)
}

// Identity implements journal.Store.
func (s *Store) Identity() string { return s.id }

// Now implements journal.Store: the clock of the process, for no other has the
// file.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, err
	}
	defer s.calls.RUnlock()
	return time.Now(), nil
}

// Time implements journal.Store.
func (s *Store) Time(ctx context.Context) (now time.Time, kept journal.KeptTime, err error) {
	err = s.read(ctx, "read the time", func(conn *sqlite.Conn) error {
		now, kept.Alone = time.Now(), true
		return each(conn, "SELECT version, data FROM kept_time", func(s *sqlite.Stmt) bool {
			kept.Version, kept.Data = uint64(s.ColumnInt64(0)), make([]byte, s.ColumnLen(1))
			s.ColumnBytes(1, kept.Data)
			return false
		})
	})
	return now, kept, err
}

// KeepTime implements journal.Store.
func (s *Store) KeepTime(ctx context.Context, k journal.KeptTime) (kept bool, err error) {
	err = s.write(ctx, "keep the time", func(w *writer) error {
		stmt, err := w.conn.Prepare("INSERT INTO kept_time (id, version, data) SELECT 1, ?1, ?2 " +
			"WHERE ?1 = 1 + coalesce((SELECT version FROM kept_time), 0) " +
			"ON CONFLICT (id) DO UPDATE SET version = excluded.version, data = excluded.data")
		if err != nil {
			return err
		}
		stmt.BindInt64(1, int64(k.Version))
		stmt.BindBytes(2, k.Data)
		if err := run(stmt); err != nil {
			return err
		}
		kept = w.conn.Changes() > 0
		return nil
	})
	return kept && err == nil, err
}

// Heartbeat implements journal.Store. Only servers of this process share the
// file.
func (s *Store) Heartbeat(ctx context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.calls.RUnlock()
	return s.beats.Heartbeat(server, data), nil
}

// Close implements journal.Store. The WAL is copied to the file and removed.
func (s *Store) Close() error {
	s.calls.Lock()
	defer s.calls.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.release()
}

// release closes whatever is open. The writer goes last, so that it is the one
// that copies the WAL.
func (s *Store) release() error {
	var errs []error
	if s.watch != nil {
		s.watch.end()
	}
	if s.ckpt != nil {
		errs = append(errs, s.ckpt.stop())
	}
	if s.readers != nil {
		errs = append(errs, s.readers.Close())
	}
	if s.w != nil {
		errs = append(errs, s.w.conn.Close())
	}
	if s.lock != nil {
		errs = append(errs, release(s.lock))
	}
	if err := errors.Join(errs...); err != nil {
		return s.fail("close", err)
	}
	return nil
}

// enter begins a call; the caller calls s.calls.RUnlock when it is done.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return messages.Errorf(messages.CodeJournalUnavailable, "journal %q: %w", s.path, err)
	}
	s.calls.RLock()
	if s.closed {
		s.calls.RUnlock()
		return messages.Errorf(messages.CodeJournalUnavailable, "journal %q: it is closed", s.path)
	}
	if lost := s.watch.lost.Load(); lost != nil {
		s.calls.RUnlock()
		return lost
	}
	return nil
}

// beginWriting waits until nobody else writes; <-s.writing ends it.
func (s *Store) beginWriting(ctx context.Context) error {
	select {
	case s.writing <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return messages.Errorf(messages.CodeJournalUnavailable, "journal %q: waiting to write: %w", s.path, ctx.Err())
	}
}

// fail gives an error of SQLite or of the system its code.
func (s *Store) fail(what string, err error) error { return failed(s.path, what, err) }

func failed(path, what string, err error) error {
	var coded *messages.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	code := messages.CodeJournalUnavailable
	var errno syscall.Errno
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		code = messages.CodeJournalCorrupt
	case sqlite.ResultError:
		// Also what ErrCode says of an error that is not SQLite's.
		if !errors.As(err, &errno) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			code = messages.CodeInternal
		}
	case sqlite.ResultConstraint, sqlite.ResultMismatch, sqlite.ResultMisuse, sqlite.ResultRange, sqlite.ResultSchema:
		code = messages.CodeInternal
	}
	return messages.Errorf(code, "journal %q: %s: %w", path, what, err)
}
