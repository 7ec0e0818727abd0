-- name: fires_due
-- The triggers of some types ($3) that are due at $1, the longest due first, but for those left out ($4).
SELECT t.id, t.name, t.type, t.config, t.catch_up, t.catch_up_max, t.revision, t.next_due_at
FROM brain.triggers AS t
WHERE t.next_due_at <= $1 AND t.type = ANY ($3::text[]) AND t.id <> ALL ($4::uuid[])
ORDER BY t.next_due_at, t.id
LIMIT $2;

-- name: fires_resumable
-- The paused triggers of some types ($3) whose pause was to end by $1, but for those left out ($4).
SELECT
    t.id, t.name, t.type, t.config, t.workflow_name, t.file, t.host, t.inputs, t.planned_steps, t.digest, t.catch_up,
    t.catch_up_max, t.overlap, t.state, t.revision, t.created_at, t.next_due_at, t.paused_at, t.resume_at, t.deleted_at,
    (SELECT f.due_at FROM brain.fires AS f WHERE f.trigger_id = t.id AND f.until = 'infinity') AS skipping_from
FROM brain.triggers AS t
WHERE t.resume_at <= $1 AND t.type = ANY ($3::text[]) AND t.id <> ALL ($4::uuid[])
ORDER BY t.resume_at, t.id
LIMIT $2;

-- name: fires_next_due
-- The database's clock, and when triggers of some types ($1) are to be fired or resumed next, but for those left out ($2).
SELECT clock_timestamp() AS now,
       LEAST((SELECT t.next_due_at FROM brain.triggers AS t
              WHERE t.next_due_at IS NOT NULL AND t.type = ANY ($1::text[]) AND t.id <> ALL ($2::uuid[])
              ORDER BY t.next_due_at, t.id LIMIT 1),
             (SELECT t.resume_at FROM brain.triggers AS t
              WHERE t.resume_at IS NOT NULL AND t.type = ANY ($1::text[]) AND t.id <> ALL ($2::uuid[])
              ORDER BY t.resume_at, t.id LIMIT 1)) AS next_due;

