-- +goose Up

-- Every filter of a listing is served, in the order of the listing, by one index
-- for each driver. An index costs every run: that by time alone went.
UPDATE limpet_runs SET workflow = '' WHERE workflow IS NULL;
DROP INDEX limpet_runs_created;
DROP INDEX limpet_runs_parked;
DROP INDEX limpet_runs_parent;
CREATE INDEX limpet_runs_listed ON limpet_runs (workflow, status, ((parent_run IS NOT NULL)::int), created_at, run_id);
CREATE INDEX limpet_runs_parked ON limpet_runs (parked_on, workflow, status, ((parent_run IS NOT NULL)::int), created_at, run_id, pool) WHERE parked_on IS NOT NULL;
CREATE INDEX limpet_runs_parent ON limpet_runs (parent_run, workflow, status, ((parent_run IS NOT NULL)::int), created_at, run_id) WHERE parent_run IS NOT NULL;

-- A pair is the digest of a key and a value.
CREATE TABLE limpet_run_metadata (
	run_id     text COLLATE "C" NOT NULL,
	pair       bytea NOT NULL,
	workflow   text COLLATE "C" NOT NULL,
	status     int4 NOT NULL,
	child      int4 NOT NULL,
	created_at int8 NOT NULL,
	PRIMARY KEY (run_id, pair)
);

CREATE INDEX limpet_run_metadata_listed ON limpet_run_metadata (pair, workflow, status, child, created_at, run_id);

-- A row of it as servers send it.
CREATE TYPE limpet_metadata_1 AS (
	run_id     text,
	pair       bytea,
	workflow   text,
	status     int4,
	child      int4,
	created_at int8
);

-- Has a row until the metadata of earlier runs has been read from their entries.
CREATE TABLE limpet_metadata_to_fill (since int4 NOT NULL);
INSERT INTO limpet_metadata_to_fill SELECT 1 WHERE EXISTS (SELECT 1 FROM limpet_runs);
