package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// The rows of $4 are changes of sections of the runs of elements.
const streamsPart = `, sections AS MATERIALIZED (
	SELECT c.*, g.number AS began FROM unnest($4::limpet_stream_1[]) c JOIN given g ON g.run_id = c.run_id WHERE g.number = g.has + 1
), named AS (
	INSERT INTO limpet_streams (run_id, name) SELECT DISTINCT run_id, stream FROM sections WHERE attempt IS NOT NULL
	ON CONFLICT DO NOTHING RETURNING id, run_id, name
), streams AS MATERIALIZED (
	SELECT id, run_id, name FROM named UNION
	SELECT s.id, s.run_id, s.name FROM sections c JOIN limpet_streams s ON s.run_id = c.run_id AND s.name = c.stream
), opened AS (
	INSERT INTO limpet_stream_sections (stream_id, section, step, attempt, over, began)
	SELECT s.id, c.section, c.step, c.attempt, c.over, c.began FROM sections c JOIN streams s ON s.run_id = c.run_id AND s.name = c.stream
	WHERE c.attempt IS NOT NULL ON CONFLICT DO NOTHING
), closed AS (
	UPDATE limpet_stream_sections x SET over = true FROM sections c JOIN streams s ON s.run_id = c.run_id AND s.name = c.stream
	WHERE c.attempt IS NULL AND c.over AND x.stream_id = s.id AND x.section = c.section
)`

const (
	sectionColumns = "s.name, x.section, x.step, x.attempt, x.pieces, x.bytes, x.over"
	// $1 to $3 are the runs, names and numbers of sections, each once. Whoever writes to
	// one, or ends it, has its row: in the order of their keys.
	lockSectionsSQL = "SELECT s.run_id, s.id, " + sectionColumns + " FROM unnest($1::text[], $2::text[], $3::int4[]) g(run_id, name, section) " +
		"JOIN limpet_streams s ON s.run_id = g.run_id AND s.name = g.name JOIN limpet_stream_sections x ON x.stream_id = s.id AND x.section = g.section " +
		"ORDER BY x.stream_id, x.section FOR UPDATE OF x"
	totalsSQL = "SELECT r.run_id, (SELECT coalesce(sum(x.bytes), 0)::int8 FROM limpet_streams s JOIN limpet_stream_sections x ON x.stream_id = s.id WHERE s.run_id = r.run_id), " +
		"(SELECT coalesce(sum(x.pieces), 0)::int8 FROM limpet_streams s JOIN limpet_stream_sections x ON x.stream_id = s.id WHERE s.run_id = r.run_id) " +
		"FROM unnest($1::text[]) r(run_id)"
	addPiecesSQL = "INSERT INTO limpet_stream_pieces (stream_id, section, last, first, bytes, data) " +
		"SELECT * FROM unnest($1::int8[], $2::int4[], $3::int8[], $4::int8[], $5::int8[], $6::bytea[])"
	grownSQL = "UPDATE limpet_stream_sections x SET pieces = g.pieces, bytes = g.bytes " +
		"FROM unnest($1::int8[], $2::int4[], $3::int8[], $4::int8[]) g(stream_id, section, pieces, bytes) WHERE x.stream_id = g.stream_id AND x.section = g.section"

	streamSQL     = "SELECT coalesce((SELECT id FROM limpet_streams WHERE run_id = r.run_id AND name = $2), 0) FROM limpet_runs r WHERE r.run_id = $1"
	boundsSQL     = "SELECT coalesce(min(section), 0), coalesce(max(section), 0) FROM limpet_stream_sections WHERE stream_id = $1"
	sectionsSQL   = "SELECT " + sectionColumns + " FROM limpet_stream_sections x JOIN limpet_streams s ON s.id = x.stream_id WHERE x.stream_id = $1 AND x.section = $2"
	allStreamsSQL = "SELECT " + sectionColumns + " FROM limpet_streams s JOIN limpet_stream_sections x ON x.stream_id = s.id WHERE s.run_id = $1 ORDER BY s.name, x.section"
	// The first rows from a place on, up to $4 bytes: what is beyond them is not sent.
	piecesSQL = "SELECT p.section, p.first, p.data, x.step, x.attempt FROM (" +
		"SELECT *, sum(bytes) OVER (ORDER BY section, last) - bytes AS before FROM (" +
		"SELECT * FROM limpet_stream_pieces WHERE stream_id = $1 AND (section, last) >= ($2::int4, $3::int8) ORDER BY stream_id, section, last LIMIT 256) few) p " +
		"JOIN limpet_stream_sections x ON x.stream_id = p.stream_id AND x.section = p.section WHERE p.before < $4::int8 ORDER BY p.section, p.last"

	// Streams whose run is gone: $1 rows at a time.
	leftSQL = "DELETE FROM limpet_stream_pieces WHERE (stream_id, section, last) IN (SELECT p.stream_id, p.section, p.last FROM (" +
		"SELECT id FROM limpet_streams WHERE run_id IS NULL ORDER BY id LIMIT 1) s JOIN limpet_stream_pieces p ON p.stream_id = s.id LIMIT $1)"
	emptySQL = "WITH gone AS (DELETE FROM limpet_streams s WHERE s.id = (SELECT id FROM limpet_streams WHERE run_id IS NULL ORDER BY id LIMIT 1) " +
		"AND NOT EXISTS (SELECT 1 FROM limpet_stream_pieces p WHERE p.stream_id = s.id) RETURNING id), " +
		"sections AS (DELETE FROM limpet_stream_sections x USING gone WHERE x.stream_id = gone.id) SELECT count(*) FROM gone"
)

