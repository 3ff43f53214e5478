package postgres

import (
	"fmt"

	"github.com/limpetrun/limpet/actors/journal"
)

// Query is a statement of the store, for EXPLAIN, with its arguments as SQL.
type Query struct {
	SQL  string
	Args []string
	// Index that it must use.
	Index string
	// Ordered says that it sorts nothing: its rows come in the order of the index.
	Ordered bool
}

// Queries returns the statements that find runs.
func Queries() map[string]Query {
	bits := "decode(repeat('ff', 128), 'hex')"
	shards := "string_to_array(repeat('7,', 300) || '8', ',')::int2[]"
	queries := map[string]Query{
		"active":               {SQL: within(recordsOf, activeRows), Args: []string{shards, "'r'", "500"}, Index: "limpet_runs_active"},
		"heads":                {SQL: within(headsOf, activePage), Args: []string{shards, "'r'", "500"}, Index: "limpet_runs_active"},
		"on up":                {SQL: within(recordsOf, onUpRows), Args: []string{bits, "'r'", "500", "'w1'"}, Index: "limpet_runs_on_up"},
		"on gone":              {SQL: within(recordsOf, onGoneRows), Args: []string{bits, "'r'", "500", "'w1'"}, Index: "limpet_runs_on_gone"},
		"due":                  {SQL: dueSQL, Args: []string{bits, "500"}, Index: "limpet_runs_due"},
		"watched":              {SQL: watchedSQL, Args: []string{bits}, Index: "limpet_runs_on_gone"},
		"in line":              {SQL: within(recordsOf, inLineRows), Args: []string{bits, "'r'", "500", "5", "5"}, Index: "limpet_runs_in_line"},
		"lines":                {SQL: linesSQL, Args: []string{bits}, Index: "limpet_runs_in_line"},
		"count line":           {SQL: countLineSQL, Args: []string{bits, "500", "5"}, Index: "limpet_runs_in_line"},
		"count on up":          {SQL: countOnUpSQL, Args: []string{bits, "500"}, Index: "limpet_runs_on_up"},
		"bound":                {SQL: boundSQL, Args: []string{"'default'"}, Index: "limpet_runs_parked"},
		"delete":               {SQL: deleteSQL, Args: []string{"5", "100", "1000"}, Index: "limpet_runs_finished"},
		"delete, above":        {SQL: deleteSQL, Args: []string{"5", "100", "1000"}, Index: "limpet_runs_pkey"},
		"all events":           {SQL: allEventsSQL, Args: []string{"5", "500", "5", "0"}, Index: "limpet_events_pkey", Ordered: true},
		"events of a key":      {SQL: eventsOfKeySQL, Args: []string{"5", "500", "5", "0", "'k1'"}, Index: "limpet_events_by_key", Ordered: true},
		"events of a prefix":   {SQL: eventsOfPrefixSQL, Args: []string{"5", "500", "5", "0", "'k'"}, Index: "limpet_events_pkey", Ordered: true},
		"waits for events":     {SQL: eventWaitsSQL, Args: []string{"'{*,k*,k1}'", "'k*'", "'r1'", "'w'", "500"}, Index: "limpet_event_waits_by_pattern"},
		"waits for prefixes":   {SQL: eventWaitsSQL, Args: []string{"'{*,k*,k1}'", "'k*'", "'r1'", "'w'", "500"}, Index: "limpet_event_waits_for_prefix"},
		"waits of a run":       {SQL: eventWaitsOfSQL, Args: []string{"'r1'"}, Index: "limpet_event_waits_pkey", Ordered: true},
		"publish":              {SQL: publishSQL, Args: []string{"'{e1,e2}'", "'{k,k}'", "'{1,2}'", "'{a,b}'"}, Index: "limpet_events_id_key"},
		"delete events":        {SQL: deleteEventsSQL, Args: []string{"5", "500"}, Index: "limpet_events_by_time"},
		"pieces of a stream":   {SQL: piecesSQL, Args: []string{"1", "1", "1", "500"}, Index: "limpet_stream_pieces_pkey"},
		"streams of a run":     {SQL: allStreamsSQL, Args: []string{"'r1'"}, Index: "limpet_streams_run_id_name_key"},
		"sections to write to": {SQL: lockSectionsSQL, Args: []string{"'{r1}'", "'{s}'", "'{1}'"}, Index: "limpet_stream_sections_pkey"},
		"totals of streams":    {SQL: totalsSQL, Args: []string{"'{r1}'"}, Index: "limpet_stream_sections_pkey"},
		"grown sections":       {SQL: grownSQL, Args: []string{"'{1}'", "'{1}'", "'{1}'", "'{1}'"}, Index: "limpet_stream_sections_pkey"},
		"pieces of no run":     {SQL: leftSQL, Args: []string{"5"}, Index: "limpet_streams_left"},
		"streams of no run":    {SQL: emptySQL, Index: "limpet_streams_left"},
		"append with sections": {SQL: appendSQL(withRare), Args: []string{"'{}'", "'{}'", "'{}'", "'{}'", "'{}'"}, Index: "limpet_stream_sections_pkey"},
		"append with cuts":     {SQL: appendSQL(withRare), Args: []string{"'{}'", "'{}'", "'{}'", "'{}'", "'{}'"}, Index: "limpet_entries_aside_pkey"},
		"append with waits":    {SQL: appendSQL(withWaits), Args: []string{"'{}'", "'{}'", "'{}'"}, Index: "limpet_event_waits_pkey"},
		"delete, kept":         {SQL: deleteSQL, Args: []string{"5", "100", "1000"}, Index: "limpet_runs_kept"},
	}
	for name, l := range map[string]struct {
		filter        journal.Filter
		index, driver string
	}{
		"all":          {journal.Filter{}, "limpet_runs_listed", ""},
		"a parent":     {journal.Filter{ParentRun: "p"}, "limpet_runs_parent", "'p'"},
		"a worker":     {journal.Filter{BoundWorker: "b"}, "limpet_runs_parked", "'b'"},
		"all metadata": {journal.Filter{Metadata: map[string]string{"k": "v"}}, "limpet_run_metadata_listed", "'\\x00'"},
	} {
		from := sourceOf(&l.filter)
		args := func(args ...string) []string {
			if l.driver != "" {
				args = append(args, l.driver)
			}
			return args
		}
		queries["groups of "+name] = Query{from.groupsSQL(), args("NULL"), l.index, true}
		queries["groups of a workflow of "+name] = Query{from.groupsSQL(), args("'w'"), l.index, true}
		page := []string{"0", "7", "'r'", "51", "'{}'", "'{w,w,v,v}'", "'{1,2,1,2}'", "'{0,0,1,1}'"}
		for groups := 1; groups <= 4; groups++ {
			queries[fmt.Sprintf("page of %s, %d groups", name, groups)] = Query{from.pageSQL(groups), args(page...), l.index, true}
		}
		queries["count of "+name] = Query{from.countSQL(), args("0", "7", "'r'", "'{w,v}'", "'{1,2}'", "'{0,1}'", "51"), l.index, true}
	}
	queries["count of active of a worker"] = Query{activeCountSQL, []string{"0", "7", "'r'", "NULL", "NULL", "false", "'b'"}, "limpet_runs_active", false}
	queries["page of active of a worker"] = Query{activePageSQL, []string{"0", "7", "'r'", "51", "'{}'", "NULL", "NULL", "false", "'b'"}, "limpet_runs_active", false}
	return queries
}

// Settings are those of the store's sessions.
var Settings = planSettings

// CodeOf is what the store makes of an error of the database.
func CodeOf(name string, err error) error { return (&Store{name: name}).fail("append", err) }
