package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// deleteLock is the advisory lock that appends share and that the deletion has
// alone: else an entry could be added to a run that is being deleted, and be
// left over.
const deleteLock = lockFamily<<32 | 2

var shareDeleteLock = "SELECT pg_advisory_xact_lock_shared(" + strconv.Itoa(deleteLock) + ")"

// A statement adds the elements that are the next of their runs, one of a run
// at most, and returns the others with the number of entries that their runs
// have. The elements are sorted by run. All parts of the statement see what was
// there before it; what another transaction adds meanwhile makes it fail by the
// key.
//
// A statement pays for every part at its start, above all for the indexes of
// limpet_runs, so there is one for each combination that comes.
const (
	givenPart = `
WITH given AS MATERIALIZED (
	SELECT a.*, coalesce((SELECT e.number FROM limpet_entries e WHERE e.run_id = a.run_id ORDER BY e.number DESC LIMIT 1), 0) AS has
	FROM unnest($1::limpet_append_2[]) a
), entries AS (
	INSERT INTO limpet_entries (run_id, number, data)
	SELECT run_id, number, data FROM given WHERE number = has + 1
)`
	createdPart = `, created AS (
	INSERT INTO limpet_runs (run_id, shard, phase, status, sticky, priority, epoch, created_at, finished_at, wake_at,
		wake_on_up, wake_on_gone, bound_worker, workflow, pool, parent_run, started_by, definition_hash, failure_code, failure_message, line, line_since)
	SELECT run_id, shard, phase, status, sticky, priority, epoch, created_at, finished_at, wake_at,
		wake_on_up, wake_on_gone, bound_worker, workflow, pool, parent_run, started_by, definition_hash, failure_code, failure_message, line, line_since
	FROM given WHERE number = 1 AND has = 0
)`
	changedPart = `, changed AS (
	UPDATE limpet_runs r SET phase = g.phase, status = g.status, sticky = g.sticky, priority = g.priority, epoch = g.epoch,
		finished_at = g.finished_at, wake_at = g.wake_at, wake_on_up = g.wake_on_up, wake_on_gone = g.wake_on_gone,
		bound_worker = g.bound_worker, pool = g.pool, started_by = g.started_by,
		definition_hash = g.definition_hash, failure_code = g.failure_code, failure_message = g.failure_message,
		line = g.line, line_since = g.line_since
	FROM given g WHERE r.run_id = g.run_id AND g.number > 1 AND g.number = g.has + 1 AND g.shard IS NOT NULL
)`
	// The rows of $2 are of runs that this statement creates.
	labelledPart = `, labelled AS (
	INSERT INTO limpet_run_metadata (run_id, pair, workflow, status, child, created_at)
	SELECT m.* FROM unnest($2::limpet_metadata_1[]) m
	WHERE NOT EXISTS (SELECT 1 FROM limpet_runs r WHERE r.run_id = m.run_id)
)`
	relabelledPart = `, relabelled AS (
	UPDATE limpet_run_metadata m SET status = g.status
	FROM given g WHERE m.run_id = g.run_id AND g.number > 1 AND g.number = g.has + 1 AND g.shard IS NOT NULL AND m.status <> g.status
)`
	// The rows of $3 are changes of waits of the runs of elements.
	waitsPart = `, over AS (
	DELETE FROM limpet_event_waits w USING unnest($3::limpet_wait_1[]) c, given g
	WHERE g.run_id = c.run_id AND g.number = g.has + 1 AND c.pattern IS NULL AND w.run_id = c.run_id AND w.wait_id = c.wait_id
), begun AS (
	INSERT INTO limpet_event_waits (run_id, wait_id, pattern, condition, since, from_seq)
	SELECT c.run_id, c.wait_id, c.pattern, c.condition, c.since, (SELECT newest FROM limpet_event_log WHERE one = 1)
	FROM unnest($3::limpet_wait_1[]) c JOIN given g ON g.run_id = c.run_id
	WHERE g.number = g.has + 1 AND c.pattern IS NOT NULL
	ON CONFLICT DO NOTHING
)`
	// The rows of $5 are cuts of the runs of elements.
	cutPart = `, cut AS (
	DELETE FROM limpet_entries e USING unnest($5::limpet_cut_1[]) c, given g
	WHERE g.run_id = c.run_id AND g.number = g.has + 1 AND c.kept IS NULL AND e.run_id = c.run_id AND e.number <= c.cut
	RETURNING e.run_id, e.number, e.data
), aside AS (
	INSERT INTO limpet_entries_aside (run_id, number, data)
	SELECT e.run_id, e.number, e.data FROM cut e JOIN unnest($5::limpet_cut_1[]) c ON c.run_id = e.run_id AND c.kept = e.number
), dropped AS (
	DELETE FROM limpet_entries_aside a USING unnest($5::limpet_cut_1[]) c, given g
	WHERE g.run_id = c.run_id AND g.number = g.has + 1 AND c.kept IS NULL AND a.run_id = c.run_id
		AND NOT EXISTS (SELECT 1 FROM unnest($5::limpet_cut_1[]) k WHERE k.run_id = a.run_id AND k.kept = a.number)
), forgotten AS (
	DELETE FROM limpet_stream_sections x USING unnest($5::limpet_cut_1[]) c, given g, limpet_streams s
	WHERE g.run_id = c.run_id AND g.number = g.has + 1 AND c.kept IS NULL AND s.run_id = c.run_id AND x.stream_id = s.id
		AND x.began <= c.cut AND x.over AND x.section < (SELECT max(n.section) FROM limpet_stream_sections n WHERE n.stream_id = x.stream_id)
	RETURNING x.stream_id, x.section
), pieces AS (
	DELETE FROM limpet_stream_pieces p USING forgotten f WHERE p.stream_id = f.stream_id AND p.section = f.section
)`
	refusedPart = `
SELECT run_id, has FROM given WHERE number <> has + 1`
)

