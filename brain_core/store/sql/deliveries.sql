-- name: delivery_claim
-- Takes the open deliveries that nobody alive has in hand; the lock makes it a compare-and-set between processes.
WITH free AS (
    SELECT d.run_id, d.receiver
    FROM brain.deliveries AS d
    WHERE d.status = 'open' AND d.worker_id IS DISTINCT FROM $1
      AND NOT EXISTS (SELECT FROM brain.workers AS w WHERE w.id = d.worker_id AND w.stopped_at IS NULL)
    ORDER BY d.created_at, d.run_id, d.receiver
    LIMIT $2
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE brain.deliveries AS d SET worker_id = $1, attempts = d.attempts + 1
FROM free AS f
WHERE d.run_id = f.run_id AND d.receiver = f.receiver
RETURNING d.run_id, d.receiver;

-- name: delivery_done
-- The receiver has had it.
UPDATE brain.deliveries SET status = 'done', ended_at = statement_timestamp(), error = NULL
WHERE run_id = $1 AND receiver = $2 AND status = 'open';

-- name: delivery_failed
-- The receiver refused it, raised, or took too long; a person may reopen it.
UPDATE brain.deliveries SET status = 'failed', ended_at = statement_timestamp(), error = $3
WHERE run_id = $1 AND receiver = $2 AND status = 'open';

-- name: delivery_reopen
-- Opens the failed deliveries of a run again, for the next process that looks.
UPDATE brain.deliveries SET status = 'open', ended_at = NULL, error = NULL, worker_id = NULL
WHERE run_id = $1 AND status = 'failed'
RETURNING receiver;

-- name: delivery_list
-- The open and failed deliveries, oldest first.
SELECT d.run_id, d.receiver, d.status, d.error, d.attempts, d.created_at, d.ended_at, r.workflow_name
FROM brain.deliveries AS d JOIN brain.runs AS r ON r.id = d.run_id
WHERE d.status <> 'done'
ORDER BY d.created_at, d.run_id, d.receiver
LIMIT $1;

-- name: delivery_list_all
-- All deliveries, the latest first.
SELECT d.run_id, d.receiver, d.status, d.error, d.attempts, d.created_at, d.ended_at, r.workflow_name
FROM brain.deliveries AS d JOIN brain.runs AS r ON r.id = d.run_id
ORDER BY d.created_at DESC, d.run_id, d.receiver
LIMIT $1;
