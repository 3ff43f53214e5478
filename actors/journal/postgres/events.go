package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Who publishes holds the row of limpet_event_log until its commit, so that events
// become visible in the order of their seq.
const (
	lockLogSQL = "SELECT newest FROM limpet_event_log WHERE one = 1 FOR UPDATE"
	// $1 to $4 are the ids, keys, times and payloads of events, each id once. Those
	// whose id is there come out as they are there.
	publishSQL = `
WITH given AS MATERIALIZED (
	SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::bytea[]) WITH ORDINALITY AS g(id, key, at, payload, n)
), had AS MATERIALIZED (
	SELECT e.seq, e.id, e.key, e.at, e.payload FROM given g JOIN limpet_events e ON e.id = g.id
), fresh AS MATERIALIZED (
	SELECT g.*, (SELECT newest FROM limpet_event_log WHERE one = 1) + row_number() OVER (ORDER BY g.n) AS seq
	FROM given g WHERE g.id NOT IN (SELECT id FROM had)
), moved AS (
	UPDATE limpet_event_log SET newest = f.newest FROM (SELECT max(seq) AS newest FROM fresh) f WHERE one = 1 AND f.newest IS NOT NULL
), put AS (
	INSERT INTO limpet_events (seq, id, key, at, payload) SELECT seq, id, key, at, payload FROM fresh
)
SELECT seq, id, '' AS key, at, NULL AS payload, true FROM fresh UNION ALL
SELECT seq, id, key, at, payload, false FROM had`
)

// Publish implements journal.EventStore.
func (s *Store) Publish(ctx context.Context, batch []journal.Event) []error {
	errs := make([]error, len(batch))
	for i := range batch {
		if e := &batch[i]; !isText(e.ID) || !isText(e.Key) {
			errs[i] = messages.Errorf(messages.CodeInvalidArgument, "event %q with the key %q: it is not a text without zero bytes", e.ID, e.Key)
		}
	}
	fresh, settle := journal.Fresh(batch, errs)
	had, err := s.publish(ctx, fresh)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	settle(had)
	return errs
}

// publish stores events, and returns those of the same ids that are there.
func (s *Store) publish(ctx context.Context, fresh []*journal.Event) (had map[string]*journal.Event, err error) {
	ids, keys, ats, payloads := make([]string, len(fresh)), make([]string, len(fresh)), make([]int64, len(fresh)), make([][]byte, len(fresh))
	of := make(map[string]*journal.Event, len(fresh))
	for i, e := range fresh {
		ids[i], keys[i], ats[i], payloads[i] = e.ID, e.Key, journal.Micros(e.At), e.Payload
		if payloads[i] == nil {
			payloads[i] = []byte{}
		}
		of[e.ID] = e
	}
	had = map[string]*journal.Event{}
	err = s.write(ctx, "publish events", func(ctx context.Context, conn *pgxpool.Conn) error {
		clear(had)
		var queries pgx.Batch
		queries.Queue(lockLogSQL)
		queries.Queue(publishSQL, ids, keys, ats, payloads).Query(func(rows pgx.Rows) error {
			defer rows.Close()
			for rows.Next() {
				var isNew bool
				e, err := scanEvent(rows, &isNew)
				switch {
				case err != nil:
					return err
				case isNew:
					of[e.ID].Seq, of[e.ID].At = e.Seq, e.At
				default:
					had[e.ID] = &e
				}
			}
			return rows.Err()
		})
		return conn.SendBatch(ctx, &queries).Close()
	})
	return had, err
}

// scanEvent reads the columns of an event, and those after them.
func scanEvent(row pgx.CollectableRow, after ...any) (e journal.Event, err error) {
	var seq, at int64
	err = row.Scan(append([]any{&seq, &e.ID, &e.Key, &at, &e.Payload}, after...)...)
	e.Seq, e.At = uint64(seq), journal.FromMicros(at)
	return e, err
}

const (
	eventColumns = "seq, id, key, at, payload"
	// $1 is the seq before, $2 the limit; $3 and $4 are from where, and since when.
	eventsSQL      = "SELECT " + eventColumns + " FROM limpet_events WHERE seq > $1 AND (seq > $3 OR $4::int8 <> 0 AND at >= $4::int8)"
	allEventsSQL   = eventsSQL + " ORDER BY seq LIMIT $2"
	eventsOfKeySQL = eventsSQL + " AND key = $5 ORDER BY key, seq LIMIT $2"
	// Not by the index of keys: it would sort all events of the prefix.
	eventsOfPrefixSQL = eventsSQL + " AND left(key, length($5)) = $5 ORDER BY seq LIMIT $2"
)

