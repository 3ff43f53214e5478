-- +goose Up

-- Stretches of time in which a server was there.
CREATE TABLE limpet_presences (
	from_at int8 PRIMARY KEY,
	to_at   int8 NOT NULL
) WITH (fillfactor = 50);
