package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/limpetrun/limpet/actors/journal"
)

// fillPage is how many runs fillMetadata reads at a time.
const fillPage = 500

// fillMetadata reads the metadata of runs that were stored before it was kept
// beside them from their first entries, once for each database. The connection
// has the lock of the migrations.
func fillMetadata(ctx context.Context, conn *pgx.Conn) error {
	var pending bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM limpet_metadata_to_fill)").Scan(&pending); err != nil || !pending {
		return err
	}
	for after, more := "", true; more; {
		next, err := fillMetadataPage(ctx, conn, after)
		if err != nil {
			return err
		}
		after, more = next, next != ""
	}
	_, err := conn.Exec(ctx, "DELETE FROM limpet_metadata_to_fill")
	return err
}

// fillMetadataPage does it for the runs after one, and returns the last of them,
// "" at the end.
func fillMetadataPage(ctx context.Context, conn *pgx.Conn, after string) (last string, err error) {
	rows, err := conn.Query(ctx, "SELECT r.run_id, e.data FROM limpet_runs r JOIN limpet_entries e ON e.run_id = r.run_id AND e.number = 1 "+
		"WHERE r.run_id > $1 ORDER BY r.run_id LIMIT $2", after, fillPage)
	if err != nil {
		return "", err
	}
	var inserts pgx.Batch
	var entry []byte
	if _, err := pgx.ForEachRow(rows, []any{&last, &entry}, func() error {
		for _, pair := range journal.Pairs(journal.MetadataOf(entry)) {
			inserts.Queue("INSERT INTO limpet_run_metadata (run_id, pair, workflow, status, child, created_at) "+
				"SELECT run_id, $2, workflow, status, (parent_run IS NOT NULL)::int, created_at FROM limpet_runs WHERE run_id = $1 "+
				"ON CONFLICT DO NOTHING", last, pair[:])
		}
		return nil
	}); err != nil {
		return "", err
	}
	return last, conn.SendBatch(ctx, &inserts).Close()
}
