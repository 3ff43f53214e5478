-- +goose Up

-- Since when a workflow starts no new runs; 0 if it does.
ALTER TABLE limpet_workflows ADD COLUMN retired_at int8 NOT NULL DEFAULT 0;
