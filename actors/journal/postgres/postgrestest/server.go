package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/limpetrun/limpet/messages"
)

// Config configures a Server; zero fields mean the defaults.
type Config struct {
	// Dir is where the server keeps its data and its log, in a directory that
	// Close removes. If root starts the server, others must be able to enter
	// Dir (that of testing.TB.TempDir they are not). Defaults to the directory
	// for temporary files.
	Dir string
	// Host is the address to listen on. Defaults to 127.0.0.1.
	Host string
	// Port to listen on. Defaults to a free one.
	Port int
	// Settings are further ones of postgresql.conf, or others than the usual.
	Settings map[string]string
	// Command makes the command that starts the server; one that enters a
	// namespace first and then executes the given program in its own place
	// starts the server there. NewDatabase works from outside; what URL
	// returns may be reached from inside only. Defaults to exec.Command.
	Command func(name string, args ...string) *exec.Cmd
	// Logger is told of starts and ends. Defaults to none. What the server
	// itself says goes to the file that LogFile names.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Dir == "" {
		c.Dir = os.TempDir()
	}
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server is a PostgreSQL of one's own. Its methods may be called concurrently,
// those that start and end it one after another.
type Server struct {
	cfg      Config
	account  account
	programs string
	// dir holds all; sockets has a short name, for a socket's is limited.
	dir, sockets string
	port         int
	password     string
	databases    atomic.Int64

	mu      sync.Mutex
	running *postmaster // nil when stopped
}

// superuser of the server, and the name of its first database.
const superuser = "postgres"

// Start makes a server and waits until it takes connections. Errors:
// UNAVAILABLE if PostgreSQL is not installed; INVALID_ARGUMENT for a Dir that
// its account may not enter; INTERNAL, with the end of its
// log, if it does not start.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	s := &Server{cfg: cfg.withDefaults(), password: rand.Text()}
	if s.programs, err = findPrograms(ctx); err != nil {
		return nil, err
	}
	if s.account, err = findAccount(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.account.mayEnter(s.cfg.Dir); err != nil {
		return nil, err
	}
	if s.dir, err = s.makeDir(s.cfg.Dir, "postgres-"); err != nil {
		return nil, err
	}
	s.sockets = s.dir
	if len(s.dir) > socketDirMax {
		if s.sockets, err = s.makeDir("/tmp", "pg-"); err != nil {
			return nil, err
		}
	}
	if err := s.initialize(ctx); err != nil {
		return nil, err
	}
	return s, s.startAnywhere(ctx)
}

// socketDirMax is how long the name of the directory of the server's socket may
// be, in bytes: an address has 108, and the file's own name is in it.
const socketDirMax = 80

// makeDir makes a directory that only the server's account may look into.
func (s *Server) makeDir(parent, prefix string) (string, error) {
	dir, err := os.MkdirTemp(parent, prefix)
	if err == nil {
		err = s.account.give(dir)
	}
	if err != nil {
		return dir, messages.Errorf(messages.CodeInternal, "directory for PostgreSQL: %w", err)
	}
	return dir, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// LogFile is where the server's own messages are.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "log") }

// initialize makes the data directory. Nobody gets in without the password.
func (s *Server) initialize(ctx context.Context) error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(s.password+"\n"), 0o600); err != nil {
		return messages.Errorf(messages.CodeInternal, "password of PostgreSQL: %w", err)
	}
	if err := s.account.give(secret); err != nil {
		return messages.Errorf(messages.CodeInternal, "password of PostgreSQL: %w", err)
	}
	cmd := s.account.command(nil, filepath.Join(s.programs, "initdb"), "--pgdata="+s.data(), "--username="+superuser,
		"--pwfile="+secret, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir = s.dir
	if out, err := output(ctx, cmd); err != nil {
		return messages.Errorf(messages.CodeInternal, "initdb: %w: %s", err, out)
	}
	if err := os.Remove(secret); err != nil {
		return messages.Errorf(messages.CodeInternal, "password of PostgreSQL: %w", err)
	}
	return nil
}

// portTries is how many free ports are tried: another process may take one
// before PostgreSQL does.
const portTries = 5

// startAnywhere starts the server on the port asked for, or on a free one.
func (s *Server) startAnywhere(ctx context.Context) error {
	for try := 1; ; try++ {
		s.port = s.cfg.Port
		if s.port == 0 {
			port, err := freePort(s.cfg.Host)
			if err != nil {
				return err
			}
			s.port = port
		}
		err := s.start(ctx)
		if err == nil || s.cfg.Port != 0 || try == portTries || ctx.Err() != nil {
			return err
		}
	}
}

// freePort returns a port that is free on the address, or on loopback if the
// address is not of this namespace.
func freePort(host string) (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return 0, messages.Errorf(messages.CodeInternal, "find a free port for PostgreSQL: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return 0, messages.Errorf(messages.CodeInternal, "find a free port for PostgreSQL: %w", err)
	}
	return port, nil
}

// URL is where clients find the server's first database. It has the password.
func (s *Server) URL() string { return s.urlOf(superuser) }

func (s *Server) urlOf(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, s.password),
		Host: s.Addr(), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Addr is the address, host and port, that the server listens on.
func (s *Server) Addr() string { return net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.port)) }

// PID is the process id of the server's first process, the parent of all
// others; 0 if it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return 0
	}
	return s.running.process.Pid
}

// NewDatabase makes an empty database and returns its URL.
func (s *Server) NewDatabase(ctx context.Context) (url string, err error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", messages.Errorf(messages.CodeUnavailable, "make database %s: %w", name, err)
	}
	return s.urlOf(name), nil
}

// ShiftClock lets the wall clock that the first database shows be ahead of the true
// one: clock_timestamp() is another function for whoever connects after the first
// call.
func (s *Server) ShiftClock(ctx context.Context, ahead time.Duration) (err error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if _, err := conn.Exec(ctx, shiftedClock); err != nil {
		return messages.Errorf(messages.CodeUnavailable, "make a clock that can be set: %w", err)
	}
	if _, err := conn.Exec(ctx, "UPDATE shifted.clock SET ahead = $1", ahead); err != nil {
		return messages.Errorf(messages.CodeUnavailable, "set the clock: %w", err)
	}
	return nil
}

// shiftedClock is found before the catalog, which otherwise comes first.
const shiftedClock = `
CREATE SCHEMA IF NOT EXISTS shifted;
CREATE TABLE IF NOT EXISTS shifted.clock AS SELECT interval '0' AS ahead;
CREATE OR REPLACE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql
	AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM shifted.clock';
ALTER DATABASE ` + superuser + ` SET search_path = public, shifted, pg_catalog`

// connect goes through the file system, which all network namespaces share.
func (s *Server) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", s.sockets, s.port, superuser, superuser))
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "connect to PostgreSQL: %w", err)
	}
	config.Password = s.password
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, messages.Errorf(messages.CodeUnavailable, "connect to PostgreSQL: %w", err)
	}
	return conn, nil
}
