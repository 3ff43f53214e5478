// Package postgres keeps a journal in a PostgreSQL database, version 14 or
// newer, which several servers share.
//
// Data flow: Append → one round trip (a lock that is shared by all but the
// deletion, one statement for all appends of the batch, the commit) → a commit
// that is flushed when Append returns. Reads go to connections of their own,
// each call to one snapshot; they see every commit that returned before.
//
// Invariants:
//   - The key of limpet_entries, run and number, lets one of two servers that
//     append the same entry win. Nothing else is trusted: a server knows nothing
//     about a run but what the statement itself finds.
//   - Entry n is added when n-1 is visible to the statement, so its transaction
//     begins after that of n-1 has ended: rows never go back.
//   - Statements add in the order of run ids, so that two batches do not wait
//     for each other. When they collide nevertheless, PostgreSQL rolls one back
//     as a whole, and it is done again.
//   - Every call ends in time, whatever the database does (CallTimeout): one
//     without an answer ends with JOURNAL_UNAVAILABLE and may have been carried
//     out.
//   - The password is in no error.
//
// Connections are sessions: a pooler in between must not share them between
// transactions.
//
// Imports only journal and messages.
package postgres

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// DefaultCommits is how many commits at one time are best: while one is
// flushed, the next is made ready.
const DefaultCommits = 4

// Config configures a Store; zero fields mean the defaults.
type Config struct {
	// URL of the database: postgres://user:password@host:port/database?options,
	// or the key=value form; https://www.postgresql.org/docs/current/libpq-connect.html.
	// With several hosts and target_session_attrs=read-write it finds the one
	// that takes writes. The tables are in the first schema of the search_path.
	// Required.
	URL string
	// Commits is how many commits can be under way at one time: what
	// journal.CommitterConfig.InFlight should be. Defaults to DefaultCommits.
	Commits int
	// Readers is the number of connections for reading. Defaults to 4.
	Readers int
	// CallTimeout is how long a call may take. Reads, which may bring much, have
	// three times as long, and appends a second more for each MiB of entries.
	// Defaults to 10 s.
	CallTimeout time.Duration
	// Hooks are told what happens; nil ones are not called.
	Hooks Hooks
}

// Hooks are called on the goroutine of the call that they tell of.
type Hooks struct {
	// Unsafe is called by Open for a setting of the database with which a crash
	// may lose commits.
	Unsafe func(setting, value string)
	// Collided is called when an append is done again at once because another
	// transaction came in between.
	Collided func(err error)
}

func (c Config) withDefaults() Config {
	if c.Commits <= 0 {
		c.Commits = DefaultCommits
	}
	if c.Readers <= 0 {
		c.Readers = 4
	}
	if c.CallTimeout <= 0 {
		c.CallTimeout = 10 * time.Second
	}
	return c
}

const (
	// otherWriters are the connections for writing beside those for commits:
	// for definitions, heartbeats and the deletion.
	otherWriters = 3
	// connectTimeout bounds the making of a connection.
	connectTimeout = 5 * time.Second
	// readPatience is how many CallTimeouts a read may take.
	readPatience = 3
	// abandonedAfter is after how many CallTimeouts the database ends what the
	// caller has long given up; calls end by their context.
	abandonedAfter = 30
	// lockFamily is the upper half of the advisory locks, "Limp".
	lockFamily = 0x4c696d70
	// versionLeast is the oldest version of PostgreSQL, as server_version_num.
	versionLeast = 140000
)

// Store is a journal.Store in a PostgreSQL database.
type Store struct {
	cfg Config
	// name is host, port and database, without user and password.
	name string
	id   string

	// calls is held for reading by every running call and for writing by
	// Close.
	calls  sync.RWMutex
	closed bool

	writers, readers *pgxpool.Pool
}

var _ journal.Store = (*Store)(nil)

