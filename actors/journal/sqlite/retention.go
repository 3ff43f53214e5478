package sqlite

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
)

// Finished runs are deleted in the order in which they finished, but not below a
// run that goes on or is kept: that one may ask for its children again. They are
// marked as kept, so that nobody looks at them until the run above is deleted,
// which gives them back.

const (
	// deleteChunk is how many runs one transaction of DeleteFinished looks at:
	// commits of runs get in between.
	deleteChunk = 100
	// releaseChunk is how many kept runs it gives back.
	releaseChunk = 1000
	// piecesChunk is how many rows of pieces of streams it deletes.
	piecesChunk = 256
)

// DeleteFinished implements journal.Store. The space is used again, the file
// does not shrink.
func (s *Store) DeleteFinished(ctx context.Context, before time.Time, limit int) (int, error) {
	deleted := 0
	for deleted < limit {
		var done retention
		want := min(limit-deleted, deleteChunk)
		err := s.write(ctx, "delete finished runs", func(w *writer) error {
			done = retention{w: w, before: journal.Micros(before)}
			return done.chunk(want)
		})
		if err != nil {
			return deleted, err
		}
		s.ckpt.deleted(done.deleted + done.pieces)
		deleted += done.deleted
		if done.found < want && done.released == 0 && done.pieces < piecesChunk {
			break
		}
	}
	return deleted, nil
}

// retention is what one transaction of DeleteFinished does.
type retention struct {
	w      *writer
	before int64
	// found runs are past their time; of kept ones so many were given back.
	found, deleted, released int
	// pieces of streams that were deleted, in rows.
	pieces int
}

// past is a finished run past its time.
type past struct {
	seq           int64
	runID, parent string
}

func (r *retention) chunk(limit int) error {
	runs, err := r.find(limit)
	if err != nil {
		return err
	}
	r.found = len(runs)
	for i := range runs {
		if r.released >= releaseChunk || r.pieces >= piecesChunk {
			return nil
		}
		r.w.drop(runs[i].runID)
		keep, err := r.asked(runs[i].parent)
		switch {
		case err != nil:
			return err
		case keep:
			err = r.exec("UPDATE runs SET phase = 3 WHERE seq = ?", runs[i].seq)
		default:
			err = r.delete(&runs[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// find returns the runs that finished first.
func (r *retention) find(limit int) (runs []past, err error) {
	find, err := r.w.conn.Prepare(pastSQL)
	if err != nil {
		return nil, err
	}
	find.BindInt64(1, r.before)
	find.BindInt64(2, int64(limit))
	for {
		more, err := find.Step()
		if err != nil || !more {
			return runs, err
		}
		runs = append(runs, past{find.ColumnInt64(0), find.ColumnText(1), find.ColumnText(2)})
	}
}

const (
	pastSQL = "SELECT seq, run_id, parent_run FROM runs INDEXED BY runs_finished " +
		"WHERE phase = 2 AND finished_at IS NOT NULL AND finished_at < ? ORDER BY finished_at LIMIT ?"
	aboveSQL   = "SELECT phase = 2 AND finished_at IS NOT NULL AND finished_at < ?, parent_run FROM runs WHERE run_id = ?"
	releaseSQL = "UPDATE runs SET phase = 2 WHERE seq IN (SELECT seq FROM runs INDEXED BY runs_kept WHERE phase = 3 AND parent_run = ? LIMIT ?)"
)

// asked says that a run at or above this one goes on, or stays for its own time.
func (r *retention) asked(runID string) (bool, error) {
	above, err := r.w.conn.Prepare(aboveSQL)
	if err != nil {
		return false, err
	}
	for n := 0; runID != "" && n < journal.AncestorsMax; n++ {
		above.BindInt64(1, r.before)
		above.BindText(2, runID)
		found, err := above.Step()
		if err != nil || !found {
			return false, reset(above, err)
		}
		over := above.ColumnBool(0)
		runID = above.ColumnText(1)
		if err := reset(above, nil); err != nil || !over {
			return true, err
		}
	}
	return false, nil
}

// delete deletes a run that has given back all that was kept for it.
func (r *retention) delete(p *past) error {
	release, err := r.w.conn.Prepare(releaseSQL)
	if err != nil {
		return err
	}
	want := releaseChunk - r.released
	release.BindText(1, p.runID)
	release.BindInt64(2, int64(want))
	if err := run(release); err != nil {
		return err
	}
	n := r.w.conn.Changes()
	if r.released += n; n == want {
		return nil // Perhaps not all: it is found again.
	}
	want = piecesChunk - r.pieces
	if n, err = r.w.deletePieces(p.seq, want); err != nil {
		return err
	}
	if r.pieces += n; n == want {
		return nil
	}
	for _, sql := range []string{"DELETE FROM entries WHERE run = ?", "DELETE FROM entries_aside WHERE run = ?", "DELETE FROM run_metadata WHERE run = ?",
		"DELETE FROM logs WHERE run = ?", "DELETE FROM stream_sections WHERE run = ?", "DELETE FROM runs WHERE seq = ?"} {
		if err := r.exec(sql, p.seq); err != nil {
			return err
		}
	}
	if err := r.w.forgetWaits(p.runID); err != nil {
		return err
	}
	r.deleted++
	return nil
}

func (r *retention) exec(sql string, seq int64) error {
	stmt, err := r.w.conn.Prepare(sql)
	if err != nil {
		return err
	}
	stmt.BindInt64(1, seq)
	return run(stmt)
}
