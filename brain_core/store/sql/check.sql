-- name: check_settings
-- The whole history is read, so the plans for a few rows that this program asks for elsewhere do not fit (run as a script).
SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_mergejoin = on;

-- name: check_history
-- Everything that G13 rules out, one row each. $1 is for how long, beyond its lease, an owner may have been silent.
SELECT 'ended_iff_final' AS rule, r.id AS run_id,
       format('status %s, ended_at %s', r.status, coalesce(r.ended_at::text, 'missing')) AS text
FROM brain.runs AS r
WHERE (r.ended_at IS NOT NULL) <> (r.status IN ('success', 'failed', 'cancelled'))
UNION ALL
SELECT 'ends_after_start', r.id, format('started %s, ended %s', r.started_at, r.ended_at)
FROM brain.runs AS r WHERE r.ended_at < r.started_at
UNION ALL
SELECT 'running_without_owner', r.id, 'running, and no worker owns it'
FROM brain.runs AS r
WHERE r.status = 'running' AND NOT EXISTS (SELECT FROM brain.workers AS w WHERE w.id = r.worker_id)
UNION ALL
SELECT 'running_owner_stopped', r.id,
       format('running, and its worker %s stopped at %s (%s)', w.id, w.stopped_at, w.stop_reason)
FROM brain.runs AS r JOIN brain.workers AS w ON w.id = r.worker_id
WHERE r.status = 'running' AND w.stopped_at IS NOT NULL
UNION ALL
SELECT 'running_owner_silent', r.id, format('running, and its worker %s gave its last sign of life at %s', w.id, w.beat_at)
FROM brain.runs AS r JOIN brain.workers AS w ON w.id = r.worker_id
WHERE r.status = 'running' AND w.stopped_at IS NULL
  AND w.beat_at < clock_timestamp() - (w.lease + $1::float8) * interval '1 second'
UNION ALL
SELECT 'success_incomplete', r.id, format('a success, and step %s of its plan has no success and no skip', p.at + 1)
FROM brain.runs AS r, generate_series(0, jsonb_array_length(r.planned_steps) - 1) AS p (at)
WHERE r.status = 'success' AND coalesce((
    SELECT s.status FROM brain.step_runs AS s WHERE s.run_id = r.id AND s.position = p.at
    ORDER BY s.attempt DESC LIMIT 1), '') NOT IN ('success', 'skipped')
UNION ALL
SELECT 'position_beyond_plan', r.id, format('at step %s of %s', r.position + 1, jsonb_array_length(r.planned_steps))
FROM brain.runs AS r WHERE r.position < 0 OR r.position >= jsonb_array_length(r.planned_steps)
UNION ALL
SELECT 'step_beyond_plan', r.id, format('step %s (%s) of %s', s.position + 1, s.name, jsonb_array_length(r.planned_steps))
FROM brain.runs AS r JOIN brain.step_runs AS s ON s.run_id = r.id
WHERE s.position >= jsonb_array_length(r.planned_steps)
UNION ALL
SELECT 'step_not_as_planned', r.id, format('step %s is %s, planned was %s', s.position + 1, s.name,
                                           r.planned_steps -> s.position ->> 'name')
FROM brain.runs AS r JOIN brain.step_runs AS s ON s.run_id = r.id
WHERE s.position < jsonb_array_length(r.planned_steps) AND s.name <> r.planned_steps -> s.position ->> 'name'
UNION ALL
SELECT 'step_after_end', r.id, format('step %s ended at %s, the run at %s', s.position + 1, s.ended_at, r.ended_at)
FROM brain.runs AS r JOIN brain.step_runs AS s ON s.run_id = r.id
WHERE r.ended_at IS NOT NULL AND (s.ended_at > r.ended_at OR s.started_at > r.ended_at)
UNION ALL
SELECT 'step_before_start', r.id, format('step %s started at %s, the run at %s', s.position + 1, s.started_at,
                                         coalesce(r.started_at::text, 'no time'))
FROM brain.runs AS r JOIN brain.step_runs AS s ON s.run_id = r.id
WHERE r.started_at IS NULL OR s.started_at < r.started_at
UNION ALL
SELECT 'step_running_in_final', r.id, format('%s, and step %s is running', r.status, s.position + 1)
FROM brain.runs AS r JOIN brain.step_runs AS s ON s.run_id = r.id
WHERE r.ended_at IS NOT NULL AND s.status = 'running'
UNION ALL
SELECT 'step_of_later_claim', r.id, format('step %s was written under claim %s, the run has %s', s.position + 1, s.claim,
                                           r.claim)
FROM brain.runs AS r JOIN brain.step_runs AS s ON s.run_id = r.id
WHERE s.claim > r.claim
UNION ALL
SELECT 'delivery_before_end', r.id, format('%s, and its end was handed to %s', r.status, d.receiver)
FROM brain.runs AS r JOIN brain.deliveries AS d ON d.run_id = r.id
WHERE r.ended_at IS NULL
ORDER BY 2, 1;
