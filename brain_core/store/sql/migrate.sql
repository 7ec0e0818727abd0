-- name: schema_applied
-- Which migrations of some distributions the schema has; fails with "undefined table" on a fresh database.
SELECT distribution, number, name, checksum FROM brain.schema_migrations WHERE distribution = ANY ($1::text[])
ORDER BY distribution, number;

-- name: schema_lock
-- Whether this transaction may migrate now; asked again and again, because waiting for the lock can deadlock (G20).
SELECT pg_try_advisory_xact_lock(7233173801943270);

-- name: schema_note
-- Notes a migration as applied, in the transaction that applies it.
INSERT INTO brain.schema_migrations (distribution, number, name, checksum) VALUES ($1, $2, $3, $4);
