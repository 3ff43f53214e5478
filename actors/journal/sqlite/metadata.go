package sqlite

import (
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/limpetrun/limpet/actors/journal"
)

const insertMetadataSQL = "INSERT OR IGNORE INTO run_metadata (run, pair, workflow, status, child, created_at, run_id) VALUES (?, ?, ?, ?, ?, ?, ?)"

// insertMetadata stores the metadata of a run.
func insertMetadata(stmt *sqlite.Stmt, seq int64, row *journal.Row, metadata map[string]string) error {
	g := journal.GroupOf(row)
	for _, pair := range journal.Pairs(metadata) {
		stmt.BindInt64(1, seq)
		stmt.BindBytes(2, pair[:])
		stmt.BindText(3, g.Workflow)
		stmt.BindInt64(4, int64(g.Status))
		stmt.BindInt64(5, int64(g.Child))
		stmt.BindInt64(6, journal.Micros(row.CreatedAt))
		stmt.BindText(7, row.RunID)
		if err := run(stmt); err != nil {
			return err
		}
	}
	return nil
}

// fillMetadata reads the metadata of runs that were stored before it was kept
// beside them from their first entries, once for each journal.
func fillMetadata(conn *sqlite.Conn) (err error) {
	pending, err := queryInt(conn, "SELECT count(*) FROM metadata_to_fill")
	if err != nil || pending == 0 {
		return err
	}
	defer sqlitex.Transaction(conn)(&err)
	insert, err := conn.Prepare(insertMetadataSQL)
	if err != nil {
		return err
	}
	var failed error
	err = each(conn, "SELECT r.seq, e.data, "+rowColumns+" FROM runs r JOIN entries e ON e.run = r.seq AND e.number = 1", func(s *sqlite.Stmt) bool {
		entry := make([]byte, s.ColumnLen(1))
		s.ColumnBytes(1, entry)
		row := readRow(s, 2)
		failed = insertMetadata(insert, s.ColumnInt64(0), &row, journal.MetadataOf(entry))
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return sqlitex.Execute(conn, "DELETE FROM metadata_to_fill", nil)
}
