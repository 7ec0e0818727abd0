-- part: run_columns
-- The columns are named as the fields of Run are. A run that is parked has no error yet, but a reason.
SELECT id, workflow_name AS workflow, file, status, created_at, started_at, ended_at,
       coalesce(error, parked_reason) AS error, position, inputs, trigger, digest AS version, planned_steps AS planned,
       previous_run_id, retry_of
FROM brain.runs

-- name: run_previous
-- The last successful run of a workflow with the outputs of its steps: one read of the partial index, then its steps.
WITH last AS MATERIALIZED (
    SELECT id FROM brain.runs
    WHERE workflow_name = $1 AND status = 'success'
    ORDER BY started_at DESC
    LIMIT 1
)
SELECT id, NULL::text AS name, NULL::json AS output FROM last
UNION ALL
SELECT s.run_id, s.name, s.output FROM brain.step_runs AS s
WHERE s.run_id = (SELECT id FROM last) AND s.status = 'success';

-- name: run_outputs
-- The outputs of the steps of a run that succeeded.
SELECT name, output FROM brain.step_runs WHERE run_id = $1 AND status = 'success';

-- name: run_get
-- One run.
-- include: run_columns
WHERE id = $1;

-- name: run_steps
-- The attempts of a run, in their order.
SELECT position, name, type, attempt, status, started_at, ended_at, output, error, log, details
FROM brain.step_runs WHERE run_id = $1 ORDER BY position, attempt;

-- name: run_progress
-- The status of a run, the number of what it has said last, and the attempts after a ($2 position, $3 attempt), in their
-- order: one row at least, for who follows it. Unless $4 is null, eight at most, and none after $4 bytes of outputs and logs;
-- `remaining` is more than there are then, if any were left out.
SELECT r.status AS run_status,
       (SELECT e.seq FROM brain.run_events AS e WHERE e.run_id = $1 ORDER BY e.run_id DESC, e.seq DESC LIMIT 1) AS said,
       s.remaining, s.position, s.name, s.type, s.attempt, s.status, s.started_at, s.ended_at, s.output, s.error,
       s.log, s.details
