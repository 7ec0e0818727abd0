-- name: worker_beat
-- One sign of life; returns a row while the worker has not been given up, with the runs that are to be cancelled.
WITH cancel AS MATERIALIZED (
    SELECT r.id, r.cancel_reason FROM brain.runs AS r
    WHERE r.status = 'running' AND r.worker_id = $1 AND r.cancel_requested_at IS NOT NULL
)
UPDATE brain.workers SET beat = beat + 1, beat_at = statement_timestamp()
WHERE id = $1 AND stopped_at IS NULL
RETURNING beat, ARRAY (SELECT c.id FROM cancel AS c) AS cancels,
          ARRAY (SELECT c.cancel_reason FROM cancel AS c) AS cancel_reasons;

-- name: worker_stop
-- Marks a worker as stopped by itself; it has to have no runs left in hand.
UPDATE brain.workers SET stopped_at = statement_timestamp(), stop_reason = 'ended'
WHERE id = $1 AND stopped_at IS NULL;

-- name: worker_candidates
-- Who counts as alive: for the sweep, which judges each of them.
SELECT id, kind, host, boot_id, pid_namespace, pid, process_started, version, lease
FROM brain.workers
WHERE stopped_at IS NULL
ORDER BY started_at;

-- name: worker_watched
-- Who may have died, but for $1: whoever counts as alive, and stopped workers that still have a running run.
SELECT o.id, o.kind, o.host, o.boot_id, o.pid_namespace, o.pid, o.process_started, o.version, o.lease, o.beat,
       false AS stopped
FROM brain.workers AS o WHERE o.stopped_at IS NULL AND o.id <> $1
UNION ALL
SELECT DISTINCT o.id, o.kind, o.host, o.boot_id, o.pid_namespace, o.pid, o.process_started, o.version, o.lease, o.beat,
       true
FROM brain.runs AS r JOIN brain.workers AS o ON o.id = r.worker_id
WHERE r.status = 'running' AND o.stopped_at IS NOT NULL;

-- name: worker_silent
-- Who counts as alive and has given no sign of life for the whole of its lease, by the database's clock: for people to see.
SELECT id FROM brain.workers
WHERE stopped_at IS NULL AND beat_at < clock_timestamp() - lease * interval '1 second';

-- name: worker_left_behind
-- Stopped workers that still have a running run: a take-over that did not come to its end.
SELECT DISTINCT w.id FROM brain.runs AS r JOIN brain.workers AS w ON w.id = r.worker_id
WHERE r.status = 'running' AND w.stopped_at IS NOT NULL;

-- name: worker_observe
-- Notes what this boot sees of each beat, and returns whose beat has stood still for the whole lease on this boot's clock (G5).
-- $1 is the boot, $2 its clock in seconds. A beat that moved, or a clock that went back, starts the lease anew. What lies
-- before the start of the server does not count: nobody could beat while it was away.
WITH live AS (
    SELECT id, beat, lease FROM brain.workers WHERE stopped_at IS NULL
), noted AS (
    INSERT INTO brain.worker_sightings AS s (boot_id, worker_id, beat, seen)
    SELECT $1::text, l.id, l.beat, $2::float8 FROM live AS l
    ORDER BY l.id
    ON CONFLICT (boot_id, worker_id) DO UPDATE SET beat = excluded.beat, seen = excluded.seen
        WHERE s.beat <> excluded.beat OR s.seen > excluded.seen
)
SELECT l.id
FROM live AS l
JOIN brain.worker_sightings AS s ON s.boot_id = $1 AND s.worker_id = l.id AND s.beat = l.beat
WHERE $2 - s.seen >= l.lease
  AND clock_timestamp() - pg_postmaster_start_time() >= l.lease * interval '1 second';

-- name: worker_give_up
-- First half of a take-over: from here on these workers can start nothing (their rows are locked until the second half).
UPDATE brain.workers SET stopped_at = statement_timestamp(), stop_reason = $2
WHERE id = ANY ($1::uuid[]) AND stopped_at IS NULL;

-- name: worker_forget_sightings
-- What was seen of a stopped worker is of no use any more.
DELETE FROM brain.worker_sightings WHERE worker_id = ANY ($1::uuid[]);

