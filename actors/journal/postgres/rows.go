package postgres

import (
	"github.com/jackc/pgx/v5"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// rowColumns is the column list of every statement that reads rows.
const rowColumns = `r.run_id, r.shard, r.phase, r.status, r.sticky, r.priority, r.epoch, r.created_at,
	coalesce(r.finished_at, 0), coalesce(r.wake_at, 0), coalesce(r.wake_on_up, ''), coalesce(r.wake_on_gone, ''),
	coalesce(r.bound_worker, ''), coalesce(r.workflow, ''), coalesce(r.pool, ''), coalesce(r.parent_run, ''),
	coalesce(r.started_by, ''), coalesce(r.definition_hash, ''), coalesce(r.failure_code, ''), coalesce(r.failure_message, ''),
	coalesce(r.line, 0), r.line_since`

// scanRow reads the columns of rowColumns, and those before them.
func scanRow(rows pgx.Rows, before ...any) (r journal.Row, err error) {
	var shard, phase int16
	var status, sticky int32
	var epoch, createdAt, finishedAt, wakeAt, lineSince int64
	err = rows.Scan(append(before, &r.RunID, &shard, &phase, &status, &sticky, &r.Priority, &epoch, &createdAt,
		&finishedAt, &wakeAt, &r.WakeOnUp, &r.WakeOnGone,
		&r.BoundWorker, &r.Workflow, &r.Pool, &r.ParentRun,
		&r.Trigger, &r.DefinitionHash, &r.FailureCode, &r.FailureMessage,
		&r.Line, &lineSince)...)
	r.Shard, r.Dormant = int(shard), phase == phaseDormant
	r.Status, r.Sticky = messages.RunStatus(status), messages.Sticky(sticky)
	r.Epoch = uint64(epoch)
	if phase >= phaseFinished {
		// The column has the worker of the last binding then; no index has it.
		r.BoundWorker, r.LastWorker = "", r.BoundWorker
	}
	r.CreatedAt, r.FinishedAt, r.WakeAt = journal.FromMicros(createdAt), journal.FromMicros(finishedAt), journal.FromMicros(wakeAt)
	r.LineSince = journal.FromMicros(lineSince)
	return r, err
}

// scanRows reads all rows of a result.
func scanRows(rows pgx.Rows) (out []journal.Row, err error) {
	defer rows.Close()
	for rows.Next() {
		r, err := scanRow(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// scanAll reads all values of a result with one column.
func scanAll[T any](rows pgx.Rows) (out []T, err error) {
	defer rows.Close()
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
