-- +goose Up

-- Entries that were kept when those around them were cut.
CREATE TABLE limpet_entries_aside (
	run_id text COLLATE "C" NOT NULL,
	number int4 NOT NULL,
	data   bytea NOT NULL,
	PRIMARY KEY (run_id, number)
);

ALTER TABLE limpet_entries_aside ALTER COLUMN data SET STORAGE EXTERNAL;

-- A cut as servers send it: up to a number, in an element without kept; and an
-- element for each of the entries that are kept.
CREATE TYPE limpet_cut_1 AS (
	run_id text,
	cut    int4,
	kept   int4
);