// What a round has in it, as bits.
const (
	creates  = 1
	changes  = 2
	labels   = 4
	relabels = 8
	// waits come with everything else: there is one statement with them.
	waits     = 16
	withWaits = waits | creates | changes | labels | relabels
	// streams and cuts come with all that.
	rare     = 32
	withRare = rare | withWaits
)

func appendSQL(with int) string {
	sql := givenPart
	if with&creates != 0 {
		sql += createdPart
	}
	if with&changes != 0 {
		sql += changedPart
	}
	if with&labels != 0 {
		sql += labelledPart
	}
	if with&relabels != 0 {
		sql += relabelledPart
	}
	if with&waits != 0 {
		sql += waitsPart
	}
	if with&rare != 0 {
		sql += streamsPart + cutPart
	}
	return sql + refusedPart
}

// writerStatements are those of a connection for writing.
type writerStatements struct {
	lock *pgconn.StatementDescription
	// appends by what is in a round; nil until there is one with it.
	appends [withRare + 1]*pgconn.StatementDescription
	// composite, metadata, wait, stream and cut are the types of an element, of its
	// metadata, of what it changes of waits and of streams, and of what it cuts.
	composite, metadata, wait, stream, cut uint32
}

const statementsKey = "limpet statements"

// prepareWriter prepares a new connection.
func prepareWriter(ctx context.Context, conn *pgx.Conn) (err error) {
	w := &writerStatements{}
	if err := conn.QueryRow(ctx, "SELECT 'limpet_append_2'::regtype::oid, 'limpet_metadata_1'::regtype::oid, 'limpet_wait_1'::regtype::oid, 'limpet_stream_1'::regtype::oid, 'limpet_cut_1'::regtype::oid").
		Scan(&w.composite, &w.metadata, &w.wait, &w.stream, &w.cut); err != nil {
		return err
	}
	if w.lock, err = conn.PgConn().Prepare(ctx, "limpet_lock", shareDeleteLock, nil); err != nil {
		return err
	}
	conn.PgConn().CustomData()[statementsKey] = w
	return nil
}

// append returns the statement for a round with some parts. Most connections need but
// a few of all that there are.
func (w *writerStatements) append(ctx context.Context, conn *pgconn.PgConn, with int) (_ *pgconn.StatementDescription, err error) {
	if w.appends[with] == nil {
		w.appends[with], err = conn.Prepare(ctx, "limpet_append_"+strconv.Itoa(with), appendSQL(with), nil)
	}
	return w.appends[with], err
}

