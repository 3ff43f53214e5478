-- +goose Up

-- What the steps of runs have logged, in chunks.
CREATE TABLE limpet_logs (
	run_id  text COLLATE "C" NOT NULL,
	step    text COLLATE "C" NOT NULL,
	attempt int4 NOT NULL,
	first   int8 NOT NULL,
	place   int8 NOT NULL GENERATED ALWAYS AS IDENTITY,
	data    bytea NOT NULL,
	PRIMARY KEY (run_id, step, attempt, first)
);

CREATE INDEX limpet_logs_in_order ON limpet_logs (run_id, place);
