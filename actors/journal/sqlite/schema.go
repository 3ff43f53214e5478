package sqlite

import "zombiezen.com/go/sqlite/sqlitemigration"

// applicationID marks a database as a journal: "Lim" and the generation of the
// format. A change that older versions could not survive even by refusing to
// open the file (user_version is enough for that) would get the next one.
const (
	applicationID         = applicationFamily | 1
	applicationFamily     = 0x4c696d00
	applicationGeneration = 0xff
)

// schema is brought up to date when a journal is opened. Migrations are only
// ever added; each runs in one transaction.
var schema = sqlitemigration.Schema{
	AppID:      applicationID,
	Migrations: []string{schema1, schema2, schema3, schema4, schema5, schema6, schema7, schema8, schema9, schema10, schema11, schema12, schema13, schema14, schema15, schema16, schema17, schema18},
}

// Phases of a run, what the partial indexes tell rows apart by.
const (
	phaseActive   = 0
	phaseDormant  = 1
	phaseFinished = 2
	// 3: finished, and kept for a run above (see retention.go).
)

// schema1. Entries are stored in the order in which they are committed: a
// commit writes few pages, however many runs are in it, which makes up for the
// index that finds those of a run. Empty texts and zero times are NULL, which
// keeps them out of the partial indexes and costs nothing to bind.
const schema1 = `
CREATE TABLE runs (
	seq             INTEGER PRIMARY KEY,
	run_id          TEXT NOT NULL UNIQUE,
	shard           INTEGER NOT NULL,
	phase           INTEGER NOT NULL,
	status          INTEGER NOT NULL,
	created_at      INTEGER NOT NULL,
	finished_at     INTEGER,
	wake_at         INTEGER,
	wake_on_up      TEXT,
	wake_on_gone    TEXT,
	bound_worker    TEXT,
	epoch           INTEGER NOT NULL,
	workflow        TEXT,
	pool            TEXT,
	parent_run      TEXT,
	sticky          INTEGER NOT NULL,
	priority        INTEGER NOT NULL,
	started_by      TEXT,
	definition_hash TEXT,
	failure_code    TEXT,
	failure_message TEXT
) STRICT;

CREATE INDEX runs_live ON runs(phase, run_id) WHERE phase < 2;
CREATE INDEX runs_created ON runs(created_at, run_id);
CREATE INDEX runs_finished ON runs(finished_at) WHERE phase = 2;
CREATE INDEX runs_due ON runs(wake_at, run_id, shard) WHERE phase = 1 AND wake_at IS NOT NULL;
CREATE INDEX runs_on_up ON runs(wake_on_up, run_id, shard) WHERE phase = 1 AND wake_on_up IS NOT NULL;
CREATE INDEX runs_on_gone ON runs(wake_on_gone, run_id, shard) WHERE phase = 1 AND wake_on_gone IS NOT NULL;
CREATE INDEX runs_bound ON runs(bound_worker, created_at, run_id, pool) WHERE bound_worker IS NOT NULL;
CREATE INDEX runs_parent ON runs(parent_run, created_at, run_id) WHERE parent_run IS NOT NULL;

CREATE TABLE entries (
	pos    INTEGER PRIMARY KEY,
	run    INTEGER NOT NULL,
	number INTEGER NOT NULL,
	data   BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX entries_by_run ON entries(run, number);

CREATE TABLE definitions (
	hash          TEXT PRIMARY KEY,
	name          TEXT NOT NULL,
	registered_at INTEGER NOT NULL,
	data          BLOB NOT NULL
) STRICT;

CREATE INDEX definitions_by_name ON definitions(name, registered_at, hash);
`

// schema2. Runs that are kept for the run above, by that one.
const schema2 = "CREATE INDEX runs_kept ON runs(parent_run) WHERE phase = 3;"

// schema3. Stretches of time in which a server was there.
const schema3 = `
CREATE TABLE presences (
	from_at INTEGER PRIMARY KEY,
	to_at   INTEGER NOT NULL
) STRICT;
`

// schema4: how far time has come, in one row.
const schema4 = `
CREATE TABLE kept_time (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	version INTEGER NOT NULL,
	data    BLOB NOT NULL
) STRICT;
`

// schema5. Runs that wait for their turn to be placed, in the order of the turns.
const schema5 = `
ALTER TABLE runs ADD COLUMN line INTEGER;
ALTER TABLE runs ADD COLUMN line_since INTEGER NOT NULL DEFAULT 0;

CREATE INDEX runs_in_line ON runs(line, line_since, run_id, shard) WHERE phase = 1 AND line IS NOT NULL;
`

// schema6: the identity of the store, made once.
const schema6 = `
CREATE TABLE identity (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	id  TEXT NOT NULL
) STRICT;

INSERT INTO identity VALUES (1, 'sqlite/' || lower(hex(randomblob(16))));
`

