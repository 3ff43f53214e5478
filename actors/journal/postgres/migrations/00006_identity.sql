-- +goose Up

-- The identity of this store, made once: servers that meet another one are not of
-- the same cluster.
CREATE TABLE limpet_identity (
	one bool PRIMARY KEY DEFAULT true CHECK (one),
	id  text NOT NULL
);

INSERT INTO limpet_identity (id) VALUES ('postgres/' || replace(gen_random_uuid()::text, '-', ''));
