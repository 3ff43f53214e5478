package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
	"github.com/limpetrun/limpet/cmd/chaos/internal/ground"
)

// database is a PostgreSQL of the run's own.
type database struct {
	*postgrestest.Server
	// log is where its log is kept.
	log string
}

// access lets in whoever has the password, from any node.
const access = `local all all scram-sha-256
host all all 0.0.0.0/0 scram-sha-256
`

// startDatabase returns what starts it, with all that it has in the directory.
func startDatabase(dir string) func(context.Context, string, func(string, ...string) *exec.Cmd) (ground.Database, error) {
	return func(ctx context.Context, host string, wrap func(string, ...string) *exec.Cmd) (ground.Database, error) {
		hba := filepath.Join(dir, "pg_hba.conf")
		if err := os.WriteFile(hba, []byte(access), 0o644); err != nil {
			return nil, err
		}
		s, err := postgrestest.Start(ctx, postgrestest.Config{Dir: dir, Host: host, Command: wrap, Settings: map[string]string{"hba_file": hba}})
		if err != nil {
			return nil, err
		}
		d := &database{s, filepath.Join(dir, "pg.log")}
		if err := d.SetClock(ctx, 0); err != nil {
			return nil, errors.Join(err, d.Close())
		}
		return d, nil
	}
}

// Start starts it again.
func (d *database) Start(ctx context.Context) error { return d.Restart(ctx) }

// SetClock lets its clock be ahead of the true one.
func (d *database) SetClock(ctx context.Context, ahead time.Duration) error {
	return d.ShiftClock(ctx, ahead)
}

// Close ends it and keeps its log.
func (d *database) Close() error {
	text, err := os.ReadFile(d.LogFile())
	if err == nil {
		err = os.WriteFile(d.log, text, 0o600)
	}
	return errors.Join(err, d.Server.Close())
}
