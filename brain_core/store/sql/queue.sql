-- part: claimed
-- Claims the candidates for the worker $1, $5–$12 the rest of its row, after what is its own already and not in $3: what a
-- lost reply has left behind (G17). A worker that was given up claims nothing.
worker AS (
    INSERT INTO brain.workers AS w
        (id, kind, host, boot_id, pid_namespace, pid, process_started, version, lease)
    SELECT $1::uuid, $5::text, $6::text, $7::text, $8::text, $9::int, $10::text, $11::text, $12::float8
    WHERE EXISTS (SELECT FROM candidate)
    ON CONFLICT (id) DO UPDATE SET beat = w.beat + 1, beat_at = statement_timestamp()
        WHERE w.stopped_at IS NULL
    RETURNING w.id
), claimed AS (
    UPDATE brain.runs AS r
    SET status = 'running', worker_id = worker.id, claim = r.claim + 1,
        started_at = coalesce(r.started_at, GREATEST(r.created_at, statement_timestamp())),
        -- Only at its first start: a run that is resumed reads what it read before.
        previous_run_id = CASE WHEN r.started_at IS NOT NULL OR r.previous_run_id IS NOT NULL THEN r.previous_run_id
                               ELSE (SELECT p.id FROM brain.runs AS p
                                     WHERE p.workflow_name = r.workflow_name AND p.status = 'success'
                                     ORDER BY p.started_at DESC LIMIT 1) END
    FROM worker
    WHERE r.id = ANY (ARRAY(SELECT c.id FROM candidate AS c))
    RETURNING r.id, r.workflow_name, r.file, r.host, r.digest, r.planned_steps, r.inputs, r.trigger, r.trigger_id, r.due_at,
              r.claim, r.created_at, r.started_at, r.previous_run_id, r.retry_of, r.position, r.takeovers
)
SELECT o.*, EXISTS (SELECT FROM brain.step_runs AS s WHERE s.run_id = o.id) AS resumed
FROM (SELECT * FROM claimed UNION ALL SELECT * FROM mine) AS o
ORDER BY o.created_at, o.id

-- part: mine
mine AS MATERIALIZED (
    SELECT r.id, r.workflow_name, r.file, r.host, r.digest, r.planned_steps, r.inputs, r.trigger, r.trigger_id, r.due_at,
           r.claim, r.created_at, r.started_at, r.previous_run_id, r.retry_of, r.position, r.takeovers
    FROM brain.runs AS r
    WHERE r.worker_id = $1 AND r.status = 'running'
      AND NOT EXISTS (SELECT FROM unnest($3::uuid[]) AS k (id) WHERE k.id = r.id)
      AND $3::uuid[] IS NOT NULL
)

-- part: its_turn
-- Whether a queued run r waits for nothing but a worker: of a trigger that skips overlaps, which has fired several instants
-- together, the runs go one after the other (G4). Nobody can come before it any more, since instants only go forward.
-- For nearly all runs this is one look at the few unfinished ones of its trigger; IS TRUE, or the planner would read all
-- that it ever had, and CASE, for it not to begin with them.
(r.due_at IS NULL
 OR CASE (SELECT t.overlap FROM brain.triggers AS t WHERE t.id = r.trigger_id) WHEN 'skip' THEN
        (SELECT e.id FROM brain.runs AS e
         WHERE e.trigger_id = r.trigger_id AND e.status IN ('queued', 'running', 'parked')
           AND (e.due_at < r.due_at) IS TRUE
         LIMIT 1)
    END IS NULL)

-- name: queue_claim
-- Claims the oldest queued runs, $2 at most: one read of the index in its order, whatever the backlog.
WITH
-- include: mine
, candidate AS MATERIALIZED (
    SELECT r.id
    FROM brain.runs AS r
    WHERE r.status = 'queued' AND $4::text[] IS NOT NULL AND
-- include: its_turn
    ORDER BY r.created_at, r.id
    LIMIT GREATEST(0, $2::int - (SELECT count(*) FROM mine))
    FOR NO KEY UPDATE SKIP LOCKED
),
-- include: claimed
;

