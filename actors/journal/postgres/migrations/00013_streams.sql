-- +goose Up

-- Streams of runs. That of a deleted run has no run any more, and is deleted bit by
-- bit: it may be large, and appends wait for the deletion of runs.
CREATE TABLE limpet_streams (
	id     int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	run_id text COLLATE "C",
	name   text COLLATE "C" NOT NULL,
	UNIQUE (run_id, name)
);

CREATE INDEX limpet_streams_left ON limpet_streams (id) WHERE run_id IS NULL;

CREATE TABLE limpet_stream_sections (
	stream_id int8 NOT NULL,
	section   int4 NOT NULL,
	step      text NOT NULL,
	attempt   int4 NOT NULL,
	pieces    int8 NOT NULL DEFAULT 0,
	bytes     int8 NOT NULL DEFAULT 0,
	over      bool NOT NULL DEFAULT false,
	PRIMARY KEY (stream_id, section)
) WITH (fillfactor = 50);

-- A row has pieces that were stored together; last is the number of its last one, so
-- that a place is found by the key.
CREATE TABLE limpet_stream_pieces (
	stream_id int8 NOT NULL,
	section   int4 NOT NULL,
	last      int8 NOT NULL,
	first     int8 NOT NULL,
	bytes     int8 NOT NULL,
	data      bytea NOT NULL,
	PRIMARY KEY (stream_id, section, last)
);

-- A change of a section as servers send it: without an attempt it is there already.
CREATE TYPE limpet_stream_1 AS (
	run_id  text,
	stream  text,
	section int4,
	step    text,
	attempt int4,
	over    bool
);
