-- +goose Up

-- Finished runs that are kept for the run above have phase 3.
CREATE INDEX limpet_runs_kept ON limpet_runs (parent_run) WHERE phase = 3;
