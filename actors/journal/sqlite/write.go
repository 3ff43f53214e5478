package sqlite

import (
	"context"
	"encoding/json"

	"zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
)

// liveRun is what the writer knows about a run.
type liveRun struct {
	seq  int64
	last uint64
	row  journal.Row
	// bare is true if the run is known to have no metadata.
	bare bool
}

// liveMax bounds each of the two generations of runs that the writer knows.
const liveMax = 1 << 14

// writer owns the writing connection.
type writer struct {
	conn                    *sqlite.Conn
	begin, commit, rollback *sqlite.Stmt
	insertRun, insertEntry  *sqlite.Stmt
	selectRun, lastEntry    *sqlite.Stmt
	insertMetadata          *sqlite.Stmt
	updateMetadata          *sqlite.Stmt
	// updates by the columns that they set.
	updates map[uint32]*sqlite.Stmt

	// young and old are runs that entries were lately added to; when young is
	// full it becomes old. Finished and dormant runs are not in them, but those that
	// wait in a line are: their turn may come soon.
	young, old map[string]*liveRun
	liveMax    int
	// leaving are runs to be forgotten after the transaction.
	leaving []string
}

func (w *writer) prepare() error {
	w.updates = make(map[uint32]*sqlite.Stmt)
	w.forget()
	for _, p := range []struct {
		stmt **sqlite.Stmt
		sql  string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.insertRun, "INSERT INTO runs (" + rowColumns + ") VALUES (" + placeholders(len(columns)) + ") ON CONFLICT (run_id) DO NOTHING"},
		{&w.insertEntry, "INSERT INTO entries (run, number, data) VALUES (?, ?, ?)"},
		{&w.selectRun, "SELECT seq, " + rowColumns + " FROM runs WHERE run_id = ?"},
		{&w.lastEntry, "SELECT max(number) FROM entries WHERE run = ?"},
		{&w.insertMetadata, insertMetadataSQL},
		{&w.updateMetadata, "UPDATE run_metadata SET status = ? WHERE run = ?"},
	} {
		stmt, err := w.conn.Prepare(p.sql)
		if err != nil {
			return err
		}
		*p.stmt = stmt
	}
	return nil
}

// Append implements journal.Store.
func (s *Store) Append(ctx context.Context, batch []journal.Append) []error {
	errs := make([]error, len(batch))
	err := s.write(ctx, "append", func(w *writer) error {
		for i := range batch {
			refused, err := w.append(&batch[i])
			if err != nil {
				return err
			}
			errs[i] = refused
		}
		return nil
	})
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	s.ckpt.wrote(batch)
	return errs
}

// write runs fn in a transaction that is durable when write returns nil, and
// has left nothing when it does not. The writer is not interrupted: a
// transaction takes milliseconds.
func (s *Store) write(ctx context.Context, what string, fn func(*writer) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.calls.RUnlock()
	if err := s.beginWriting(ctx); err != nil {
		return err
	}
	defer func() { <-s.writing }()
	return s.fail(what, s.w.transact(fn))
}

func (w *writer) transact(fn func(*writer) error) error {
	err := run(w.begin)
	if err == nil {
		if err = fn(w); err == nil {
			err = run(w.commit)
		}
	}
	if err != nil {
		w.forget()
		if !w.conn.AutocommitEnabled() {
			// If this fails the next BEGIN does, and comes here again.
			_ = run(w.rollback)
		}
		return err
	}
	for _, id := range w.leaving {
		w.drop(id)
	}
	clear(w.leaving)
	w.leaving = w.leaving[:0]
	return nil
}

// forget drops all that is known about runs: after a failed transaction it may
// not be true.
func (w *writer) forget() {
	w.young, w.old = make(map[string]*liveRun), nil
	w.leaving = w.leaving[:0]
}

func (w *writer) drop(runID string) {
	delete(w.young, runID)
	delete(w.old, runID)
}

// append adds one entry. refused concerns this one only, err the transaction.
func (w *writer) append(a *journal.Append) (refused, err error) {
	if refused := a.Validate(); refused != nil {
		return refused, nil
	}
	known := w.remembered(a.RunID)
	created := false
	if known == nil && a.Number == 1 {
		// Most often it is new: that it is not shows when it is added.
		if known, err = w.create(a); err != nil {
			return nil, err
		}
		created = known != nil
	}
	if known == nil {
		if known, err = w.find(a.RunID); err != nil {
			return nil, err
		}
	}
	if has := known.entries(); a.Number != has+1 {
		return journal.Conflict(a.RunID, a.Number, has), nil
	}
	if a.Row != nil && !created {
		if err := w.update(known, a.Row); err != nil {
			return nil, err
		}
	}
	if err := w.changeWaits(a.RunID, a.Waits); err != nil {
		return nil, err
	}
	if err := w.changeStreams(known.seq, a.Number, a.Streams); err != nil {
		return nil, err
	}
	known.last = a.Number
	w.insertEntry.BindInt64(1, known.seq)
	w.insertEntry.BindInt64(2, int64(a.Number))
	w.insertEntry.BindBytes(3, a.Entry)
	if err := run(w.insertEntry); err != nil || a.Cut == 0 {
		return nil, err
	}
	return nil, w.cut(known.seq, a)
}

