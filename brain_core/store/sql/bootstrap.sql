-- name: schema_bootstrap
-- Makes the schema and the table of migrations where they are not there yet (run as a script, not prepared).
CREATE SCHEMA IF NOT EXISTS brain;
CREATE TABLE IF NOT EXISTS brain.schema_migrations (
    distribution text NOT NULL,
    number       integer NOT NULL,
    name         text NOT NULL,
    checksum     text NOT NULL,
    applied_at   timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (distribution, number)
);
COMMENT ON TABLE brain.schema_migrations IS 'Which migration of which distribution was applied when, with its checksum (G20).';