// round is what one statement adds: of each run one element at most. The
// second of a run is in the second round, and so on.
type round struct {
	// indices of the elements in the batch, in the order of run ids.
	indices []int
	// refused has the number of entries of the runs whose element is not next.
	refused map[string]uint64
}

// collisionsMax is how often an append is done again at once when other
// transactions come in between.
const collisionsMax = 10

// Append implements journal.Store.
func (s *Store) Append(ctx context.Context, batch []journal.Append) []error {
	errs := make([]error, len(batch))
	good := make([]int, 0, len(batch))
	bytes := 0
	for i := range batch {
		a := &batch[i]
		if errs[i] = a.Validate(); errs[i] == nil {
			errs[i] = storableNames(a)
		}
		if errs[i] == nil {
			good = append(good, i)
			bytes += len(a.Entry)
		}
	}
	// A large entry on a slow disk must get through at last.
	ctx, leave, err := s.enter(ctx, s.cfg.CallTimeout+time.Duration(bytes>>20)*time.Second)
	if err != nil {
		return fill(errs, good, err)
	}
	defer leave()
	if len(good) > 0 {
		s.appendAll(ctx, batch, good, errs)
	}
	return errs
}

func fill(errs []error, indices []int, err error) []error {
	for _, i := range indices {
		errs[i] = err
	}
	return errs
}

// appendAll appends elements and fills in their errors. When the database
// refuses what is in one of them, each goes by itself, so that it does not harm
// the others.
func (s *Store) appendAll(ctx context.Context, batch []journal.Append, indices []int, errs []error) {
	rounds := roundsOf(batch, indices)
	var err error
	for try := 1; ; try++ {
		err = s.on(ctx, s.writers, func(ctx context.Context, conn *pgxpool.Conn) error {
			return appendRounds(ctx, conn.Conn().PgConn(), batch, rounds)
		})
		if err == nil || !collided(err) || try > collisionsMax || ctx.Err() != nil {
			break
		}
		if s.cfg.Hooks.Collided != nil {
			s.cfg.Hooks.Collided(err)
		}
	}
	switch {
	case err == nil:
		for _, r := range rounds {
			if len(r.refused) > 0 {
				r.refuse(batch, errs)
			}
		}
	case ofData(err) && len(indices) > 1:
		for _, i := range indices {
			s.appendAll(ctx, batch, []int{i}, errs)
		}
	default:
		fill(errs, indices, s.fail("append", err))
	}
}

func (r *round) refuse(batch []journal.Append, errs []error) {
	for _, i := range r.indices {
		a := &batch[i]
		if has, refused := r.refused[a.RunID]; refused {
			errs[i] = journal.Conflict(a.RunID, a.Number, has)
		}
	}
}

// roundsOf splits a batch into rounds.
func roundsOf(batch []journal.Append, indices []int) []*round {
	order := slices.Clone(indices)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(batch[a].RunID, batch[b].RunID) })
	first := &round{indices: order[:0]}
	rounds := []*round{first}
	last, nth := "", 0
	for _, i := range order {
		if id := batch[i].RunID; id != last {
			last, nth = id, 0
			first.indices = append(first.indices, i)
			continue
		}
		if nth++; nth == len(rounds) {
			rounds = append(rounds, &round{})
		}
		rounds[nth].indices = append(rounds[nth].indices, i)
	}
	return rounds
}

// buffers are for the parameters of appends.
var buffers = sync.Pool{New: func() any { return new(appends) }}

// bufferKept is the largest buffer that is used again, in bytes.
const bufferKept = 1 << 20

var (
	binaryFormat = []int16{pgx.BinaryFormatCode}
	binaryBoth   = []int16{pgx.BinaryFormatCode, pgx.BinaryFormatCode}
	binaryParams = []int16{pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode}
)