// cut puts aside what an append keeps of the entries that it cuts, and deletes them, with
// the sections of streams that began with them.
func (w *writer) cut(seq int64, a *journal.Append) error {
	kept, err := json.Marshal(append([]uint64{}, a.Kept...))
	if err != nil {
		return err
	}
	none := func(*sqlite.Stmt) bool { return true }
	for _, sql := range []string{
		"INSERT INTO entries_aside SELECT run, number, data FROM entries WHERE run = ?1 AND number <= ?2 AND number IN (SELECT value FROM json_each(?3))",
		"DELETE FROM entries WHERE run = ?1 AND number <= ?2 AND ?3 = ?3",
		"DELETE FROM entries_aside WHERE run = ?1 AND ?2 = ?2 AND number NOT IN (SELECT value FROM json_each(?3))",
	} {
		if err := each(w.conn, sql, none, seq, int64(a.Cut), string(kept)); err != nil {
			return err
		}
	}
	if err := w.exec(cutPiecesSQL, seq, int64(a.Cut)); err != nil {
		return err
	}
	return w.exec(cutSectionsSQL, seq, int64(a.Cut))
}

func (l *liveRun) entries() uint64 {
	if l == nil {
		return 0
	}
	return l.last
}

// remembered returns what is known about a run; nil if nothing is.
func (w *writer) remembered(runID string) *liveRun {
	known := w.young[runID]
	if known == nil {
		if known = w.old[runID]; known != nil {
			w.know(runID, known)
		}
	}
	return known
}

// find reads what is stored of a run, nil if there is no such run.
func (w *writer) find(runID string) (*liveRun, error) {
	w.selectRun.BindText(1, runID)
	found, err := w.selectRun.Step()
	if err != nil || !found {
		return nil, reset(w.selectRun, err)
	}
	known := &liveRun{seq: w.selectRun.ColumnInt64(0), row: readRow(w.selectRun, 1)}
	if err := reset(w.selectRun, nil); err != nil {
		return nil, err
	}
	w.lastEntry.BindInt64(1, known.seq)
	if _, err := w.lastEntry.Step(); err != nil {
		return nil, err
	}
	known.last = uint64(w.lastEntry.ColumnInt64(0))
	if err := reset(w.lastEntry, nil); err != nil {
		return nil, err
	}
	w.know(runID, known)
	return known, nil
}

func (w *writer) know(runID string, known *liveRun) {
	if len(w.young) >= w.liveMax {
		w.old, w.young = w.young, make(map[string]*liveRun)
	}
	w.young[runID] = known
	if rests(&known.row) {
		w.leaving = append(w.leaving, runID)
	}
}

// rests says that nothing is soon added to a run.
func rests(r *journal.Row) bool { return phase(r) != phaseActive && r.Line == 0 }

// create adds a run; nil if it exists.
func (w *writer) create(a *journal.Append) (*liveRun, error) {
	row := *a.Row
	row.Normalize()
	for i := range columns {
		columns[i].bind(w.insertRun, i+1, &row)
	}
	if err := run(w.insertRun); err != nil || w.conn.Changes() == 0 {
		return nil, err
	}
	known := &liveRun{seq: w.conn.LastInsertRowID(), row: row, bare: len(a.Metadata) == 0}
	w.know(a.RunID, known)
	if known.bare {
		return known, nil
	}
	return known, insertMetadata(w.insertMetadata, known.seq, &row, a.Metadata)
}

func (w *writer) update(known *liveRun, now *journal.Row) error {
	row := *now
	row.Normalize()
	row.Keep(&known.row)
	mask := changed(&known.row, &row)
	if mask == 0 {
		return nil
	}
	stmt := w.updates[mask]
	if stmt == nil {
		var err error
		if stmt, err = w.conn.Prepare(updateSQL(mask)); err != nil {
			return err
		}
		w.updates[mask] = stmt
	}
	param := 1
	for i := range columns {
		if mask&(1<<i) != 0 {
			columns[i].bind(stmt, param, &row)
			param++
		}
	}
	stmt.BindInt64(param, known.seq)
	if err := run(stmt); err != nil {
		return err
	}
	if row.Status != known.row.Status && !known.bare {
		w.updateMetadata.BindInt64(1, int64(row.Status))
		w.updateMetadata.BindInt64(2, known.seq)
		if err := run(w.updateMetadata); err != nil {
			return err
		}
	}
	known.row = row
	if rests(&row) {
		w.leaving = append(w.leaving, row.RunID)
	}
	return nil
}

// run executes a statement that returns nothing.
func run(stmt *sqlite.Stmt) error {
	_, err := stmt.Step()
	return reset(stmt, err)
}

// reset readies a statement for its next use; a failed step has done so.
func reset(stmt *sqlite.Stmt, err error) error {
	if err != nil {
		return err
	}
	return stmt.Reset()
}

func placeholders(n int) string {
	out := make([]byte, 0, 2*n)
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '?')
	}
	return string(out)
}
