package postgres

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/limpetrun/limpet/messages"
)

// migrations are only ever added to; each runs in one transaction.
//
//go:embed migrations/*.sql
var migrations embed.FS

// versionTable says which migrations were done.
const versionTable = "limpet_schema"

// migrationLock is the advisory lock of the server that migrates.
const migrationLock = lockFamily<<32 | 1

// migrate brings the schema up to date. Of servers that start at the same time
// one does it and the others wait.
func migrate(ctx context.Context, config *pgx.ConnConfig) (err error) {
	guard, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	// The lock ends with its session.
	defer func() { err = errors.Join(err, guard.Close(context.WithoutCancel(ctx))) }()
	if _, err := guard.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
		return err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	versions, err := database.NewStore(goose.DialectPostgres, versionTable)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider("", db, files, goose.WithStore(versions), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	current, known, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > known {
		return messages.Errorf(messages.CodeJournalNewer, "its schema is version %d, this version of limpet knows up to %d", current, known)
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	return fillMetadata(ctx, guard)
}