-- name: worker_end_runs
-- Second half of a take-over: what goes on with the runs of these workers, under the next claim number (G11, G12), with the
-- interrupted attempt (G10). A run ends as failed, or as cancelled when somebody wanted that; one whose workflow says so is
-- queued again, and parked when its workers keep dying (G16). A run whose worker died before its first step is no exception.
-- $2 reason, $3 receivers, $4 the receiver that stands for the workflow's own on_finished, $5 whether this counts as a
-- take-over, $6 how many of them park a run, $7 only these runs (null: all).
WITH left_behind AS MATERIALIZED (
    SELECT r.id,
           CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN v.on_interrupt IS DISTINCT FROM 'resume' THEN 'failed'
                WHEN $5 AND r.takeovers + 1 >= $6 THEN 'parked'
                ELSE 'queued' END AS becomes,
           format('interrupted in step ''%s'' (%s of %s): %s', r.planned_steps -> r.position ->> 'name', r.position + 1,
                  jsonb_array_length(r.planned_steps), $2::text) AS why,
           w.host AS seen_on
    FROM brain.runs AS r
    LEFT JOIN brain.workers AS w ON w.id = r.worker_id
    LEFT JOIN brain.workflow_versions AS v ON v.digest = r.digest
    WHERE r.status = 'running' AND r.worker_id = ANY ($1::uuid[]) AND ($7::uuid[] IS NULL OR r.id = ANY ($7))
    -- Waits for a write that is on its way: skipped, the run would stay `running` for ever (G13).
    ORDER BY r.id
    FOR UPDATE OF r
), ended AS (
    UPDATE brain.runs AS r
    SET status = l.becomes,
        claim = r.claim + 1,
        takeovers = r.takeovers + $5::boolean::int,
        worker_id = CASE WHEN l.becomes NOT IN ('queued', 'parked') THEN r.worker_id END,
        -- Another host may not have the file.
        host = CASE WHEN r.host = '' THEN coalesce(l.seen_on, '') ELSE r.host END,
        parked_reason = CASE WHEN l.becomes = 'parked' THEN
            format('its worker died %s times, the last time %s', r.takeovers + 1, l.why) END,
        error = CASE l.becomes WHEN 'failed' THEN l.why
                               WHEN 'cancelled' THEN format('%s (%s)', coalesce(r.cancel_reason, 'cancelled'), l.why) END,
        ended_at = CASE WHEN l.becomes NOT IN ('queued', 'parked') THEN
            GREATEST(r.started_at, statement_timestamp(),
                     (SELECT max(s.ended_at) FROM brain.step_runs AS s WHERE s.run_id = r.id)) END
    FROM left_behind AS l
    WHERE r.id = ANY (ARRAY(SELECT b.id FROM left_behind AS b)) AND r.id = l.id
    RETURNING r.id, r.workflow_name, r.status, r.claim, r.position, r.planned_steps, r.started_at, r.digest,
              r.parked_reason, coalesce(r.ended_at, GREATEST(r.started_at, statement_timestamp(),
                  (SELECT max(s.ended_at) FROM brain.step_runs AS s WHERE s.run_id = r.id))) AS at
), interrupted AS (
    INSERT INTO brain.step_runs
        (run_id, position, attempt, claim, started_at, ended_at, name, type, status, error)
    SELECT e.id, e.position,
           1 + coalesce((SELECT max(s.attempt) FROM brain.step_runs AS s
                         WHERE s.run_id = e.id AND s.position = e.position), 0),
           e.claim,
           coalesce((SELECT max(s.ended_at) FROM brain.step_runs AS s WHERE s.run_id = e.id), e.started_at),
           e.at, e.planned_steps -> e.position ->> 'name', e.planned_steps -> e.position ->> 'type',
           'interrupted', $2
    FROM ended AS e
), delivery AS (
    INSERT INTO brain.deliveries (run_id, receiver)
    SELECT e.id, r.receiver FROM ended AS e, unnest($3::text[]) AS r (receiver) WHERE e.status IN ('failed', 'cancelled')
    UNION ALL
    SELECT e.id, $4 FROM ended AS e JOIN brain.workflow_versions AS v ON v.digest = e.digest AND v.on_finished
    WHERE e.status IN ('failed', 'cancelled')
    ON CONFLICT (run_id, receiver) DO NOTHING
)
SELECT e.id, e.workflow_name, e.status, e.parked_reason,
       CASE WHEN e.status = 'queued' THEN pg_notify('brain', '') END AS told
FROM ended AS e ORDER BY e.id;