-- name: fires_fire
-- Fires any number of due triggers as one commit, and advances each by compare-and-set (G1). $1–$7 a trigger each: id,
-- revision, the instant it was due, the next one, the stretch that is merged and why. $8–$12 an instant each: trigger, due
-- (also as text), run, reason. $13 the moment, null for the clock. $14 a worker (null for none) that takes runs of its host
-- $15 at once, $16 at most: such a run begins in this commit, and nobody has to claim it. Returns the outcomes that this call
-- has written, and with them what the worker has to know of the runs that it took.
-- Rows are locked in the order of their ids, and those that somebody else is firing are left to him: nobody waits, so
-- nobody deadlocks, and one locked trigger does not hold up the others (G18).
-- As in recorder.sql the plan has to be right for any size of the tables: = ANY finds the rows by the primary key, nothing
-- else about them can use an index, and generate_series is there to be guessed as 1,000 rows, so that a thousand triggers
-- are joined by hashing and not each with each.
WITH asked AS MATERIALIZED (
    SELECT * FROM ROWS FROM (
            unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                   $7::text[]),
            generate_series(1, cardinality($1)))
        AS a (id, revision, due, next, merged_from, merged_until, merged_reason, ordinal)
), locked AS MATERIALIZED (
    SELECT t.id, t.overlap
    FROM brain.triggers AS t JOIN asked AS a ON a.id = t.id
    WHERE t.id = ANY ($1) AND t.revision IS NOT DISTINCT FROM a.revision
      AND t.next_due_at IS NOT DISTINCT FROM a.due AND t.state IS NOT DISTINCT FROM 'active'
      AND a.due <= coalesce($13::timestamptz, clock_timestamp())
    ORDER BY t.id
    FOR NO KEY UPDATE OF t SKIP LOCKED
), busy AS MATERIALIZED (
    -- Decided under the lock, and over all hosts (G4). Whoever fired last has committed before this instant was read.
    SELECT l.id, l.overlap,
           (SELECT format('run %s is %s', left(r.id::text, 8), r.status) FROM brain.runs AS r
            WHERE r.trigger_id = l.id AND r.status IN ('queued', 'running', 'parked') LIMIT 1) AS by
    FROM locked AS l CROSS JOIN generate_series(1, LEAST(1, cardinality($1)))
), changed AS (
    UPDATE brain.triggers AS t SET next_due_at = a.next
    FROM asked AS a JOIN busy AS b ON b.id = a.id
    WHERE t.id = ANY ($1) AND t.id = a.id
    RETURNING t.id, t.name, t.type, t.workflow_name, t.file, t.host, t.inputs, t.planned_steps, t.digest, t.revision,
              b.overlap, b.by, a.merged_from, a.merged_until, a.merged_reason
), advanced AS MATERIALIZED (
    SELECT c.* FROM changed AS c CROSS JOIN unnest(($1::uuid[])[1:1]) AS guessed_as_ten
), instant AS MATERIALIZED (
    SELECT i.id, i.due, i.due_text, i.run_id, i.reason, row_number() OVER (PARTITION BY i.id ORDER BY i.due) AS place
    FROM ROWS FROM (
            unnest($8::uuid[], $9::timestamptz[], $10::text[], $11::uuid[], $12::text[]),
            generate_series(1, cardinality($8)))
        AS i (id, due, due_text, run_id, reason, ordinal)
), decided AS MATERIALIZED (
    SELECT i.id, i.due, i.run_id, i.reason, a.revision,
           -- Instants that fire together do not hinder each other: their runs go one after the other.
           CASE WHEN a.overlap <> 'allow' THEN a.by END AS hindered
    FROM advanced AS a JOIN instant AS i ON i.id = a.id
), ledger AS (
    INSERT INTO brain.fires AS f (trigger_id, due_at, until, outcome, reason, run_id, revision)
    SELECT d.id, d.due, NULL, CASE WHEN d.hindered IS NULL THEN 'fired' ELSE 'skipped_overlap' END,
           coalesce(d.hindered, d.reason), CASE WHEN d.hindered IS NULL THEN d.run_id END, d.revision
    FROM decided AS d
    UNION ALL
    SELECT a.id, a.merged_from, NULLIF(a.merged_until, a.merged_from), 'merged', a.merged_reason, NULL, a.revision
    FROM advanced AS a
    WHERE a.merged_from IS NOT NULL
    ON CONFLICT (trigger_id, due_at) DO NOTHING
    RETURNING f.trigger_id, f.due_at, f.until, f.outcome, f.run_id
), taker AS MATERIALIZED (
    -- Locked, so that nobody gives it up at this moment (G12); while somebody else holds it the runs go to the queue.
    SELECT w.id FROM brain.workers AS w
    WHERE w.id = $14::uuid AND w.stopped_at IS NULL AND EXISTS (SELECT FROM advanced)
    FOR NO KEY UPDATE SKIP LOCKED
), fired AS MATERIALIZED (
    SELECT l.run_id, l.due_at, i.due_text, a.*,
           -- Of instants that fire together and must not overlap only the first: see its_turn in queue.sql.
           CASE WHEN a.host IN ('', $15::text) AND (a.overlap = 'allow' OR i.place = 1)
                     AND row_number() OVER (ORDER BY a.host IN ('', $15::text) DESC, l.due_at, a.id) <= $16::int
                THEN (SELECT id FROM taker) END AS taker
    FROM ledger AS l JOIN instant AS i ON i.run_id = l.run_id JOIN advanced AS a ON a.id = l.trigger_id
), moment AS MATERIALIZED (
    -- Later than what was due has been looked at: a statement that comes a moment too early has waited for it since.
    SELECT clock_timestamp() AS at WHERE EXISTS (SELECT FROM advanced)
), previous AS MATERIALIZED (
    SELECT f.workflow_name,
           (SELECT p.id FROM brain.runs AS p WHERE p.workflow_name = f.workflow_name AND p.status = 'success'
            ORDER BY p.started_at DESC LIMIT 1) AS id
    FROM (SELECT DISTINCT workflow_name FROM fired WHERE taker IS NOT NULL) AS f
), run AS (
    INSERT INTO brain.runs
        (id, created_at, status, workflow_name, file, host, digest, planned_steps, inputs, trigger, trigger_id, due_at,
         worker_id, claim, started_at, previous_run_id)
    SELECT f.run_id, (SELECT at FROM moment), CASE WHEN f.taker IS NULL THEN 'queued' ELSE 'running' END, f.workflow_name,
           f.file, f.host, f.digest, f.planned_steps, f.inputs,
           json_build_object('type', f.type, 'name', f.name, 'due_at', f.due_text), f.id, f.due_at,
           f.taker, CASE WHEN f.taker IS NULL THEN 0 ELSE 1 END,
           CASE WHEN f.taker IS NOT NULL THEN (SELECT at FROM moment) END, p.id
    FROM fired AS f LEFT JOIN previous AS p ON p.workflow_name = f.workflow_name AND f.taker IS NOT NULL
    RETURNING id, workflow_name, file, host, digest, planned_steps, inputs, trigger, trigger_id, due_at, claim, created_at,
              started_at, previous_run_id, retry_of, position, takeovers
)
SELECT l.trigger_id, a.name, l.due_at, l.until, l.outcome, l.run_id, r.id, r.workflow_name, r.file, r.host, r.digest,
       r.planned_steps, r.inputs, r.trigger, r.claim, r.created_at, r.started_at, r.previous_run_id, r.retry_of, r.position,
       r.takeovers, false AS resumed,
       (SELECT pg_notify('brain', '') FROM (SELECT count(*) AS n FROM fired WHERE taker IS NULL) AS q WHERE q.n > 0) AS told