// piecesChunk is how many rows of pieces are deleted at once.
const piecesChunk = 256

func scanSection(row pgx.CollectableRow, before ...any) (s journal.StreamSection, err error) {
	var pieces int64
	err = row.Scan(append(before, &s.Stream, &s.Section, &s.Step, &s.Attempt, &pieces, &s.Bytes, &s.Over)...)
	s.Pieces = uint64(pieces)
	return s, err
}

// WriteStreams implements journal.StreamStore.
func (s *Store) WriteStreams(ctx context.Context, batch []journal.StreamWrite) (out []journal.StreamWritten) {
	storable := make([]journal.StreamWrite, 0, len(batch))
	for i := range batch {
		if b := &batch[i]; isText(b.RunID) && isText(b.Stream) {
			storable = append(storable, *b)
		}
	}
	written, err := s.writeStreams(ctx, storable)
	for try := 1; err != nil && collided(err) && try <= collisionsMax && ctx.Err() == nil; try++ {
		written, err = s.writeStreams(ctx, storable)
	}
	if err != nil {
		return journal.AllStreams(batch, s.fail("write to streams", err))
	}
	for i := range batch {
		if b := &batch[i]; isText(b.RunID) && isText(b.Stream) {
			out, written = append(out, written[0]), written[1:]
			continue
		}
		out = append(out, journal.StreamWritten{Err: messages.Errorf(messages.CodeInvalidArgument, "run %q, stream %q: it is not a text without zero bytes", batch[i].RunID, batch[i].Stream)})
	}
	return out
}

func (s *Store) writeStreams(ctx context.Context, batch []journal.StreamWrite) (out []journal.StreamWritten, err error) {
	ctx, leave, err := s.enter(ctx, s.cfg.CallTimeout)
	if err != nil {
		return nil, err
	}
	defer leave()
	err = s.on(ctx, s.writers, func(ctx context.Context, conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			found, err := lockSections(ctx, tx, batch)
			if err != nil {
				return err
			}
			var add []journal.StreamWrite
			add, out = journal.AdmitStreams(batch, found.sections, found.totals)
			return found.store(ctx, tx, add)
		})
	})
	return out, err
}

// lockedSections are those that a batch writes to.
type lockedSections struct {
	ids      map[journal.StreamKey]int64
	sections map[journal.StreamKey]*journal.StreamSection
	totals   map[string]*journal.StreamTotals
}

func lockSections(ctx context.Context, tx pgx.Tx, batch []journal.StreamWrite) (*lockedSections, error) {
	found := &lockedSections{map[journal.StreamKey]int64{}, map[journal.StreamKey]*journal.StreamSection{}, map[string]*journal.StreamTotals{}}
	var runs, keyRuns, names []string
	var numbers []int32
	seen := map[journal.StreamKey]bool{}
	for i := range batch {
		key := batch[i].Key()
		if found.totals[key.RunID] == nil {
			found.totals[key.RunID] = &journal.StreamTotals{}
			runs = append(runs, key.RunID)
		}
		if !seen[key] {
			seen[key] = true
			keyRuns, names, numbers = append(keyRuns, key.RunID), append(names, key.Stream), append(numbers, key.Section)
		}
	}
	var queries pgx.Batch
	queries.Queue(lockSectionsSQL, keyRuns, names, numbers).Query(func(rows pgx.Rows) error {
		defer rows.Close()
		for rows.Next() {
			var runID string
			var id int64
			section, err := scanSection(rows, &runID, &id)
			if err != nil {
				return err
			}
			key := journal.StreamKey{RunID: runID, Stream: section.Stream, Section: section.Section}
			found.ids[key], found.sections[key] = id, &section
		}
		return rows.Err()
	})
	queries.Queue(totalsSQL, runs).Query(func(rows pgx.Rows) error {
		defer rows.Close()
		for rows.Next() {
			var runID string
			total := &journal.StreamTotals{}
			if err := rows.Scan(&runID, &total.Bytes, &total.Pieces); err != nil {
				return err
			}
			found.totals[runID] = total
		}
		return rows.Err()
	})
	return found, tx.SendBatch(ctx, &queries).Close()
}