// Open opens the journal in a database, and makes or updates its tables.
// Errors: INVALID_ARGUMENT for a URL that is none, a user or database that the
// server does not let in or does not know, and a server that is too old;
// JOURNAL_NEWER if a later version of Limpet has changed the tables;
// JOURNAL_UNAVAILABLE for whatever else keeps it from being opened.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	s := &Store{cfg: cfg.withDefaults()}
	config, err := s.parse()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := s.prepareDatabase(ctx, config.ConnConfig); err != nil {
		return nil, s.failOpen(err)
	}
	if s.id, err = s.readIdentity(ctx, config.ConnConfig); err != nil {
		return nil, s.failOpen(err)
	}
	if s.writers, err = s.openPool(ctx, config, s.cfg.Commits+otherWriters, nil, prepareWriter); err != nil {
		return nil, s.failOpen(err)
	}
	// Each call reads from one snapshot.
	snapshots := map[string]string{"default_transaction_isolation": "repeatable read", "default_transaction_read_only": "on"}
	if s.readers, err = s.openPool(ctx, config, s.cfg.Readers, snapshots, nil); err != nil {
		return nil, s.failOpen(err)
	}
	return s, nil
}

// CheckURL returns INVALID_ARGUMENT for a URL that Open would not read.
func CheckURL(url string) error {
	_, err := (&Store{cfg: Config{URL: url}}).parse()
	return err
}

// parse reads the URL and sets what all connections have in common.
func (s *Store) parse() (*pgxpool.Config, error) {
	if s.cfg.URL == "" {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "journal: the URL of the PostgreSQL database is empty")
	}
	config, err := pgxpool.ParseConfig(s.cfg.URL)
	if err != nil {
		// Its text has the URL in it.
		return nil, messages.Errorf(messages.CodeInvalidArgument, "journal: the URL of the PostgreSQL database cannot be read: %s", withoutSecrets(err.Error(), s.cfg.URL))
	}
	c := config.ConnConfig
	s.name = net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))) + "/" + c.Database
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	c.DialFunc = dial
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "limpet"
	}
	return config, nil
}

// withoutSecrets takes what may be a password out of a text.
func withoutSecrets(text, from string) string {
	u, err := url.Parse(from)
	if err != nil {
		// It cannot be told where the password is.
		return "it is not a URL; in a password / : @ ? # % and spaces are written as %2F %3A %40 %3F %23 %25 and %20"
	}
	text = strings.ReplaceAll(text, from, "…")
	secrets := []string{u.Query().Get("password")}
	if password, ok := u.User.Password(); ok {
		secrets = append(secrets, password)
	}
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
			text = strings.ReplaceAll(text, url.QueryEscape(secret), "…")
		}
	}
	return text
}

// planSettings make statements use the indexes, which they are written for:
// plans are kept, and a plan that was made while a table was small would read
// all of it later on.
var planSettings = map[string]string{
	"plan_cache_mode":   "force_generic_plan",
	"enable_seqscan":    "off",
	"enable_hashjoin":   "off",
	"enable_mergejoin":  "off",
	"enable_bitmapscan": "off",
	"jit":               "off",
}

// openPool opens connections for one purpose.
func (s *Store) openPool(ctx context.Context, config *pgxpool.Config, size int, settings map[string]string, prepare func(context.Context, *pgx.Conn) error) (*pgxpool.Pool, error) {
	config = config.Copy()
	config.MaxConns = int32(size)
	config.MinConns, config.MinIdleConns = 0, 0
	config.AfterConnect = prepare
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	params := config.ConnConfig.RuntimeParams
	for name, value := range map[string]string{
		"statement_timeout":                   strconv.FormatInt(abandonedAfter*s.cfg.CallTimeout.Milliseconds(), 10),
		"idle_in_transaction_session_timeout": strconv.FormatInt(abandonedAfter*s.cfg.CallTimeout.Milliseconds(), 10),
		"default_transaction_isolation":       "read committed",
	} {
		params[name] = value
	}
	maps.Copy(params, planSettings)
	maps.Copy(params, settings)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// prepareDatabase checks the server and brings the schema up to date.
func (s *Store) prepareDatabase(ctx context.Context, config *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	check := s.checkServer(ctx, conn)
	if err := errors.Join(check, conn.Close(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	return migrate(ctx, config)
}

func (s *Store) checkServer(ctx context.Context, conn *pgx.Conn) error {
	settings := make(map[string]string)
	rows, err := conn.Query(ctx, "SELECT name, setting FROM pg_settings "+
		"WHERE name IN ('server_version_num', 'server_version', 'server_encoding', 'fsync', 'full_page_writes', 'synchronous_commit')")
	if err != nil {
		return err
	}
	var name, value string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		settings[name] = value
		return nil
	}); err != nil {
		return err
	}
	if version, err := strconv.Atoi(settings["server_version_num"]); err != nil || version < versionLeast {
		return messages.Errorf(messages.CodeInvalidArgument, "PostgreSQL %s is too old, it must be %d or newer", settings["server_version"], versionLeast/10000)
	}
	if encoding := settings["server_encoding"]; encoding != "UTF8" {
		return messages.Errorf(messages.CodeInvalidArgument, "the encoding of the database is %s, it must be UTF8", encoding)
	}
	if s.cfg.Hooks.Unsafe != nil {
		for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
			if settings[setting] == "off" {
				s.cfg.Hooks.Unsafe(setting, "off")
			}
		}
	}
	return nil
}