FROM ledger AS l JOIN advanced AS a ON a.id = l.trigger_id LEFT JOIN run AS r ON r.id = l.run_id AND r.claim > 0
ORDER BY l.due_at, l.trigger_id;

-- name: fires_ledger
-- A trigger's outcomes before $4, the latest first; the stretch that reaches over $2 is among them.
SELECT f.trigger_id, f.due_at, f.until, f.outcome, f.reason, f.run_id, f.revision, f.recorded_at
FROM brain.fires AS f
WHERE f.trigger_id = $1 AND f.due_at < $4
  AND f.due_at >= coalesce((SELECT p.due_at
                            FROM (SELECT b.due_at, b.until FROM brain.fires AS b
                                  WHERE b.trigger_id = $1 AND b.due_at < $2
                                  ORDER BY b.trigger_id DESC, b.due_at DESC LIMIT 1) AS p
                            WHERE p.until >= $2), $2)
ORDER BY f.trigger_id DESC, f.due_at DESC
LIMIT $3;

-- name: fires_page
-- The latest outcomes before a (due, trigger) of as many triggers as have the latest one. $3 since when, or null: the stretch
-- that reaches over it is among them; $5 a trigger, $6 patterns for its workflow, $7 an outcome, or null.
WITH latest AS MATERIALIZED (
    SELECT t.id, t.name, t.workflow_name, s.since
    FROM brain.triggers AS t
    CROSS JOIN LATERAL (
        SELECT CASE WHEN $3::timestamptz IS NULL THEN '-infinity' ELSE
                   coalesce((SELECT p.due_at
                             FROM (SELECT b.due_at, b.until FROM brain.fires AS b
                                   WHERE b.trigger_id = t.id AND b.due_at < $3
                                   ORDER BY b.trigger_id DESC, b.due_at DESC LIMIT 1) AS p
                             WHERE p.until >= $3), $3) END AS since OFFSET 0) AS s
    CROSS JOIN LATERAL (
        SELECT f.due_at FROM brain.fires AS f
        WHERE f.trigger_id = t.id AND f.due_at <= $1::timestamptz AND f.due_at >= s.since
          AND ((f.due_at, f.trigger_id) < ($1::timestamptz, $2::uuid)) IS TRUE
          AND ($7::text IS NULL OR f.outcome = $7) IS TRUE
        ORDER BY f.trigger_id DESC, f.due_at DESC LIMIT 1) AS l
    WHERE ($5::uuid IS NULL OR t.id = $5) AND ($6::text[] IS NULL OR t.workflow_name LIKE ANY ($6))
    ORDER BY l.due_at DESC, t.id DESC LIMIT $4
)
SELECT t.name, t.workflow_name, l.*
FROM latest AS t CROSS JOIN LATERAL (
    SELECT f.trigger_id, f.due_at, f.until, f.outcome, f.reason, f.run_id, f.revision, f.recorded_at
    FROM brain.fires AS f
    WHERE f.trigger_id = t.id AND f.due_at <= $1::timestamptz AND f.due_at >= t.since
      AND ((f.due_at, f.trigger_id) < ($1::timestamptz, $2::uuid)) IS TRUE
      AND ($7::text IS NULL OR f.outcome = $7) IS TRUE
    ORDER BY f.trigger_id DESC, f.due_at DESC LIMIT $4) AS l
ORDER BY l.due_at DESC, l.trigger_id DESC LIMIT $4;

-- name: fires_page_of_outcome
-- The same for an outcome other than fired, over all triggers and without a since: by the index on those.
SELECT t.name, t.workflow_name, f.trigger_id, f.due_at, f.until, f.outcome, f.reason, f.run_id, f.revision, f.recorded_at
FROM brain.fires AS f JOIN brain.triggers AS t ON t.id = f.trigger_id
WHERE f.outcome = $5 AND f.outcome <> 'fired' AND (f.due_at, f.trigger_id) < ($1::timestamptz, $2::uuid)
  AND ($4::text[] IS NULL OR t.workflow_name LIKE ANY ($4)) IS TRUE
ORDER BY f.due_at DESC, f.trigger_id DESC LIMIT $3;

-- name: fires_revisions
-- The revisions of a trigger, in their order.
SELECT trigger_id, revision, type, config, state, catch_up, catch_up_max, overlap, valid_from, valid_until, reason
FROM brain.trigger_revisions WHERE trigger_id = $1 ORDER BY revision;