// store adds pieces.
func (f *lockedSections) store(ctx context.Context, tx pgx.Tx, add []journal.StreamWrite) error {
	if len(add) == 0 {
		return nil
	}
	n := len(add)
	ids, numbers, lasts, firsts, bytes, data := make([]int64, n), make([]int32, n), make([]int64, n), make([]int64, n), make([]int64, n), make([][]byte, n)
	grown := map[journal.StreamKey]bool{}
	var grownIDs, pieces, sizes []int64
	var grownNumbers []int32
	for i := range add {
		a := &add[i]
		encoded, err := journal.EncodePieces(a.Pieces)
		if err != nil {
			return err
		}
		key := a.Key()
		ids[i], numbers[i], lasts[i], firsts[i], bytes[i], data[i] = f.ids[key], a.Section, int64(a.Last()), int64(a.First), int64(len(encoded)), encoded
		if section := f.sections[key]; !grown[key] {
			grown[key] = true
			grownIDs, grownNumbers = append(grownIDs, f.ids[key]), append(grownNumbers, a.Section)
			pieces, sizes = append(pieces, int64(section.Pieces)), append(sizes, section.Bytes)
		}
	}
	var queries pgx.Batch
	queries.Queue(addPiecesSQL, ids, numbers, lasts, firsts, bytes, data)
	queries.Queue(grownSQL, grownIDs, grownNumbers, pieces, sizes)
	return tx.SendBatch(ctx, &queries).Close()
}

// ReadStream implements journal.StreamStore.
func (s *Store) ReadStream(ctx context.Context, runID, stream string, from journal.StreamPlace, bytesMax int) (page journal.StreamPage, err error) {
	err = s.read(ctx, "read a stream", func(ctx context.Context, conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			page, err = readStream(ctx, tx, runID, stream, from, bytesMax)
			return err
		})
	})
	if err != nil {
		return journal.StreamPage{}, err
	}
	return page, nil
}

func readStream(ctx context.Context, tx pgx.Tx, runID, stream string, from journal.StreamPlace, bytesMax int) (page journal.StreamPage, err error) {
	rows, _ := tx.Query(ctx, streamSQL, storable(runID), storable(stream))
	id, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	switch {
	case err != nil:
		return page, err
	case len(id) == 0:
		return page, journal.UnknownRun(runID)
	case id[0] == 0:
		return page, nil
	}
	var queries pgx.Batch
	queries.Queue(boundsSQL, id[0]).QueryRow(func(row pgx.Row) error { return row.Scan(&page.Oldest, &page.Newest) })
	queries.Queue(sectionsSQL, id[0], from.Section).Query(func(rows pgx.Rows) error {
		at, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (journal.StreamSection, error) { return scanSection(row) })
		if len(at) > 0 {
			page.At = at[0]
		}
		return err
	})
	queries.Queue(piecesSQL, id[0], from.Section, int64(from.Number), bytesMax).Query(func(rows pgx.Rows) error {
		page.Pieces, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p journal.StreamPieces, err error) {
			var section, attempt int32
			var first int64
			var data []byte
			var step string
			if err := row.Scan(&section, &first, &data, &step, &attempt); err != nil {
				return p, err
			}
			p, err = journal.DecodePieces(data, section, uint64(first), from)
			p.Step, p.Attempt = step, attempt
			return p, err
		})
		return err
	})
	return page, tx.SendBatch(ctx, &queries).Close()
}

// Streams implements journal.StreamStore.
func (s *Store) Streams(ctx context.Context, runID string) ([]journal.StreamInfo, error) {
	sections, err := collect(ctx, s, "read the streams of a run", func(row pgx.CollectableRow) (journal.StreamSection, error) { return scanSection(row) }, allStreamsSQL, storable(runID))
	if err != nil {
		return nil, err
	}
	return journal.StreamInfos(sections), nil
}

// deleteLeft deletes the streams whose runs are gone.
func (s *Store) deleteLeft(ctx context.Context) error {
	for {
		var pieces, streams int64
		err := s.write(ctx, "delete streams", func(ctx context.Context, conn *pgxpool.Conn) error {
			tag, err := conn.Exec(ctx, leftSQL, piecesChunk)
			if pieces = tag.RowsAffected(); err != nil || pieces == piecesChunk {
				return err
			}
			return conn.QueryRow(ctx, emptySQL).Scan(&streams)
		})
		if err != nil || pieces == 0 && streams == 0 {
			return err
		}
	}
}