FROM brain.runs AS r
LEFT JOIN (
    SELECT n.*, count(*) OVER () AS remaining, row_number() OVER before AS place,
           sum(CASE WHEN $4::bigint IS NOT NULL THEN coalesce(octet_length(n.output::text), 0) + octet_length(n.log) END)
               OVER (before ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes
    FROM (SELECT * FROM brain.step_runs AS a WHERE a.run_id = $1 AND (a.position, a.attempt) > ($2::int, $3::int)
          ORDER BY a.position, a.attempt LIMIT CASE WHEN $4::bigint IS NOT NULL THEN 9 END) AS n
    WINDOW before AS (ORDER BY n.position, n.attempt)
) AS s ON $4::bigint IS NULL OR (s.place <= 8 AND coalesce(s.bytes, 0) <= $4::bigint)
WHERE r.id = $1
ORDER BY s.position, s.attempt;

-- name: run_find
-- The runs whose id lies in a range: those that begin with some characters.
SELECT id, workflow_name AS workflow FROM brain.runs WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3;

-- name: run_history
-- The latest runs before a (created, id), not older than a moment.
-- include: run_columns
WHERE (created_at, id) < ($1::timestamptz, $2::uuid) AND created_at >= $3::timestamptz
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: run_history_of_workflow
-- The same for one workflow.
-- include: run_columns
WHERE (created_at, id) < ($1::timestamptz, $2::uuid) AND created_at >= $3::timestamptz AND workflow_name = $5
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: run_history_of_status
-- The same for one status other than success, which the partial index holds.
-- include: run_columns
WHERE (created_at, id) < ($1::timestamptz, $2::uuid) AND created_at >= $3::timestamptz
  AND status = $5 AND status <> 'success'
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: run_history_of_successes
-- The same for the successful ones, which are most of the history: so not by an index on the status.
-- include: run_columns
WHERE (created_at, id) < ($1::timestamptz, $2::uuid) AND created_at >= $3::timestamptz
  AND status IS NOT DISTINCT FROM 'success'
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: run_history_of_workflow_status
-- The same for one workflow and one status.
-- include: run_columns
WHERE (created_at, id) < ($1::timestamptz, $2::uuid) AND created_at >= $3::timestamptz AND workflow_name = $5
  AND status = $6
ORDER BY created_at DESC, id DESC LIMIT $4;

-- part: workflow_names
-- The names that workflows of runs have, each by one step down the index: there are few of them, and many runs.
WITH RECURSIVE names AS (
    (SELECT workflow_name AS name FROM brain.runs ORDER BY workflow_name LIMIT 1)
    UNION ALL
    SELECT (SELECT r.workflow_name FROM brain.runs AS r WHERE r.workflow_name > n.name ORDER BY r.workflow_name LIMIT 1)
    FROM names AS n WHERE n.name IS NOT NULL
), latest AS MATERIALIZED (

-- name: run_history_of_workflows
-- The same for the workflows that match one of the patterns $5: the latest of each, then the latest of them.
-- include: workflow_names
    SELECT l.created_at, l.id
    FROM names AS n CROSS JOIN LATERAL (
        SELECT r.created_at, r.id FROM brain.runs AS r
        WHERE r.workflow_name = n.name AND (r.created_at, r.id) < ($1::timestamptz, $2::uuid)
          AND r.created_at >= $3::timestamptz
        ORDER BY r.workflow_name DESC, r.created_at DESC, r.id DESC LIMIT $4) AS l
    WHERE n.name LIKE ANY ($5::text[])
    ORDER BY l.created_at DESC, l.id DESC LIMIT $4
)
-- include: run_columns
WHERE id = ANY (ARRAY (SELECT l.id FROM latest AS l))
ORDER BY created_at DESC, id DESC;

-- name: run_history_of_workflows_successes
-- The same for the successful runs, which are most of them.
-- include: workflow_names
    SELECT l.created_at, l.id
    FROM names AS n CROSS JOIN LATERAL (
        SELECT r.created_at, r.id FROM brain.runs AS r
        WHERE r.workflow_name = n.name AND (r.created_at, r.id) < ($1::timestamptz, $2::uuid)
          AND r.created_at >= $3::timestamptz AND r.status IS NOT DISTINCT FROM 'success'
        ORDER BY r.workflow_name DESC, r.created_at DESC, r.id DESC LIMIT $4) AS l
    WHERE n.name LIKE ANY ($5::text[])
    ORDER BY l.created_at DESC, l.id DESC LIMIT $4
)
-- include: run_columns
WHERE id = ANY (ARRAY (SELECT l.id FROM latest AS l))
ORDER BY created_at DESC, id DESC;

-- name: run_history_of_workflows_status
-- The same for another status than success, which are few: by the index on the status.
-- include: run_columns
WHERE (created_at, id) < ($1::timestamptz, $2::uuid) AND created_at >= $3::timestamptz
  AND status = $6 AND status <> 'success' AND (workflow_name LIKE ANY ($5::text[])) IS TRUE
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: run_history_of_trigger
-- The same for one trigger: $5 patterns for the workflow or null, $6 the trigger, $7 success or null. Not by the index on
-- the status.
-- include: run_columns
WHERE trigger_id = $6 AND created_at <= $1::timestamptz AND created_at >= $3::timestamptz
  AND ((created_at, id) < ($1::timestamptz, $2::uuid)) IS TRUE
  AND ($5::text[] IS NULL OR workflow_name LIKE ANY ($5)) IS TRUE AND ($7::text IS NULL OR status = $7) IS TRUE
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: run_history_of_trigger_status
-- The same for another status than success, which are few: by the index on the status.
-- include: run_columns
WHERE (created_at, id) < ($1::timestamptz, $2::uuid) AND created_at >= $3::timestamptz
  AND status = $7 AND status <> 'success'
  AND ($5::text[] IS NULL OR workflow_name LIKE ANY ($5)) IS TRUE AND (trigger_id = $6::uuid) IS TRUE
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: run_over
-- Which of some runs have ended, are parked, or are not there.
SELECT u.id, r.id IS NOT NULL AS there
FROM unnest($1::uuid[]) AS u (id)
LEFT JOIN LATERAL (SELECT o.id, o.status FROM brain.runs AS o WHERE o.id = u.id LIMIT 1) AS r ON true
WHERE r.id IS NULL OR r.status IN ('success', 'failed', 'cancelled', 'parked');

-- name: run_counts
-- How many runs are in each status.
SELECT status, count(*) AS runs FROM brain.runs GROUP BY status ORDER BY status;
