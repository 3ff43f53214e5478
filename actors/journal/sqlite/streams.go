package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
)

const (
	beginSectionSQL = "INSERT OR IGNORE INTO stream_sections (run, stream, section, step, attempt, began) VALUES (?, ?, ?, ?, ?, ?)"
	endSectionSQL   = "UPDATE stream_sections SET over = 1 WHERE run = ? AND stream = ? AND section = ?"
	sectionColumns  = "stream, section, step, attempt, pieces, bytes, over"
	sectionSQL      = "SELECT " + sectionColumns + " FROM stream_sections WHERE run = ? AND stream = ? AND section = ?"
	sectionsSQL     = "SELECT " + sectionColumns + " FROM stream_sections WHERE run = (SELECT seq FROM runs WHERE run_id = ?) ORDER BY stream, section"
	boundsSQL       = "SELECT (SELECT min(section) FROM stream_sections WHERE run = ?1 AND stream = ?2), (SELECT max(section) FROM stream_sections WHERE run = ?1 AND stream = ?2)"
	totalsSQL       = "SELECT coalesce(sum(bytes), 0), coalesce(sum(pieces), 0) FROM stream_sections WHERE run = ?"
	addPiecesSQL    = "INSERT INTO stream_pieces (run, stream, section, first, last, data) VALUES (?, ?, ?, ?, ?, ?)"
	grownSQL        = "UPDATE stream_sections SET pieces = pieces + ?, bytes = bytes + ? WHERE run = ? AND stream = ? AND section = ?"
	piecesSQL       = "SELECT p.section, p.first, p.data, s.step, s.attempt FROM stream_pieces p JOIN stream_sections s USING (run, stream, section) " +
		"WHERE p.run = ? AND p.stream = ? AND (p.section, p.last) >= (?, ?) ORDER BY p.section, p.last"
	// cutSections are the sections of a run that an append cuts.
	cutSections = "FROM stream_sections s WHERE run = ?1 AND began <= ?2 AND over AND section < " +
		"(SELECT max(section) FROM stream_sections n WHERE n.run = s.run AND n.stream = s.stream)"
	cutPiecesSQL   = "DELETE FROM stream_pieces WHERE run = ?1 AND (stream, section) IN (SELECT stream, section " + cutSections + ")"
	cutSectionsSQL = "DELETE FROM stream_sections WHERE run = ?1 AND (stream, section) IN (SELECT stream, section " + cutSections + ")"
)

// exec executes a statement that returns nothing.
func (w *writer) exec(sql string, args ...any) error {
	return each(w.conn, sql, func(*sqlite.Stmt) bool { return true }, args...)
}

// changeStreams carries out what an entry changes of the sections of its run.
func (w *writer) changeStreams(run int64, entry uint64, changes []journal.StreamChange) error {
	for _, c := range changes {
		if c.Attempt != 0 {
			if err := w.exec(beginSectionSQL, run, c.Stream, int64(c.Section), c.Step, int64(c.Attempt), int64(entry)); err != nil {
				return err
			}
		}
		if c.Over {
			if err := w.exec(endSectionSQL, run, c.Stream, int64(c.Section)); err != nil {
				return err
			}
		}
	}
	return nil
}

func readSection(s *sqlite.Stmt) journal.StreamSection {
	return journal.StreamSection{Stream: s.ColumnText(0), Section: int32(s.ColumnInt64(1)), Step: s.ColumnText(2), Attempt: int32(s.ColumnInt64(3)),
		Pieces: uint64(s.ColumnInt64(4)), Bytes: s.ColumnInt64(5), Over: s.ColumnBool(6)}
}

// WriteStreams implements journal.StreamStore.
func (s *Store) WriteStreams(ctx context.Context, batch []journal.StreamWrite) (out []journal.StreamWritten) {
	var add []journal.StreamWrite
	err := s.write(ctx, "write to streams", func(w *writer) (err error) {
		add, out, err = w.writeStreams(batch)
		return err
	})
	if err != nil {
		return journal.AllStreams(batch, err)
	}
	s.ckpt.streamed(add)
	return out
}

