package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
)

// closeTimeout is how long the database may take to be dropped.
const closeTimeout = 30 * time.Second

// database is an empty one for the time of a measurement.
type database struct {
	url string
	// private is a PostgreSQL that was started for it; nil if it was there, and
	// then admin is its address and name that of the database.
	private     *postgrestest.Server
	admin, name string
}

// openDatabase makes a database on the PostgreSQL of the address, or on a
// private one, which keeps what it has in a directory of its own in dir (empty:
// the system's for temporary files).
func openDatabase(ctx context.Context, address, dir string) (*database, error) {
	d := &database{admin: address, name: fmt.Sprintf("limpet_bench_%d_%d", os.Getpid(), time.Now().UnixMilli())}
	if address == "" {
		var err error
		if d.private, err = postgrestest.Start(ctx, postgrestest.Config{Dir: dir}); err != nil {
			return nil, err
		}
		if d.url, err = d.private.NewDatabase(ctx); err != nil {
			return nil, errors.Join(err, d.private.Close())
		}
		return d, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" {
		// Without the address: it holds a password.
		return nil, messages.Errorf(messages.CodeInvalidArgument, "LIMPET_POSTGRES_URL is not postgres://USER:PASSWORD@HOST/DATABASE")
	}
	if err := d.execute(ctx, "CREATE DATABASE "+d.name); err != nil {
		return nil, err
	}
	u.Path = "/" + d.name
	d.url = u.String()
	return d, nil
}

// execute does something to databases as such.
func (d *database) execute(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, d.admin)
	if err != nil {
		return messages.Errorf(messages.CodeJournalUnavailable, "connect to the PostgreSQL of LIMPET_POSTGRES_URL: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "LIMPET_POSTGRES_URL: %s: %w", sql, err)
	}
	return nil
}

// close leaves nothing of the database.
func (d *database) close() error {
	if d.private != nil {
		return d.private.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return d.execute(ctx, "DROP DATABASE "+d.name+" WITH (FORCE)")
}

// cpu is the CPU time of all processes of a private PostgreSQL; 0 for another.
func (d *database) cpu() (time.Duration, error) {
	if d.private == nil {
		return 0, nil
	}
	file := filepath.Join(filepath.Dir(d.private.LogFile()), "data", "postmaster.pid")
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return procs.TreeCPU(pid)
}

// size of the database on disk, in bytes.
func (d *database) size(ctx context.Context) (bytes int64, err error) {
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = conn.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&bytes)
	return bytes, err
}

// insertConnections insert at the same time.
const insertConnections = 4

const (
	limitTable  = "CREATE TABLE limpet_limit (run_id text, number int, entry bytea, PRIMARY KEY (run_id, number))"
	limitInsert = "INSERT INTO limpet_limit SELECT * FROM unnest($1::text[], $2::int[], $3::bytea[])"
)

// limits measures what PostgreSQL does when nothing else runs: rows a second in
// batches, and commits of one row.
func (d *database) limits(ctx context.Context, l *Limits, batch, entryBytes int) (err error) {
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, limitTable); err != nil {
		return err
	}
	if l.PostgresCommitsPerSLimit, err = insertRows(ctx, conn, "one", 1, entryBytes); err != nil {
		return err
	}
	l.InsertBatch = batch
	rates, errs := make([]float64, insertConnections), make([]error, insertConnections)
	var inserting sync.WaitGroup
	for i := range insertConnections {
		inserting.Go(func() {
			conn, err := pgx.Connect(ctx, d.url)
			if err == nil {
				rates[i], err = insertRows(ctx, conn, fmt.Sprintf("many-%d", i), batch, entryBytes)
				err = errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
			}
			errs[i] = err
		})
	}
	inserting.Wait()
	for _, rate := range rates {
		l.InsertPerSLimit += rate
	}
	_, err = conn.Exec(ctx, "DROP TABLE limpet_limit")
	return errors.Join(append(errs, err)...)
}

// insertTime is how long each of these limits is measured.
const insertTime = time.Second

// insertRows inserts batches for a while and returns the rows a second. The
// rows are as those of runs: four to a run, of as many runs as fit into a batch.
func insertRows(ctx context.Context, conn *pgx.Conn, name string, batch, entryBytes int) (float64, error) {
	entry := make([]byte, entryBytes)
	runs, numbers, entries := make([]string, batch), make([]int32, batch), make([][]byte, batch)
	begin, n := time.Now(), 0
	for ; time.Since(begin) < insertTime; n++ {
		for i := range batch {
			runs[i], numbers[i], entries[i] = fmt.Sprintf("limit-%s-%d-%d", name, n/4, i), int32(n%4+1), entry
		}
		if _, err := conn.Exec(ctx, limitInsert, runs, numbers, entries); err != nil {
			return 0, err
		}
	}
	return perSecond(n*batch, time.Since(begin)), nil
}