// Identity implements journal.Store. A database that was restored from a backup has
// that of the one that was saved.
func (s *Store) Identity() string { return s.id }

func (s *Store) readIdentity(ctx context.Context, config *pgx.ConnConfig) (id string, err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return "", err
	}
	err = conn.QueryRow(ctx, "SELECT id FROM limpet_identity").Scan(&id)
	return id, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// String names the database, without user and password.
func (s *Store) String() string { return "postgres://" + s.name }

// Commits returns how many commits can be under way at one time: what
// journal.CommitterConfig.InFlight should be for this store.
func (s *Store) Commits() int { return s.cfg.Commits }

// Close implements journal.Store.
func (s *Store) Close() error {
	s.calls.Lock()
	defer s.calls.Unlock()
	if !s.closed {
		s.closed = true
		s.release()
	}
	return nil
}

func (s *Store) release() {
	for _, pool := range []*pgxpool.Pool{s.writers, s.readers} {
		if pool != nil {
			pool.Close()
		}
	}
}

// enter begins a call, with a context that ends it after a time; the caller
// calls leave when it is done.
func (s *Store) enter(ctx context.Context, limit time.Duration) (_ context.Context, leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, messages.Errorf(messages.CodeJournalUnavailable, "journal %s: %w", s.name, err)
	}
	s.calls.RLock()
	if s.closed {
		s.calls.RUnlock()
		return nil, nil, messages.Errorf(messages.CodeJournalUnavailable, "journal %s: it is closed", s.name)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() { cancel(); s.calls.RUnlock() }, nil
}

// write calls fn with a connection that may change things. When it fails it is
// not known whether fn has.
func (s *Store) write(ctx context.Context, what string, fn func(context.Context, *pgxpool.Conn) error) error {
	ctx, leave, err := s.enter(ctx, s.cfg.CallTimeout)
	if err != nil {
		return err
	}
	defer leave()
	return s.fail(what, s.on(ctx, s.writers, fn))
}

// on calls fn with a connection of a pool.
func (s *Store) on(ctx context.Context, pool *pgxpool.Pool, fn func(context.Context, *pgxpool.Conn) error) error {
	conn, err := pool.Acquire(ctx)
	if err == nil {
		err = fn(ctx, conn)
		conn.Release()
	}
	var coded *messages.Error
	if err != nil && !errors.As(err, &coded) && lost(err) {
		pool.Reset()
	}
	return err
}

// read calls fn, once more if the connection was broken, which is only noticed
// by using it.
func (s *Store) read(ctx context.Context, what string, fn func(context.Context, *pgxpool.Conn) error) error {
	ctx, leave, err := s.enter(ctx, readPatience*s.cfg.CallTimeout)
	if err != nil {
		return err
	}
	defer leave()
	err = s.on(ctx, s.readers, fn)
	var coded *messages.Error
	if err != nil && !errors.As(err, &coded) && lost(err) && ctx.Err() == nil {
		err = s.on(ctx, s.readers, fn)
	}
	return s.fail(what, err)
}

// Now implements journal.Store: the clock of the database.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.read(ctx, "read the clock", func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
	})
	return now.UTC(), err
}
