-- name: daemon_beat
-- Beat, sweep and poll in one: registers or bumps the worker's row and says what there is to do. $1–$9 the worker's row,
-- $10 concurrency, $11 runs in hand, $12 seconds since the last tick, $13 the types of trigger that are looked after here.
WITH beat AS (
    INSERT INTO brain.workers AS w
        (id, kind, host, boot_id, pid_namespace, pid, process_started, version, lease, concurrency, in_hand, tick_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp() - $12::float8 * interval '1 second')
    ON CONFLICT (id) DO UPDATE
        SET beat = w.beat + 1, beat_at = statement_timestamp(), in_hand = excluded.in_hand, tick_at = excluded.tick_at
        WHERE w.stopped_at IS NULL
    RETURNING w.id
), cancel AS MATERIALIZED (
    SELECT r.id, r.cancel_reason FROM brain.runs AS r
    WHERE r.status = 'running' AND r.worker_id = $1 AND r.cancel_requested_at IS NOT NULL
), other AS MATERIALIZED (
    SELECT o.id, o.kind, o.host, o.boot_id, o.pid_namespace, o.pid, o.process_started, o.version, o.lease, o.beat,
           false AS stopped
    FROM brain.workers AS o WHERE o.stopped_at IS NULL AND o.id <> $1
    UNION ALL
    SELECT DISTINCT o.id, o.kind, o.host, o.boot_id, o.pid_namespace, o.pid, o.process_started, o.version, o.lease,
           o.beat, true
    FROM brain.runs AS r JOIN brain.workers AS o ON o.id = r.worker_id
    WHERE r.status = 'running' AND o.stopped_at IS NOT NULL
)
SELECT clock_timestamp() AS now,
       EXISTS (SELECT FROM beat) AS alive,
       LEAST((SELECT t.next_due_at FROM brain.triggers AS t
              WHERE t.next_due_at IS NOT NULL AND t.type = ANY ($13::text[])
              ORDER BY t.next_due_at, t.id LIMIT 1),
             (SELECT t.resume_at FROM brain.triggers AS t
              WHERE t.resume_at IS NOT NULL AND t.type = ANY ($13::text[])
              ORDER BY t.resume_at, t.id LIMIT 1)) AS next_due,
       EXISTS (SELECT FROM brain.runs AS r WHERE r.status = 'queued') AS queued,
       (SELECT json_agg(json_build_array(o.id, o.kind, o.host, o.boot_id, o.pid_namespace, o.pid, o.process_started,
                                         o.version, o.lease, o.beat, o.stopped)) FROM other AS o) AS others,
       ARRAY (SELECT c.id FROM cancel AS c) AS cancels,
       ARRAY (SELECT c.cancel_reason FROM cancel AS c) AS cancel_reasons,
       EXISTS (SELECT FROM brain.deliveries AS d JOIN brain.workers AS o ON o.id = d.worker_id
               WHERE d.status = 'open' AND o.stopped_at IS NOT NULL)
           OR EXISTS (SELECT FROM brain.deliveries AS d WHERE d.status = 'open' AND d.worker_id IS NULL) AS undelivered;

-- name: daemon_eldest
-- The daemon that has counted as alive for the longest: what one of them is enough for is its work.
SELECT id FROM brain.workers WHERE kind = 'daemon' AND stopped_at IS NULL ORDER BY started_at, id LIMIT 1;

-- name: run_begin
-- Notes which source a claimed run has turned out to run, and shows it to its trigger for the runs to come. Fenced (G12).
WITH version AS (
    INSERT INTO brain.workflow_versions (digest, sources, on_finished, on_interrupt)
    VALUES ($4, $5::json, $6, $7)
    ON CONFLICT (digest) DO NOTHING
), run AS (
    UPDATE brain.runs
    SET digest = $4, planned_steps = $8::jsonb, workflow_name = $9, inputs = $10::json
    WHERE id = $2 AND worker_id = $1 AND claim = $3 AND status = 'running'
    RETURNING id, trigger_id
), shown AS (
    UPDATE brain.triggers AS t SET digest = $4, planned_steps = $8::jsonb
    FROM run AS r WHERE t.id = r.trigger_id AND t.state <> 'deleted' AND t.digest IS DISTINCT FROM $4
)
SELECT id FROM run;

-- name: run_park
-- Puts a claimed run aside until somebody decides, with the reason (G16, G19). Fenced (G12).
UPDATE brain.runs SET status = 'parked', parked_reason = $4, worker_id = NULL
WHERE id = $2 AND worker_id = $1 AND claim = $3 AND status = 'running'
RETURNING id;

-- name: daemon_list
-- The workers of some kinds that nobody has given up, with the age of their last tick in seconds.
SELECT id, host, boot_id, pid_namespace, pid, process_started, version, started_at, concurrency,
       coalesce(in_hand, 0) AS in_hand,
       GREATEST(0, extract(epoch FROM clock_timestamp() - coalesce(tick_at, beat_at)))::float8 AS tick_age
FROM brain.workers
WHERE kind = ANY ($1::text[]) AND stopped_at IS NULL
ORDER BY started_at;
