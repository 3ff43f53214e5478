-- +goose Up

-- Run ids are compared byte by byte, as all stores do. Texts that are empty and
-- times that are zero are NULL, which keeps them out of the partial indexes.
-- Times are microseconds since the Unix epoch.
CREATE TABLE limpet_runs (
	run_id          text COLLATE "C" PRIMARY KEY,
	shard           int2 NOT NULL,
	phase           int2 NOT NULL, -- 0 active, 1 dormant, 2 finished
	status          int4 NOT NULL,
	sticky          int4 NOT NULL,
	priority        int4 NOT NULL,
	epoch           int8 NOT NULL,
	created_at      int8 NOT NULL,
	finished_at     int8,
	wake_at         int8,
	wake_on_up      text COLLATE "C",
	wake_on_gone    text COLLATE "C",
	bound_worker    text COLLATE "C",
	workflow        text COLLATE "C",
	pool            text COLLATE "C",
	parent_run      text COLLATE "C",
	started_by      text COLLATE "C",
	definition_hash text COLLATE "C",
	failure_code    text COLLATE "C",
	failure_message text COLLATE "C",
	-- The bound worker of a dormant run, for an index: one on bound_worker itself
	-- would make every binding of an active run change all indexes.
	parked_on       text COLLATE "C" GENERATED ALWAYS AS (CASE WHEN phase = 1 THEN bound_worker END) STORED
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX limpet_runs_active ON limpet_runs (shard, run_id) WHERE phase = 0;
CREATE INDEX limpet_runs_created ON limpet_runs (created_at, run_id);
CREATE INDEX limpet_runs_finished ON limpet_runs (finished_at) WHERE phase = 2 AND finished_at IS NOT NULL;
CREATE INDEX limpet_runs_due ON limpet_runs (wake_at, run_id, shard) WHERE phase = 1 AND wake_at IS NOT NULL;
CREATE INDEX limpet_runs_on_up ON limpet_runs (wake_on_up, run_id, shard) WHERE phase = 1 AND wake_on_up IS NOT NULL;
CREATE INDEX limpet_runs_on_gone ON limpet_runs (wake_on_gone, run_id, shard) WHERE phase = 1 AND wake_on_gone IS NOT NULL;
CREATE INDEX limpet_runs_parked ON limpet_runs (parked_on, created_at, run_id, pool) WHERE parked_on IS NOT NULL;
CREATE INDEX limpet_runs_parent ON limpet_runs (parent_run, created_at, run_id) WHERE parent_run IS NOT NULL;

-- The key is what keeps two servers from adding the same entry. Entries stay in
-- the row as long as they fit into a page, and are not compressed: it would cost
-- more than the bytes do.
CREATE TABLE limpet_entries (
	run_id text COLLATE "C" NOT NULL,
	number int4 NOT NULL,
	data   bytea NOT NULL,
	PRIMARY KEY (run_id, number)
) WITH (toast_tuple_target = 8160);

ALTER TABLE limpet_entries ALTER COLUMN data SET STORAGE EXTERNAL;

-- An element of an append, as servers send it. A later version that sends more
-- gets a type of its own, so that the servers that run meanwhile go on.
CREATE TYPE limpet_append_1 AS (
	run_id          text,
	number          int4,
	data            bytea,
	shard           int2, -- NULL if the row does not change
	phase           int2,
	status          int4,
	sticky          int4,
	priority        int4,
	epoch           int8,
	created_at      int8,
	finished_at     int8,
	wake_at         int8,
	wake_on_up      text,
	wake_on_gone    text,
	bound_worker    text,
	workflow        text,
	pool            text,
	parent_run      text,
	started_by      text,
	definition_hash text,
	failure_code    text,
	failure_message text
);

CREATE TABLE limpet_definitions (
	hash          text COLLATE "C" PRIMARY KEY,
	name          text COLLATE "C" NOT NULL,
	registered_at int8 NOT NULL,
	data          bytea NOT NULL
);

CREATE INDEX limpet_definitions_by_name ON limpet_definitions (name, registered_at, hash);

-- Heartbeats need not outlive a crash, so they are not logged.
CREATE UNLOGGED TABLE limpet_heartbeats (
	server     text COLLATE "C" PRIMARY KEY,
	written_at timestamptz NOT NULL,
	data       bytea NOT NULL
) WITH (fillfactor = 50);
