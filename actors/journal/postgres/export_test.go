package postgres

import (
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Query is a statement of the store, for EXPLAIN, with its arguments as SQL.
type Query struct {
	SQL  string
	Args []string
	// Index that it must use.
	Index string
}

// Queries returns the statements that find runs.
func Queries() map[string]Query {
	list := func(f journal.Filter, cursor journal.PageCursor, index string, args ...string) Query {
		sql, _ := listSQL(f, cursor, 10)
		return Query{sql, args, index}
	}
	bits := "decode(repeat('ff', 128), 'hex')"
	shards := "string_to_array(repeat('7,', 300) || '8', ',')::int2[]"
	running := []messages.RunStatus{messages.RunStatus_RUN_STATUS_RUNNING}
	return map[string]Query{
		"rows of active":    {within(rowsOf, activePage), []string{shards, "'r'", "500"}, "limpet_runs_active"},
		"entries of active": {within(entriesOf, activePage), []string{shards, "'r'", "500"}, "limpet_runs_active"},
		"heads":             {within(headsOf, activePage), []string{shards, "'r'", "500"}, "limpet_runs_active"},
		"rows on up":        {within(rowsOf, onUpPage), []string{bits, "'r'", "500", "'w1'"}, "limpet_runs_on_up"},
		"entries on gone":   {within(entriesOf, onGonePage), []string{bits, "'r'", "500", "'w1'"}, "limpet_runs_on_gone"},
		"due":               {dueSQL, []string{bits, "500"}, "limpet_runs_due"},
		"watched":           {watchedSQL, []string{bits}, "limpet_runs_on_gone"},
		"rows in line":      {within(rowsOf, inLinePage), []string{bits, "'r'", "500", "5", "5"}, "limpet_runs_in_line"},
		"entries in line":   {within(entriesOf, inLinePage), []string{bits, "'r'", "500", "5", "5"}, "limpet_runs_in_line"},
		"lines":             {linesSQL, []string{bits}, "limpet_runs_in_line"},
		"bound":             {boundSQL, []string{"'default'"}, "limpet_runs_parked"},
		"delete":            {deleteSQL, []string{"5", "100", "1000"}, "limpet_runs_finished"},
		"delete, above":     {deleteSQL, []string{"5", "100", "1000"}, "limpet_runs_pkey"},
		"delete, kept":      {deleteSQL, []string{"5", "100", "1000"}, "limpet_runs_kept"},
		"list":              list(journal.Filter{}, journal.PageCursor{}, "limpet_runs_created", "10"),
		"list of a worker":  list(journal.Filter{BoundWorker: "b1", Statuses: running}, journal.PageCursor{}, "limpet_runs_parked", "'{2}'", "'b1'", "10"),
		"list of a parent":  list(journal.Filter{ParentRun: "p"}, journal.PageCursor{}, "limpet_runs_parent", "'p'", "10"),
		"list, next page":   list(journal.Filter{Workflow: "w"}, journal.PageCursor{Set: true, RunID: "r"}, "limpet_runs_created", "'w'", "7", "'r'", "10"),
	}
}

// Settings are those of the store's sessions.
var Settings = planSettings

// CodeOf is what the store makes of an error of the database.
func CodeOf(name string, err error) error { return (&Store{name: name}).fail("append", err) }
