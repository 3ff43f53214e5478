package sqlite

import (
	"context"
	"slices"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
)

const (
	eventColumns  = "seq, id, key, at, payload"
	waitColumns   = "run_id, wait_id, pattern, condition, since, from_seq"
	insertWaitSQL = "INSERT OR IGNORE INTO event_waits (" + waitColumns + ") SELECT ?, ?, ?, ?, ?, newest FROM event_log"
	deleteWaitSQL = "DELETE FROM event_waits WHERE run_id = ? AND wait_id = ?"
)

// changeWaits carries out what an entry changes of the waits of its run.
func (w *writer) changeWaits(runID string, changes []journal.EventWaitChange) error {
	for _, c := range changes {
		sql := insertWaitSQL
		if c.Over {
			sql = deleteWaitSQL
		}
		stmt, err := w.conn.Prepare(sql)
		if err != nil {
			return err
		}
		stmt.BindText(1, runID)
		stmt.BindText(2, c.Wait.ID)
		if !c.Over {
			stmt.BindText(3, c.Wait.Pattern)
			stmt.BindText(4, c.Wait.If)
			stmt.BindInt64(5, journal.Micros(c.Wait.Since))
		}
		if err := run(stmt); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) forgetWaits(runID string) error {
	stmt, err := w.conn.Prepare("DELETE FROM event_waits WHERE run_id = ?")
	if err != nil {
		return err
	}
	stmt.BindText(1, runID)
	return run(stmt)
}

// Publish implements journal.EventStore.
func (s *Store) Publish(ctx context.Context, batch []journal.Event) []error {
	errs := make([]error, len(batch))
	fresh, settle := journal.Fresh(batch, errs)
	had := map[string]*journal.Event{}
	err := s.write(ctx, "publish events", func(w *writer) error {
		clear(had)
		return w.publish(fresh, had)
	})
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	s.ckpt.published(fresh)
	settle(had)
	return errs
}

// publish stores events, but for those whose ids are in use: they come out in had.
func (w *writer) publish(fresh []*journal.Event, had map[string]*journal.Event) error {
	cursor, err := eventCursor(w.conn)
	if err != nil {
		return err
	}
	newest := cursor.Newest
	insert, err := w.conn.Prepare("INSERT INTO events (" + eventColumns + ") VALUES (?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	for _, e := range fresh {
		if err := each(w.conn, "SELECT "+eventColumns+" FROM events WHERE id = ?", func(s *sqlite.Stmt) bool {
			kept := readEvent(s)
			had[e.ID] = &kept
			return false
		}, e.ID); err != nil {
			return err
		}
		if had[e.ID] != nil {
			continue
		}
		newest++
		e.Seq, e.At = newest, journal.FromMicros(journal.Micros(e.At))
		insert.BindInt64(1, int64(e.Seq))
		insert.BindText(2, e.ID)
		insert.BindText(3, e.Key)
		insert.BindInt64(4, journal.Micros(e.At))
		insert.BindBytes(5, e.Payload)
		if err := run(insert); err != nil {
			return err
		}
	}
	if newest == cursor.Newest {
		return nil
	}
	return w.moveLog("newest", newest)
}

func (w *writer) moveLog(column string, seq uint64) error {
	stmt, err := w.conn.Prepare("UPDATE event_log SET " + column + " = ?1 WHERE " + column + " < ?1")
	if err != nil {
		return err
	}
	stmt.BindInt64(1, int64(seq))
	return run(stmt)
}

func readEvent(s *sqlite.Stmt) journal.Event {
	e := journal.Event{Seq: uint64(s.ColumnInt64(0)), ID: s.ColumnText(1), Key: s.ColumnText(2), At: journal.FromMicros(s.ColumnInt64(3))}
	e.Payload = make([]byte, s.ColumnLen(4))
	s.ColumnBytes(4, e.Payload)
	return e
}

// Events implements journal.EventStore. Those of a key are found by it, those of a
// prefix among all.
func (s *Store) Events(ctx context.Context, f journal.EventFilter, after uint64, limit int) (out []journal.Event, err error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	sql, args := eventsSQL(f, after)
	err = s.read(ctx, "read events", func(conn *sqlite.Conn) error {
		return each(conn, sql, func(s *sqlite.Stmt) bool {
			out = append(out, readEvent(s))
			return len(out) < limit
		}, args...)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

const (
	allEventsSQL      = "SELECT " + eventColumns + " FROM events NOT INDEXED WHERE seq > ?1 AND (seq > ?2 OR ?3 <> 0 AND at >= ?3)"
	eventsOfKeySQL    = "SELECT " + eventColumns + " FROM events INDEXED BY events_by_key WHERE seq > ?1 AND (seq > ?2 OR ?3 <> 0 AND at >= ?3) AND key = ?4"
	eventsOfPrefixSQL = allEventsSQL + " AND substr(key, 1, length(?4)) = ?4"
	orderBySeq        = " ORDER BY seq"
)

func eventsSQL(f journal.EventFilter, after uint64) (sql string, args []any) {
	since := journal.Micros(f.Since)
	if since == 0 {
		after = max(after, f.From)
	}
	args = []any{int64(after), int64(f.From), since}
	key, isPrefix := strings.CutSuffix(f.Pattern, "*")
	switch {
	case f.Pattern == "":
		return allEventsSQL + orderBySeq, args
	case isPrefix:
		return eventsOfPrefixSQL + orderBySeq, append(args, key)
	}
	return eventsOfKeySQL + orderBySeq, append(args, key)
}

const waitsSQL = "SELECT " + waitColumns + " FROM event_waits INDEXED BY event_waits_by_pattern " +
	"WHERE pattern = ? AND (run_id, wait_id) > (?, ?) ORDER BY run_id, wait_id"

// EventWaits implements journal.EventStore.
func (s *Store) EventWaits(ctx context.Context, patterns []string, after journal.EventWaitPlace, limit int) (out []journal.EventWait, err error) {
	err = s.read(ctx, "read waits for events", func(conn *sqlite.Conn) error {
		prefixes, err := anyRow(conn, "SELECT 1 FROM event_waits INDEXED BY event_waits_for_prefix WHERE substr(pattern, -1) = '*'")
		if err != nil {
			return err
		}
		for _, pattern := range slices.Compact(slices.Sorted(slices.Values(patterns))) {
			place := journal.EventWaitPlace{}
			switch {
			case len(out) >= limit:
				return nil
			case pattern < after.Pattern, !prefixes && strings.HasSuffix(pattern, "*"):
				continue
			case pattern == after.Pattern:
				place = after
			}
			if err := each(conn, waitsSQL, func(s *sqlite.Stmt) bool {
				out = append(out, readWait(s))
				return len(out) < limit
			}, pattern, place.RunID, place.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func anyRow(conn *sqlite.Conn, sql string) (found bool, err error) {
	err = each(conn, sql, func(*sqlite.Stmt) bool {
		found = true
		return false
	})
	return found, err
}

func readWait(s *sqlite.Stmt) journal.EventWait {
	return journal.EventWait{RunID: s.ColumnText(0), ID: s.ColumnText(1), Pattern: s.ColumnText(2), If: s.ColumnText(3),
		Since: journal.FromMicros(s.ColumnInt64(4)), From: uint64(s.ColumnInt64(5))}
}

// EventWaitsOf implements journal.EventStore.
func (s *Store) EventWaitsOf(ctx context.Context, runID string) (out []journal.EventWait, err error) {
	err = s.read(ctx, "read the waits of a run", func(conn *sqlite.Conn) error {
		return each(conn, "SELECT "+waitColumns+" FROM event_waits WHERE run_id = ? ORDER BY wait_id", func(s *sqlite.Stmt) bool {
			out = append(out, readWait(s))
			return true
		}, runID)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// EventCursor implements journal.EventStore.
func (s *Store) EventCursor(ctx context.Context) (c journal.EventCursor, err error) {
	err = s.read(ctx, "read how far events are delivered", func(conn *sqlite.Conn) error {
		c, err = eventCursor(conn)
		return err
	})
	return c, err
}

func eventCursor(conn *sqlite.Conn) (c journal.EventCursor, err error) {
	err = each(conn, "SELECT delivered, newest FROM event_log", func(s *sqlite.Stmt) bool {
		c = journal.EventCursor{Delivered: uint64(s.ColumnInt64(0)), Newest: uint64(s.ColumnInt64(1))}
		return false
	})
	return c, err
}

// MoveEventCursor implements journal.EventStore.
func (s *Store) MoveEventCursor(ctx context.Context, delivered uint64) error {
	return s.write(ctx, "note how far events are delivered", func(w *writer) error { return w.moveLog("delivered", delivered) })
}

const deleteEventsSQL = "DELETE FROM events WHERE seq IN (SELECT seq FROM events INDEXED BY events_by_time " +
	"WHERE at < ? AND seq <= (SELECT delivered FROM event_log) ORDER BY at, seq LIMIT ?)"

// DeleteEvents implements journal.EventStore.
func (s *Store) DeleteEvents(ctx context.Context, before time.Time, limit int) (deleted int, err error) {
	err = s.write(ctx, "delete events", func(w *writer) error {
		stmt, err := w.conn.Prepare(deleteEventsSQL)
		if err != nil {
			return err
		}
		stmt.BindInt64(1, journal.Micros(before))
		stmt.BindInt64(2, int64(max(0, limit)))
		err = run(stmt)
		deleted = w.conn.Changes()
		return err
	})
	if err != nil {
		return 0, err
	}
	s.ckpt.deleted(deleted)
	return deleted, nil
}
