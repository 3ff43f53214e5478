-- +goose Up

-- Since when no worker serves a workflow; 0 while one does.
ALTER TABLE limpet_workflows ADD COLUMN unserved_since int8 NOT NULL DEFAULT 0;
