-- +goose Up

-- How far time has come, in one row that is replaced again and again.
CREATE TABLE limpet_time (
	id      int2 PRIMARY KEY CHECK (id = 1),
	version int8 NOT NULL,
	data    bytea NOT NULL
) WITH (fillfactor = 50);