-- name: queue_claim_elsewhere
-- The same for a host that lacks some files ($4): their runs are left to others, but for those that were queued for this
-- very host ($6) or for one where no worker lives, where the lack is the answer. Goes from file to file by the index and takes the oldest of each, so that
-- a backlog of files that are not here costs no more than one look at each of them.
WITH RECURSIVE
-- include: mine
, place AS (
    (SELECT r.file, r.host FROM brain.runs AS r WHERE r.status = 'queued' ORDER BY r.file, r.host LIMIT 1)
    UNION ALL
    SELECT n.file, n.host
    FROM place AS p CROSS JOIN LATERAL (
        SELECT r.file, r.host FROM brain.runs AS r
        WHERE r.status = 'queued' AND (r.file, r.host) > (p.file, p.host)
        ORDER BY r.file, r.host LIMIT 1) AS n
), oldest AS MATERIALIZED (
    SELECT o.id
    FROM place AS p CROSS JOIN LATERAL (
        SELECT r.id, r.created_at FROM brain.runs AS r
        -- Not with =, or the planner takes the order for given and reads the whole queue.
        WHERE r.status = 'queued' AND (r.file, r.host) >= (p.file, p.host) AND (r.file, r.host) <= (p.file, p.host) AND
-- include: its_turn
        ORDER BY r.file, r.host, r.created_at, r.id LIMIT $2) AS o
    WHERE p.file <> ALL ($4::text[]) OR p.host = $6
       OR p.host <> '' AND p.host <> ALL (ARRAY(
              SELECT w.host FROM brain.workers AS w WHERE w.stopped_at IS NULL
              UNION ALL
              SELECT w.host FROM brain.workers AS w WHERE w.stopped_at > clock_timestamp() - interval '15 minutes'))
    ORDER BY o.created_at, o.id
    LIMIT GREATEST(0, $2::int - (SELECT count(*) FROM mine))
), candidate AS MATERIALIZED (
    SELECT r.id
    FROM brain.runs AS r
    WHERE r.id = ANY (ARRAY(SELECT o.id FROM oldest AS o)) AND r.status IS NOT DISTINCT FROM 'queued'
    ORDER BY r.id
    FOR NO KEY UPDATE SKIP LOCKED
),
-- include: claimed
;

