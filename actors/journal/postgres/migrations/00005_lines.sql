-- +goose Up

-- Runs that wait for their turn to be placed, in the order of the turns.
ALTER TABLE limpet_runs ADD COLUMN line int8;
ALTER TABLE limpet_runs ADD COLUMN line_since int8 NOT NULL DEFAULT 0;

CREATE INDEX limpet_runs_in_line ON limpet_runs (line, line_since, run_id, shard) WHERE phase = 1 AND line IS NOT NULL;

CREATE TYPE limpet_append_2 AS (
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
	failure_message text,
	line            int8,
	line_since      int8
);
