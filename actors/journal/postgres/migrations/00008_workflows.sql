-- +goose Up

-- What is recorded of the name of a workflow, beside its versions: the one that
-- was chosen to be current, and when.
CREATE TABLE limpet_workflows (
	name      text PRIMARY KEY,
	chosen    text NOT NULL DEFAULT '',
	chosen_at int8 NOT NULL DEFAULT 0
);