-- name: queue_enqueue
-- Inserts a queued run; an id that is there already stays as it is (G14). Returns the run's status.
WITH made AS (
    INSERT INTO brain.runs
        (id, created_at, status, workflow_name, file, host, digest, planned_steps, inputs, trigger, trigger_id, retry_of,
         previous_run_id)
    SELECT $1::uuid, statement_timestamp(), 'queued', $2::text, $3::text, $4::text,
           (SELECT v.digest FROM brain.workflow_versions AS v WHERE v.digest = $5::text),
           $6::text::jsonb, $7::text::json, $8::text::json, $9::uuid, $10::uuid, $11::uuid
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT id, pg_notify('brain', '') FROM made;

-- name: queue_enqueue_many
-- Inserts queued runs $1 of the triggers $2, which $3 (JSON) has started; an id that is there already stays as it is (G14).
-- Returns those that are new, and the triggers that are active: in arrays, since a join would compare each with each.
WITH asked AS MATERIALIZED (
    SELECT a.run_id, a.trigger_id, a.trigger FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS a (run_id, trigger_id, trigger)
), source AS MATERIALIZED (
    SELECT t.id, t.workflow_name, t.file, t.host, t.digest, t.planned_steps, t.inputs
    FROM brain.triggers AS t WHERE t.id = ANY (ARRAY(SELECT DISTINCT a.trigger_id FROM asked AS a)) AND t.state = 'active'
), made AS (
    INSERT INTO brain.runs
        (id, created_at, status, workflow_name, file, host, digest, planned_steps, inputs, trigger, trigger_id)
    SELECT a.run_id, statement_timestamp(), 'queued', s.workflow_name, s.file, s.host, s.digest, s.planned_steps, s.inputs,
           a.trigger::json, s.id
    FROM asked AS a JOIN source AS s ON s.id = a.trigger_id
    ORDER BY a.run_id
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), told AS MATERIALIZED (
    SELECT pg_notify('brain', '') FROM (SELECT count(*) AS n FROM made) AS c WHERE c.n > 0
)
SELECT ARRAY(SELECT m.id FROM made AS m) AS made, ARRAY(SELECT s.id FROM source AS s) AS active,
       (SELECT count(*) FROM told) AS told;

-- name: queue_cancel
-- Ends a run that waits as cancelled, with its deliveries ($3, and $4 for the workflow's own); asks the worker of one that
-- runs. $2 the reason.
WITH asked AS (
    UPDATE brain.runs AS r
    SET status = CASE WHEN r.status IS NOT DISTINCT FROM 'running' THEN 'running' ELSE 'cancelled' END,
        error = CASE WHEN r.status IS NOT DISTINCT FROM 'running' THEN r.error ELSE $2 END,
        ended_at = CASE WHEN r.status IS DISTINCT FROM 'running' THEN
            GREATEST(r.started_at, statement_timestamp(),
                     (SELECT max(s.ended_at) FROM brain.step_runs AS s WHERE s.run_id = r.id)) END,
        parked_reason = NULL,
        cancel_requested_at = coalesce(r.cancel_requested_at, statement_timestamp()),
        cancel_reason = coalesce(r.cancel_reason, $2)
    WHERE r.id = $1 AND r.status IN ('queued', 'parked', 'running')
    RETURNING r.id, r.status, r.digest
), delivery AS (
    INSERT INTO brain.deliveries (run_id, receiver)
    SELECT a.id, c.receiver FROM asked AS a, unnest($3::text[]) AS c (receiver) WHERE a.status = 'cancelled'
    UNION ALL
    SELECT a.id, $4 FROM asked AS a JOIN brain.workflow_versions AS v ON v.digest = a.digest AND v.on_finished
    WHERE a.status = 'cancelled'
    ON CONFLICT (run_id, receiver) DO NOTHING
)
SELECT status, pg_notify('brain', '') FROM asked;

-- name: queue_trigger_of
-- What has started a run.
SELECT trigger FROM brain.runs WHERE id = $1;

-- name: queue_status
-- The status of a run.
SELECT status FROM brain.runs WHERE id = $1;

-- name: queue_living_hosts
-- On which of the hosts $1 a worker lives, or has lived lately: one that is restarted is not gone.
SELECT w.host FROM brain.workers AS w WHERE w.stopped_at IS NULL AND w.host = ANY ($1::text[])
UNION
SELECT w.host FROM brain.workers AS w
WHERE w.stopped_at > clock_timestamp() - interval '15 minutes' AND w.host = ANY ($1::text[]);

-- name: queue_release
-- Puts back runs that were claimed ($2 with the claims $3) and not begun: to the queue, as if nobody had claimed them but
-- for the claim, which only counts up (G12).
WITH back AS (
    UPDATE brain.runs AS r
    SET status = 'queued', worker_id = NULL,
        started_at = CASE WHEN EXISTS (SELECT FROM brain.step_runs AS s WHERE s.run_id = r.id) THEN r.started_at END
    FROM unnest($2::uuid[], $3::int[]) AS e (id, claim)
    WHERE r.id = ANY ($2) AND r.id = e.id AND r.claim = e.claim
      AND r.worker_id IS NOT DISTINCT FROM $1 AND r.status IS NOT DISTINCT FROM 'running'
    RETURNING r.id
)
SELECT b.id, (SELECT pg_notify('brain', '') FROM (SELECT count(*) AS n FROM back) AS c WHERE c.n > 0) AS told FROM back AS b;

-- name: queue_unpark
-- Puts a parked run back into the queue with all its take-overs forgiven (G16).
UPDATE brain.runs SET status = 'queued', parked_reason = NULL, worker_id = NULL, takeovers = 0
WHERE id = $1 AND status = 'parked'
RETURNING id, pg_notify('brain', '');
