-- +goose Up

-- The entry that a section began with, so that it is cut with that. Sections of earlier
-- versions stay until their run is deleted.
ALTER TABLE limpet_stream_sections ADD COLUMN began int4 NOT NULL DEFAULT 2147483647;