// schema7 serves every filter of a listing, in the order of the listing, by one
// index for each driver. An index costs every run: that by time alone went.
const schema7 = `
ALTER TABLE runs ADD COLUMN child INTEGER NOT NULL GENERATED ALWAYS AS (parent_run IS NOT NULL) VIRTUAL;
UPDATE runs SET workflow = '' WHERE workflow IS NULL;
DROP INDEX runs_created;
DROP INDEX runs_bound;
DROP INDEX runs_parent;
CREATE INDEX runs_listed ON runs(workflow, status, child, created_at, run_id);
CREATE INDEX runs_bound ON runs(bound_worker, workflow, status, child, created_at, run_id, pool) WHERE bound_worker IS NOT NULL;
CREATE INDEX runs_parent ON runs(parent_run, workflow, status, child, created_at, run_id) WHERE parent_run IS NOT NULL;

CREATE TABLE run_metadata (
	run        INTEGER NOT NULL,
	pair       BLOB NOT NULL,
	workflow   TEXT NOT NULL,
	status     INTEGER NOT NULL,
	child      INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	run_id     TEXT NOT NULL,
	PRIMARY KEY (run, pair)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_metadata_listed ON run_metadata(pair, workflow, status, child, created_at, run_id);

-- Has a row until the metadata of earlier runs has been read from their entries.
CREATE TABLE metadata_to_fill (since INTEGER NOT NULL) STRICT;
INSERT INTO metadata_to_fill SELECT 1 WHERE EXISTS (SELECT 1 FROM runs);
`

// schema8: where a finished run was bound at last. It is no part of bound_worker,
// whose index is to have live runs only.
const schema8 = "ALTER TABLE runs ADD COLUMN last_worker TEXT;"

// schema9: what is recorded of the name of a workflow, beside its versions: the
// one that was chosen to be current, and when.
const schema9 = `
CREATE TABLE workflows (
	name      TEXT PRIMARY KEY,
	chosen    TEXT NOT NULL DEFAULT '',
	chosen_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
`

// schema10: since when a workflow starts no new runs; 0 if it does.
const schema10 = "ALTER TABLE workflows ADD COLUMN retired_at INTEGER NOT NULL DEFAULT 0;"

// schema11: since when no worker serves a workflow; 0 while one does.
const schema11 = "ALTER TABLE workflows ADD COLUMN unserved_since INTEGER NOT NULL DEFAULT 0;"

// schema12: of the live runs only those in memory are looked for by id. Those that
// wait in the journal cost nothing for it.
const schema12 = `
DROP INDEX runs_live;
CREATE INDEX runs_active ON runs(run_id) WHERE phase = 0;
`

// schema13: events that are kept, in the order of seq, and the calls of runs that
// wait for one. event_log has the newest seq that there was, and the one up to which
// events were delivered.
const schema13 = `
CREATE TABLE events (
	seq     INTEGER PRIMARY KEY,
	id      TEXT NOT NULL UNIQUE,
	key     TEXT NOT NULL,
	at      INTEGER NOT NULL,
	payload BLOB NOT NULL
) STRICT;

CREATE INDEX events_by_key ON events(key, seq);
CREATE INDEX events_by_time ON events(at, seq);

CREATE TABLE event_waits (
	run_id    TEXT NOT NULL,
	wait_id   TEXT NOT NULL,
	pattern   TEXT NOT NULL,
	condition TEXT NOT NULL,
	since     INTEGER NOT NULL,
	from_seq  INTEGER NOT NULL,
	PRIMARY KEY (run_id, wait_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX event_waits_by_pattern ON event_waits(pattern, run_id, wait_id);
-- Most often there are none, and prefixes need not be looked for.
CREATE INDEX event_waits_for_prefix ON event_waits(run_id) WHERE substr(pattern, -1) = '*';

CREATE TABLE event_log (
	one       INTEGER PRIMARY KEY CHECK (one = 1),
	newest    INTEGER NOT NULL,
	delivered INTEGER NOT NULL
) STRICT;

INSERT INTO event_log VALUES (1, 0, 0);
`

// schema14: what the steps of runs have logged, in chunks, in the order of place.
const schema14 = `
CREATE TABLE logs (
	place   INTEGER PRIMARY KEY,
	run     INTEGER NOT NULL,
	step    TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	first   INTEGER NOT NULL,
	data    BLOB NOT NULL,
	UNIQUE (run, step, attempt, first)
) STRICT;

CREATE INDEX logs_in_order ON logs(run, place);
`

// schema15: streams of runs. A row of stream_pieces has pieces that were stored
// together; last is the number of its last one, so that a place is found by the key.
const schema15 = `
CREATE TABLE stream_sections (
	run     INTEGER NOT NULL,
	stream  TEXT NOT NULL,
	section INTEGER NOT NULL,
	step    TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	pieces  INTEGER NOT NULL DEFAULT 0,
	bytes   INTEGER NOT NULL DEFAULT 0,
	over    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (run, stream, section)
) STRICT, WITHOUT ROWID;

CREATE TABLE stream_pieces (
	pos     INTEGER PRIMARY KEY,
	run     INTEGER NOT NULL,
	stream  TEXT NOT NULL,
	section INTEGER NOT NULL,
	first   INTEGER NOT NULL,
	last    INTEGER NOT NULL,
	data    BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX stream_pieces_by_place ON stream_pieces(run, stream, section, last);
`

// schema16: entries that were kept when those around them were cut.
const schema16 = `
CREATE TABLE entries_aside (
	run    INTEGER NOT NULL,
	number INTEGER NOT NULL,
	data   BLOB NOT NULL,
	PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
`

// schema17: sections know the entry that they began with, so that they are cut with it.
// Those of earlier versions stay until their run is deleted.
const schema17 = `
ALTER TABLE stream_sections ADD COLUMN began INTEGER NOT NULL DEFAULT 9223372036854775807;
`

// schema18: tokens for the API, and what was done by it. Numbers of deleted chunks of
// audit do not come again, for a reader may be at one.
const schema18 = `
CREATE TABLE tokens (
	id   TEXT PRIMARY KEY,
	data BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	at      INTEGER NOT NULL,
	records INTEGER NOT NULL,
	data    BLOB NOT NULL
) STRICT;
`