func (w *writer) writeStreams(batch []journal.StreamWrite) (add []journal.StreamWrite, out []journal.StreamWritten, err error) {
	runs, sections, totals := map[string]int64{}, map[journal.StreamKey]*journal.StreamSection{}, map[string]*journal.StreamTotals{}
	for i := range batch {
		b := &batch[i]
		if _, known := runs[b.RunID]; !known {
			if runs[b.RunID], totals[b.RunID], err = w.streamTotals(b.RunID); err != nil {
				return nil, nil, err
			}
		}
		if err := each(w.conn, sectionSQL, func(s *sqlite.Stmt) bool {
			section := readSection(s)
			sections[b.Key()] = &section
			return false
		}, runs[b.RunID], b.Stream, int64(b.Section)); err != nil {
			return nil, nil, err
		}
	}
	add, out = journal.AdmitStreams(batch, sections, totals)
	for i := range add {
		a := &add[i]
		data, err := journal.EncodePieces(a.Pieces)
		if err != nil {
			return nil, nil, err
		}
		if err := w.exec(addPiecesSQL, runs[a.RunID], a.Stream, int64(a.Section), int64(a.First), int64(a.Last()), data); err != nil {
			return nil, nil, err
		}
		if err := w.exec(grownSQL, int64(len(a.Pieces)), a.Bytes(), runs[a.RunID], a.Stream, int64(a.Section)); err != nil {
			return nil, nil, err
		}
	}
	return add, out, nil
}

// streamTotals returns the seq of a run, 0 if there is none, and what it has written.
func (w *writer) streamTotals(runID string) (run int64, total *journal.StreamTotals, err error) {
	if known := w.remembered(runID); known != nil {
		run = known.seq
	} else if err := each(w.conn, "SELECT seq FROM runs WHERE run_id = ?", func(s *sqlite.Stmt) bool { run = s.ColumnInt64(0); return false }, runID); err != nil {
		return 0, nil, err
	}
	total = &journal.StreamTotals{}
	err = each(w.conn, totalsSQL, func(s *sqlite.Stmt) bool {
		total.Bytes, total.Pieces = s.ColumnInt64(0), s.ColumnInt64(1)
		return false
	}, run)
	return run, total, err
}

// ReadStream implements journal.StreamStore.
func (s *Store) ReadStream(ctx context.Context, runID, stream string, from journal.StreamPlace, bytesMax int) (page journal.StreamPage, err error) {
	err = s.read(ctx, "read a stream", func(conn *sqlite.Conn) error {
		run, _, err := findRun(conn, runID)
		if err != nil {
			return err
		}
		if err := each(conn, boundsSQL, func(s *sqlite.Stmt) bool {
			page.Oldest, page.Newest = int32(s.ColumnInt64(0)), int32(s.ColumnInt64(1))
			return false
		}, run, stream); err != nil {
			return err
		}
		if err := each(conn, sectionSQL, func(s *sqlite.Stmt) bool { page.At = readSection(s); return false }, run, stream, int64(from.Section)); err != nil {
			return err
		}
		page.Pieces, err = readPieces(conn, run, stream, from, bytesMax)
		return err
	})
	if err != nil {
		return journal.StreamPage{}, err
	}
	return page, nil
}

func readPieces(conn *sqlite.Conn, run int64, stream string, from journal.StreamPlace, bytesMax int) (out []journal.StreamPieces, err error) {
	bytes := 0
	read := each(conn, piecesSQL, func(s *sqlite.Stmt) bool {
		data := make([]byte, s.ColumnLen(2))
		s.ColumnBytes(2, data)
		var p journal.StreamPieces
		if p, err = journal.DecodePieces(data, int32(s.ColumnInt64(0)), uint64(s.ColumnInt64(1)), from); err != nil {
			return false
		}
		p.Step, p.Attempt = s.ColumnText(3), int32(s.ColumnInt64(4))
		out = append(out, p)
		bytes += len(data)
		return bytes < bytesMax
	}, run, stream, int64(from.Section), int64(from.Number))
	if err == nil {
		err = read
	}
	return out, err
}

// Streams implements journal.StreamStore.
func (s *Store) Streams(ctx context.Context, runID string) ([]journal.StreamInfo, error) {
	var sections []journal.StreamSection
	err := s.read(ctx, "read the streams of a run", func(conn *sqlite.Conn) error {
		return each(conn, sectionsSQL, func(s *sqlite.Stmt) bool {
			sections = append(sections, readSection(s))
			return true
		}, runID)
	})
	if err != nil {
		return nil, err
	}
	return journal.StreamInfos(sections), nil
}

// deletePieces deletes pieces of streams of a run, no more than limit rows, and says
// how many.
func (w *writer) deletePieces(run int64, limit int) (int, error) {
	err := w.exec("DELETE FROM stream_pieces WHERE pos IN (SELECT pos FROM stream_pieces INDEXED BY stream_pieces_by_place WHERE run = ? LIMIT ?)", run, int64(limit))
	return w.conn.Changes(), err
}
