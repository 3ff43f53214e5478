package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Time implements journal.Store.
func (s *Store) Time(ctx context.Context) (now time.Time, kept journal.KeptTime, err error) {
	err = s.read(ctx, "read the time", func(ctx context.Context, conn *pgxpool.Conn) error {
		var version *int64
		err := conn.QueryRow(ctx, "SELECT clock_timestamp(), t.version, t.data FROM (VALUES (1)) one LEFT JOIN limpet_time t ON t.id = 1").
			Scan(&now, &version, &kept.Data)
		if version != nil {
			kept.Version = uint64(*version)
		}
		return err
	})
	return now.UTC(), kept, err
}

// KeepTime implements journal.Store.
func (s *Store) KeepTime(ctx context.Context, k journal.KeptTime) (kept bool, err error) {
	sql := "UPDATE limpet_time SET version = $1, data = $2 WHERE version = $1 - 1"
	if k.Version == 1 {
		sql = "INSERT INTO limpet_time (id, version, data) VALUES (1, $1, $2) ON CONFLICT DO NOTHING"
	}
	err = s.write(ctx, "keep the time", func(ctx context.Context, conn *pgxpool.Conn) error {
		tag, err := conn.Exec(ctx, sql, int64(k.Version), k.Data)
		kept = tag.RowsAffected() > 0
		return err
	})
	return kept && err == nil, err
}

// Heartbeat implements journal.Store. Heartbeats are not logged: a commit that
// changes nothing else is not flushed.
func (s *Store) Heartbeat(ctx context.Context, server string, data []byte) (beats []messages.StoredHeartbeat, err error) {
	if !isText(server) {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "heartbeat of server %q: it is not a text without zero bytes", server)
	}
	if data == nil {
		data = []byte{}
	}
	const beat = "INSERT INTO limpet_heartbeats (server, written_at, data) VALUES ($1, clock_timestamp(), $2) " +
		"ON CONFLICT (server) DO UPDATE SET written_at = excluded.written_at, data = excluded.data"
	const forget = "DELETE FROM limpet_heartbeats WHERE server IN " +
		"(SELECT server FROM limpet_heartbeats WHERE written_at < clock_timestamp() - $1::int8 * interval '1 microsecond' FOR UPDATE SKIP LOCKED)"
	const read = "SELECT server, data, extract(epoch FROM clock_timestamp() - written_at)::float8 FROM limpet_heartbeats " +
		"WHERE written_at >= clock_timestamp() - $1::int8 * interval '1 microsecond' ORDER BY server"
	kept := journal.HeartbeatsKept.Microseconds()
	err = s.write(ctx, "write a heartbeat", func(ctx context.Context, conn *pgxpool.Conn) error {
		var queries pgx.Batch
		queries.Queue(beat, server, data)
		queries.Queue(forget, kept)
		queries.Queue(read, kept).Query(func(rows pgx.Rows) (err error) {
			beats, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (beat messages.StoredHeartbeat, err error) {
				var age float64
				err = row.Scan(&beat.Server, &beat.Data, &age)
				beat.Age = max(0, time.Duration(age*float64(time.Second)))
				return beat, err
			})
			return err
		})
		return conn.SendBatch(ctx, &queries).Close()
	})
	if err != nil {
		return nil, err
	}
	return beats, nil
}

// presenceLock is the advisory lock of the server that notes its presence.
const presenceLock = lockFamily<<32 | 3

// NotePresence implements journal.Store. One server after the other notes: what
// comes between two of them is seen by the second.
func (s *Store) NotePresence(ctx context.Context, at time.Time, gap time.Duration) (list []journal.Presence, err error) {
	const lock = "SELECT pg_advisory_xact_lock($1)"
	const extend = "UPDATE limpet_presences SET to_at = greatest(to_at, $1::int8) " +
		"WHERE from_at = (SELECT max(from_at) FROM limpet_presences) AND $1::int8 - to_at <= $2::int8"
	const begin = "INSERT INTO limpet_presences (from_at, to_at) SELECT $1::int8, $1::int8 " +
		"WHERE NOT EXISTS (SELECT 1 FROM limpet_presences WHERE $1::int8 - to_at <= $2::int8)"
	const forget = "DELETE FROM limpet_presences WHERE from_at < (SELECT min(from_at) FROM " +
		"(SELECT from_at FROM limpet_presences ORDER BY from_at DESC LIMIT $1) AS kept)"
	const read = "SELECT from_at, to_at FROM limpet_presences ORDER BY from_at"
	us, gapUs := journal.Micros(at), gap.Microseconds()
	err = s.write(ctx, "note that a server is there", func(ctx context.Context, conn *pgxpool.Conn) error {
		var queries pgx.Batch
		queries.Queue(lock, int64(presenceLock))
		queries.Queue(extend, us, gapUs)
		queries.Queue(begin, us, gapUs)
		queries.Queue(forget, journal.PresencesKept)
		queries.Queue(read).Query(func(rows pgx.Rows) (err error) {
			list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p journal.Presence, err error) {
				var from, to int64
				err = row.Scan(&from, &to)
				return journal.Presence{From: time.UnixMicro(from).UTC(), To: time.UnixMicro(to).UTC()}, err
			})
			return err
		})
		return conn.SendBatch(ctx, &queries).Close()
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}