// Events implements journal.EventStore. Those of a key are found by it, those of a
// prefix among all.
func (s *Store) Events(ctx context.Context, f journal.EventFilter, after uint64, limit int) ([]journal.Event, error) {
	since := journal.Micros(f.Since)
	if since == 0 {
		after = max(after, f.From)
	}
	sql, args := allEventsSQL, []any{int64(after), max(0, limit), int64(f.From), since}
	if f.Pattern != "" {
		if !isText(f.Pattern) {
			return nil, nil
		}
		key, isPrefix := strings.CutSuffix(f.Pattern, "*")
		if sql, args = eventsOfKeySQL, append(args, key); isPrefix {
			sql = eventsOfPrefixSQL
		}
	}
	return collect(ctx, s, "read events", func(row pgx.CollectableRow) (journal.Event, error) { return scanEvent(row) }, sql, args...)
}

const (
	waitColumns = "w.run_id, w.wait_id, w.pattern, w.condition, w.since, w.from_seq"
	// $1 are the patterns, each once; $2 to $4 are the place before, $5 is the limit.
	eventWaitsSQL = "SELECT " + waitColumns + " FROM unnest($1::text[]) p(pattern) CROSS JOIN LATERAL (" +
		"SELECT * FROM limpet_event_waits x WHERE x.pattern = p.pattern AND (x.run_id, x.wait_id) > " +
		"(CASE WHEN p.pattern COLLATE \"C\" = $2 THEN $3 ELSE '' END, CASE WHEN p.pattern COLLATE \"C\" = $2 THEN $4 ELSE '' END) " +
		"ORDER BY x.run_id, x.wait_id LIMIT $5) w " +
		"WHERE p.pattern COLLATE \"C\" >= $2 AND (right(p.pattern, 1) <> '*' OR (SELECT EXISTS (SELECT 1 FROM limpet_event_waits WHERE right(pattern, 1) = '*'))) " +
		"ORDER BY p.pattern COLLATE \"C\", w.run_id, w.wait_id LIMIT $5"
	eventWaitsOfSQL = "SELECT " + waitColumns + " FROM limpet_event_waits w WHERE run_id = $1 ORDER BY wait_id"
)

// EventWaits implements journal.EventStore.
func (s *Store) EventWaits(ctx context.Context, patterns []string, after journal.EventWaitPlace, limit int) ([]journal.EventWait, error) {
	patterns = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(patterns))), func(p string) bool { return !isText(p) })
	return collect(ctx, s, "read waits for events", scanWait, eventWaitsSQL, patterns, after.Pattern, after.RunID, after.ID, max(0, limit))
}

// EventWaitsOf implements journal.EventStore.
func (s *Store) EventWaitsOf(ctx context.Context, runID string) ([]journal.EventWait, error) {
	return collect(ctx, s, "read the waits of a run", scanWait, eventWaitsOfSQL, storable(runID))
}

func scanWait(row pgx.CollectableRow) (w journal.EventWait, err error) {
	var since, from int64
	err = row.Scan(&w.RunID, &w.ID, &w.Pattern, &w.If, &since, &from)
	w.Since, w.From = journal.FromMicros(since), uint64(from)
	return w, err
}

// EventCursor implements journal.EventStore.
func (s *Store) EventCursor(ctx context.Context) (c journal.EventCursor, err error) {
	err = s.read(ctx, "read how far events are delivered", func(ctx context.Context, conn *pgxpool.Conn) error {
		var delivered, newest int64
		err := conn.QueryRow(ctx, "SELECT c.delivered, l.newest FROM limpet_event_cursor c JOIN limpet_event_log l USING (one) WHERE one = 1").Scan(&delivered, &newest)
		c = journal.EventCursor{Delivered: uint64(delivered), Newest: uint64(newest)}
		return err
	})
	return c, err
}

// MoveEventCursor implements journal.EventStore.
func (s *Store) MoveEventCursor(ctx context.Context, delivered uint64) error {
	return s.write(ctx, "note how far events are delivered", func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, "UPDATE limpet_event_cursor SET delivered = $1 WHERE one = 1 AND delivered < $1", int64(delivered))
		return err
	})
}

// Two servers that delete at once take different events.
const deleteEventsSQL = "DELETE FROM limpet_events WHERE seq = ANY(ARRAY(SELECT seq FROM limpet_events " +
	"WHERE at < $1 AND seq <= (SELECT delivered FROM limpet_event_cursor WHERE one = 1) ORDER BY at, seq LIMIT $2 FOR UPDATE SKIP LOCKED))"

// DeleteEvents implements journal.EventStore.
func (s *Store) DeleteEvents(ctx context.Context, before time.Time, limit int) (deleted int, err error) {
	err = s.write(ctx, "delete events", func(ctx context.Context, conn *pgxpool.Conn) error {
		tag, err := conn.Exec(ctx, deleteEventsSQL, journal.Micros(before), max(0, limit))
		deleted = int(tag.RowsAffected())
		return err
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}
