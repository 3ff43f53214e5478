-- +goose Up

-- Events that are kept, in the order of seq.
CREATE TABLE limpet_events (
	seq     int8 PRIMARY KEY,
	id      text COLLATE "C" NOT NULL UNIQUE,
	key     text COLLATE "C" NOT NULL,
	at      int8 NOT NULL,
	payload bytea NOT NULL
);

CREATE INDEX limpet_events_by_key ON limpet_events (key, seq);
CREATE INDEX limpet_events_by_time ON limpet_events (at, seq);

-- Calls of runs that wait for one. The condition means nothing to the database.
CREATE TABLE limpet_event_waits (
	run_id    text COLLATE "C" NOT NULL,
	wait_id   text COLLATE "C" NOT NULL,
	pattern   text COLLATE "C" NOT NULL,
	condition text NOT NULL,
	since     int8 NOT NULL,
	from_seq  int8 NOT NULL,
	PRIMARY KEY (run_id, wait_id)
);

CREATE INDEX limpet_event_waits_by_pattern ON limpet_event_waits (pattern, run_id, wait_id);

-- Most often there are none, and prefixes need not be looked for.
CREATE INDEX limpet_event_waits_for_prefix ON limpet_event_waits (run_id) WHERE right(pattern, 1) = '*';

-- A change of one as servers send it: without a pattern it is over.
CREATE TYPE limpet_wait_1 AS (
	run_id    text,
	wait_id   text,
	pattern   text,
	condition text,
	since     int8
);

-- The newest seq that there was, and the one up to which events were delivered, in
-- rows of their own: the first is locked by whoever publishes.
CREATE TABLE limpet_event_log (
	one    int2 PRIMARY KEY CHECK (one = 1),
	newest int8 NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE limpet_event_cursor (
	one       int2 PRIMARY KEY CHECK (one = 1),
	delivered int8 NOT NULL
) WITH (fillfactor = 50);

INSERT INTO limpet_event_log VALUES (1, 0);
INSERT INTO limpet_event_cursor VALUES (1, 0);
