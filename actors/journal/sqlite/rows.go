package sqlite

import (
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// column is one of runs beside seq.
type column struct {
	name string
	// fixed columns are written once.
	fixed bool
	same  func(a, b *journal.Row) bool
	bind  func(s *sqlite.Stmt, param int, r *journal.Row)
	read  func(s *sqlite.Stmt, col int, r *journal.Row)
}

// columns in the order in which rowColumns names them.
var columns = []column{
	fixed(text("run_id", func(r *journal.Row) *string { return &r.RunID })),
	fixed(column{
		name: "shard",
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) { s.BindInt64(p, int64(r.Shard)) },
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { r.Shard = s.ColumnInt(c) },
	}),
	{
		name: "phase",
		same: func(a, b *journal.Row) bool { return phase(a) == phase(b) },
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) { s.BindInt64(p, phase(r)) },
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { r.Dormant = s.ColumnInt64(c) == phaseDormant },
	},
	integer("status", func(r *journal.Row) *messages.RunStatus { return &r.Status }),
	fixed(column{
		name: "created_at",
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) { s.BindInt64(p, journal.Micros(r.CreatedAt)) },
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { r.CreatedAt = journal.FromMicros(s.ColumnInt64(c)) },
	}),
	micros("finished_at", func(r *journal.Row) *time.Time { return &r.FinishedAt }),
	micros("wake_at", func(r *journal.Row) *time.Time { return &r.WakeAt }),
	text("wake_on_up", func(r *journal.Row) *string { return &r.WakeOnUp }),
	text("wake_on_gone", func(r *journal.Row) *string { return &r.WakeOnGone }),
	text("bound_worker", func(r *journal.Row) *string { return &r.BoundWorker }),
	integer("epoch", func(r *journal.Row) *uint64 { return &r.Epoch }),
	// Never NULL: groups are found by comparing.
	fixed(column{
		name: "workflow",
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) { s.BindText(p, r.Workflow) },
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { r.Workflow = s.ColumnText(c) },
	}),
	text("pool", func(r *journal.Row) *string { return &r.Pool }),
	fixed(text("parent_run", func(r *journal.Row) *string { return &r.ParentRun })),
	integer("sticky", func(r *journal.Row) *messages.Sticky { return &r.Sticky }),
	integer("priority", func(r *journal.Row) *int32 { return &r.Priority }),
	text("started_by", func(r *journal.Row) *string { return &r.Trigger }),
	text("definition_hash", func(r *journal.Row) *string { return &r.DefinitionHash }),
	text("failure_code", func(r *journal.Row) *string { return &r.FailureCode }),
	text("failure_message", func(r *journal.Row) *string { return &r.FailureMessage }),
	{
		name: "line",
		same: func(a, b *journal.Row) bool { return a.Line == b.Line },
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) { bindInt(s, p, r.Line) },
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { r.Line = s.ColumnInt64(c) },
	},
	{
		name: "line_since",
		same: func(a, b *journal.Row) bool { return a.LineSince.Equal(b.LineSince) },
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) { s.BindInt64(p, journal.Micros(r.LineSince)) },
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { r.LineSince = journal.FromMicros(s.ColumnInt64(c)) },
	},
	text("last_worker", func(r *journal.Row) *string { return &r.LastWorker }),
}

// rowColumns is the column list of every statement that reads or writes rows.
var rowColumns = func() string {
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = columns[i].name
	}
	return strings.Join(names, ", ")
}()

func fixed(c column) column {
	c.fixed = true
	return c
}

func text(name string, field func(*journal.Row) *string) column {
	return column{
		name: name,
		same: func(a, b *journal.Row) bool { return *field(a) == *field(b) },
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) {
			if v := *field(r); v != "" {
				s.BindText(p, v)
			} else {
				s.BindNull(p)
			}
		},
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { *field(r) = s.ColumnText(c) },
	}
}

func integer[T ~int32 | ~uint64](name string, field func(*journal.Row) *T) column {
	return column{
		name: name,
		same: func(a, b *journal.Row) bool { return *field(a) == *field(b) },
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) { s.BindInt64(p, int64(*field(r))) },
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { *field(r) = T(s.ColumnInt64(c)) },
	}
}

// micros is a time of which the zero value is NULL.
func micros(name string, field func(*journal.Row) *time.Time) column {
	return column{
		name: name,
		same: func(a, b *journal.Row) bool { return field(a).Equal(*field(b)) },
		bind: func(s *sqlite.Stmt, p int, r *journal.Row) { bindInt(s, p, journal.Micros(*field(r))) },
		read: func(s *sqlite.Stmt, c int, r *journal.Row) { *field(r) = journal.FromMicros(s.ColumnInt64(c)) },
	}
}

// bindInt binds a number of which 0 is NULL.
func bindInt(s *sqlite.Stmt, param int, v int64) {
	if v == 0 {
		s.BindNull(param)
	} else {
		s.BindInt64(param, v)
	}
}

func phase(r *journal.Row) int64 {
	switch {
	case journal.Finished(r.Status):
		return phaseFinished
	case r.Dormant:
		return phaseDormant
	}
	return phaseActive
}

// readRow reads the columns of rowColumns, the first of which is number from.
func readRow(s *sqlite.Stmt, from int) (r journal.Row) {
	for i := range columns {
		columns[i].read(s, from+i, &r)
	}
	return r
}

// changed returns the columns, as bits, in which a row is not the same.
func changed(old, now *journal.Row) (mask uint32) {
	for i := range columns {
		if c := &columns[i]; !c.fixed && !c.same(old, now) {
			mask |= 1 << i
		}
	}
	return mask
}

// updateSQL sets the columns of a mask; the parameters are those columns and
// the seq of the run.
func updateSQL(mask uint32) string {
	var sets []string
	for i := range columns {
		if mask&(1<<i) != 0 {
			sets = append(sets, columns[i].name+" = ?")
		}
	}
	return "UPDATE runs SET " + strings.Join(sets, ", ") + " WHERE seq = ?"
}
