-- name: retention_runs
-- One batch of pruning: looks at the next $3 runs after ($1, $2) that are older than $4 days, and deletes those that are
-- over, unless they are among the last $5 of their workflow, the last success (which {previous} reads), failed less than
-- $6 days ago, or somebody is still to be told. Returns where it has come to, and how many it has deleted; with $7 it
-- only counts them.
WITH looked AS MATERIALIZED (
    SELECT r.id, r.created_at, r.workflow_name, r.status, r.ended_at
    FROM brain.runs AS r
    WHERE (r.created_at, r.id) > ($1::timestamptz, $2::uuid)
      AND r.created_at < clock_timestamp() - $4::float8 * interval '1 day'
    ORDER BY r.created_at, r.id
    LIMIT $3
), kept AS MATERIALIZED (
    SELECT w.workflow_name, n.created_at, n.id,
           (SELECT p.id FROM brain.runs AS p WHERE p.workflow_name = w.workflow_name AND p.status = 'success'
            ORDER BY p.started_at DESC LIMIT 1) AS last_success
    FROM (SELECT DISTINCT l.workflow_name FROM looked AS l) AS w
    LEFT JOIN LATERAL (
        SELECT r.created_at, r.id FROM brain.runs AS r
        WHERE r.workflow_name = w.workflow_name
        ORDER BY r.workflow_name DESC, r.created_at DESC, r.id DESC
        OFFSET GREATEST($5::int, 1) - 1 LIMIT 1) AS n ON true
), chosen AS MATERIALIZED (
    SELECT l.id FROM looked AS l JOIN kept AS k ON k.workflow_name = l.workflow_name
    WHERE l.status IN ('success', 'failed', 'cancelled') AND l.id IS DISTINCT FROM k.last_success
      AND ($5 = 0 OR (l.created_at, l.id) < (k.created_at, k.id))
      AND (l.status <> 'failed' OR l.ended_at < clock_timestamp() - $6::float8 * interval '1 day')
      AND NOT EXISTS (SELECT FROM brain.deliveries AS d WHERE d.run_id = l.id AND d.status = 'open')
), free AS MATERIALIZED (
    -- Two that prune at once share the work.
    SELECT r.id FROM brain.runs AS r WHERE NOT $7::boolean AND r.id = ANY (ARRAY(SELECT c.id FROM chosen AS c))
    ORDER BY r.id FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM brain.runs AS r WHERE r.id = ANY (ARRAY(SELECT f.id FROM free AS f))
    RETURNING 1
), last AS (
    SELECT l.created_at, l.id FROM looked AS l ORDER BY l.created_at DESC, l.id DESC LIMIT 1
)
SELECT l.created_at, l.id, (SELECT count(*) FROM looked) AS looked,
       CASE WHEN $7 THEN (SELECT count(*) FROM chosen) ELSE (SELECT count(*) FROM gone) END AS deleted
FROM last AS l;

-- name: retention_workers
-- One batch of workers that stopped more than $1 days ago and have nothing in hand: each brain run leaves one.
WITH chosen AS MATERIALIZED (
    SELECT w.id FROM brain.workers AS w
    WHERE w.stopped_at < clock_timestamp() - $1::float8 * interval '1 day'
      AND NOT EXISTS (SELECT FROM brain.runs AS r WHERE r.worker_id = w.id AND r.status = 'running')
    ORDER BY w.id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM brain.workers AS w WHERE w.id = ANY (ARRAY(SELECT c.id FROM chosen AS c))
    RETURNING 1
)
SELECT count(*) AS deleted FROM gone;
