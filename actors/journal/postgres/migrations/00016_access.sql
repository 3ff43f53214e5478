-- +goose Up

-- Tokens for the API: each has a hash, and not the token.
CREATE TABLE limpet_tokens (
	id   text COLLATE "C" PRIMARY KEY,
	data bytea NOT NULL
);

-- What was done by the API, in the order of seq.
CREATE TABLE limpet_audit (
	seq     int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at      int8 NOT NULL,
	records int4 NOT NULL,
	data    bytea NOT NULL
);