// appendRounds sends all rounds at once, as one transaction: it ends, and is
// durable, with the message that the batch ends with.
func appendRounds(ctx context.Context, conn *pgconn.PgConn, batch []journal.Append, rounds []*round) error {
	statements := conn.CustomData()[statementsKey].(*writerStatements)
	param := buffers.Get().(*appends)
	defer func() {
		if cap(param.buf) <= bufferKept {
			buffers.Put(param)
		}
	}()
	var pipeline pgconn.Batch
	pipeline.ExecStatement(statements.lock, nil, nil, binaryFormat)
	for _, r := range rounds {
		r.refused = nil
		param.reset(statements.composite)
		with := 0
		for _, i := range r.indices {
			param.add(&batch[i])
			with |= partsOf(&batch[i])
		}
		switch {
		case with&rare != 0:
			with = withRare
		case with&waits != 0:
			with = withWaits
		}
		statement, err := statements.append(ctx, conn, with)
		if err != nil {
			return err
		}
		params := statements.params(param.bytes(), batch, r.indices, with)
		pipeline.ExecStatement(statement, params, binaryParams[:len(params)], binaryBoth)
	}
	// Each result is read to its end, or the batch is closed: of rows that are left,
	// the driver says "unexpected DataRow message without preceding RowDescription".
	results := conn.ExecBatch(ctx, &pipeline)
	for n := 0; results.NextResult(); n++ {
		reader := results.ResultReader()
		for reader.NextRow() {
			if n == 0 {
				continue // of the lock
			}
			values := reader.Values()
			if len(values) != 2 || len(values[1]) != 4 {
				return joinClose(results, messages.Errorf(messages.CodeInternal, "append: the answer has another form"))
			}
			r := rounds[n-1]
			if r.refused == nil {
				r.refused = make(map[string]uint64)
			}
			r.refused[string(values[0])] = uint64(binary.BigEndian.Uint32(values[1]))
		}
	}
	return results.Close()
}

// params of the statement for a round with some parts.
func (w *writerStatements) params(appends []byte, batch []journal.Append, indices []int, with int) [][]byte {
	params := [][]byte{appends}
	if with&labels != 0 {
		params = append(params, metadataOf(batch, indices, w.metadata))
	}
	if with&waits != 0 {
		params = append(params, waitsOf(batch, indices, w.wait))
	}
	if with&rare != 0 {
		params = append(params, streamsOf(batch, indices, w.stream), cutsOf(batch, indices, w.cut))
	}
	return params
}

// partsOf are the parts of the statement that an element needs.
func partsOf(a *journal.Append) (with int) {
	switch {
	case a.Number == 1:
		if with = creates; len(a.Metadata) > 0 {
			with |= labels
		}
	case a.Row != nil:
		if with = changes; len(a.Metadata) > 0 {
			with |= relabels
		}
	}
	if len(a.Waits) > 0 {
		with |= waits
	}
	if len(a.Streams) > 0 || a.Cut > 0 {
		with |= rare
	}
	return with
}

// metadataOf is the parameter with the metadata of the runs that a round
// creates.
func metadataOf(batch []journal.Append, indices []int, composite uint32) []byte {
	param := new(appends)
	param.reset(composite)
	for _, i := range indices {
		if a := &batch[i]; a.Number == 1 {
			param.addMetadata(a)
		}
	}
	return param.bytes()
}

// waitsOf is the parameter with what a round changes of waits.
func waitsOf(batch []journal.Append, indices []int, composite uint32) []byte {
	param := new(appends)
	param.reset(composite)
	for _, i := range indices {
		param.addWaits(&batch[i])
	}
	return param.bytes()
}

// streamsOf is the parameter with what a round changes of streams.
func streamsOf(batch []journal.Append, indices []int, composite uint32) []byte {
	param := new(appends)
	param.reset(composite)
	for _, i := range indices {
		param.addStreams(&batch[i])
	}
	return param.bytes()
}

// cutsOf is the parameter with what a round cuts.
func cutsOf(batch []journal.Append, indices []int, composite uint32) []byte {
	param := new(appends)
	param.reset(composite)
	for _, i := range indices {
		param.addCut(&batch[i])
	}
	return param.bytes()
}

func joinClose(results *pgconn.MultiResultReader, err error) error {
	if closed := results.Close(); closed != nil {
		return closed
	}
	return err
}
