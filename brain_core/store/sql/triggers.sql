-- part: columns
t.id, t.name, t.type, t.config, t.workflow_name, t.file, t.host, t.inputs, t.planned_steps, t.digest, t.catch_up,
t.catch_up_max, t.overlap, t.state, t.revision, t.created_at, t.next_due_at, t.paused_at, t.resume_at, t.deleted_at,
(SELECT f.due_at FROM brain.fires AS f WHERE f.trigger_id = t.id AND f.until = 'infinity') AS skipping_from

-- part: last_run
, last.id AS last_run_id, last.status AS last_run_status, last.created_at AS last_run_created_at,
    last.started_at AS last_run_started_at,
    t.next_due_at < clock_timestamp() - interval '60 s' IS TRUE AS overdue, good.ended_at AS last_success_at
FROM brain.triggers AS t
LEFT JOIN LATERAL (
    SELECT r.id, r.status, r.created_at, r.started_at FROM brain.runs AS r
    WHERE r.trigger_id = t.id
    -- Instants that fire together give runs of the same moment.
    ORDER BY r.trigger_id, r.created_at DESC, r.due_at DESC LIMIT 1) AS last ON true
LEFT JOIN LATERAL (
    SELECT r.ended_at FROM brain.runs AS r
    WHERE r.trigger_id = t.id AND r.status IS NOT DISTINCT FROM 'success'
    ORDER BY r.trigger_id, r.created_at DESC LIMIT 1) AS good ON true

-- name: clock
-- The database's clock, which goes on inside a transaction too (G5).
SELECT clock_timestamp();

-- name: trigger_register
-- Inserts a trigger with its first revision and its source; returns nothing when the name or the id is taken.
-- $15–$17 the source of $10, $18 the moment.
WITH version AS (
    INSERT INTO brain.workflow_versions (digest, sources, on_finished, on_interrupt)
    SELECT $10, $15::json, $16::boolean, $17::text WHERE $15::text IS NOT NULL AND $10::text IS NOT NULL
    ON CONFLICT (digest) DO NOTHING
    RETURNING digest
), made AS (
    INSERT INTO brain.triggers
        (id, name, type, config, workflow_name, file, host, inputs, planned_steps, digest, catch_up, catch_up_max, overlap,
         next_due_at, created_at)
    SELECT $1::uuid, $2::text, $3::text, $4::text::json, $5::text, $6::text, $7::text, $8::text::json, $9::text::jsonb,
           -- A source that is not stored cannot be pointed to (G19).
           coalesce((SELECT digest FROM version),
                    (SELECT v.digest FROM brain.workflow_versions AS v WHERE v.digest = $10::text)),
           $11::text, $12::int, $13::text, $14::timestamptz, $18::timestamptz
    ON CONFLICT DO NOTHING
    RETURNING id, revision, type, config, state, catch_up, catch_up_max, overlap, created_at
), revision AS (
    INSERT INTO brain.trigger_revisions
        (trigger_id, revision, type, config, state, catch_up, catch_up_max, overlap, valid_from, reason)
    SELECT id, revision, type, config, state, catch_up, catch_up_max, overlap, created_at, 'registered' FROM made
)
SELECT id, pg_notify('brain', '') FROM made;

-- name: trigger_get
-- The trigger of a name that is not deleted.
SELECT
-- include: columns
FROM brain.triggers AS t WHERE t.name = $1 AND t.state <> 'deleted';

-- name: trigger_latest
-- The trigger of a name; the last one that was deleted when there is none.
SELECT
-- include: columns
FROM brain.triggers AS t WHERE t.name = $1 ORDER BY t.deleted_at DESC NULLS FIRST, t.id LIMIT 1;

-- name: trigger_get_by_id
-- A trigger, deleted or not.
SELECT
-- include: columns
FROM brain.triggers AS t WHERE t.id = $1;

-- name: trigger_names
-- Names to find the nearest in.
SELECT name FROM brain.triggers WHERE state <> 'deleted' ORDER BY name LIMIT 10000;

-- name: trigger_list
-- All triggers that are not deleted, with their last run and their last success.
SELECT
-- include: columns
-- include: last_run
WHERE t.state <> 'deleted'
ORDER BY t.name;

-- name: trigger_listed
-- One trigger as the list has it.
SELECT
-- include: columns
-- include: last_run
WHERE t.state <> 'deleted' AND t.name = $1;

-- name: trigger_lock
-- Locks a trigger for the rest of the transaction; nobody fires it meanwhile.
SELECT id FROM brain.triggers WHERE name = $1 AND state <> 'deleted' FOR UPDATE;

-- name: trigger_change
-- Writes the next revision of a locked trigger: its row, the end of the revision before, and the new one. $2 its type,
-- $3–$7 what may be edited, $8–$12 state and times, $13 the moment, $14 the reason.
WITH changed AS (
    UPDATE brain.triggers
    SET type = $2, config = $3::text::json, inputs = $4::text::json, catch_up = $5, catch_up_max = $6, overlap = $7,
        state = $8, next_due_at = $9, paused_at = $10, resume_at = $11, deleted_at = $12, revision = revision + 1
    WHERE id = $1
    RETURNING id, revision, type, config, state, catch_up, catch_up_max, overlap
), closed AS (
    UPDATE brain.trigger_revisions AS v SET valid_until = GREATEST(v.valid_from, $13::timestamptz)
    FROM changed AS c
    WHERE v.trigger_id = c.id AND v.valid_until IS NULL
    RETURNING v.valid_until
), opened AS (
    -- The row before has to be closed first: only one may be open.
    INSERT INTO brain.trigger_revisions
        (trigger_id, revision, type, config, state, catch_up, catch_up_max, overlap, valid_from, reason)
    SELECT c.id, c.revision, c.type, c.config, c.state, c.catch_up, c.catch_up_max, c.overlap, v.valid_until, $14
    FROM changed AS c, closed AS v
)
SELECT revision, pg_notify('brain', '') FROM changed;

-- name: trigger_resume_at
-- Changes when a paused trigger is to be resumed; no new revision, since nothing that is due changes.
UPDATE brain.triggers SET resume_at = $2 WHERE id = $1 AND state = 'paused'
RETURNING pg_notify('brain', '');

-- name: pause_open
-- The ledger row of a pause, with an open end (G2).
INSERT INTO brain.fires (trigger_id, due_at, until, outcome, reason, revision)
VALUES ($1, $2, 'infinity', 'skipped_paused', 'paused', $3)
ON CONFLICT (trigger_id, due_at) DO NOTHING;

-- name: pause_close
-- The end of a pause: $2 the last instant that it skipped; $3 is now, before which its first instant was skipped at least.
UPDATE brain.fires SET until = GREATEST(due_at, $2::timestamptz)
WHERE trigger_id = $1 AND until = 'infinity' AND due_at <= GREATEST($2::timestamptz, $3::timestamptz);

-- name: pause_forget
-- A pause that ended before its first instant has skipped nothing.
DELETE FROM brain.fires WHERE trigger_id = $1 AND until = 'infinity';

-- name: range_merged
-- What was due and not yet fired when the trigger was changed: $2 to $3 (null: only one), $4 revision, $5 reason.
INSERT INTO brain.fires (trigger_id, due_at, until, outcome, reason, revision)
VALUES ($1, $2, $3, 'merged', $5, $4)
ON CONFLICT (trigger_id, due_at) DO NOTHING;
