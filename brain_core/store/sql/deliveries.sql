-- name: delivery_waiting
-- For whom open deliveries wait that nobody alive has in hand: receivers, the one that stands for the workflow ($2) with the
-- file. Few, however many deliveries there are.
SELECT DISTINCT d.receiver, (SELECT r.file FROM brain.runs AS r WHERE r.id = d.run_id AND d.receiver = $2::text) AS file
FROM brain.deliveries AS d
WHERE d.status <> 'done' AND d.status = 'open' AND d.worker_id IS DISTINCT FROM $1
  AND NOT EXISTS (SELECT FROM brain.workers AS w WHERE w.id = d.worker_id AND w.stopped_at IS NULL);

-- name: delivery_claim
-- Takes the open deliveries that nobody alive has in hand, by compare-and-set on their owner, and registers the new owner
-- ($1, $3–$10) so that others see it alive; only those that it can serve ($11 receivers, $12 the file or NULL), and of one
-- run if $13 is not NULL. What has ended three processes already is given up.
WITH deadly AS (
    UPDATE brain.deliveries AS d
    SET status = 'failed', ended_at = statement_timestamp(),
        error = format('given up: the process ended in each of %s attempts to deliver it', d.attempts)
    WHERE d.status <> 'done' AND d.status = 'open' AND d.attempts >= 3
      AND NOT EXISTS (SELECT FROM brain.workers AS w WHERE w.id = d.worker_id AND w.stopped_at IS NULL)
), free AS MATERIALIZED (
    SELECT d.run_id, d.receiver, d.worker_id
    FROM brain.deliveries AS d
    WHERE d.status <> 'done' AND d.status = 'open' AND d.attempts < 3 AND d.worker_id IS DISTINCT FROM $1
      AND d.run_id = coalesce($13::uuid, d.run_id)
      AND NOT EXISTS (SELECT FROM brain.workers AS w WHERE w.id = d.worker_id AND w.stopped_at IS NULL)
      AND EXISTS (SELECT FROM unnest($11::text[], $12::text[]) AS s (receiver, file)
                  WHERE s.receiver = d.receiver
                    AND (s.file IS NULL OR s.file = (SELECT r.file FROM brain.runs AS r WHERE r.id = d.run_id)))
    ORDER BY d.created_at, d.run_id, d.receiver
    LIMIT $2
), owner AS (
    INSERT INTO brain.workers (id, kind, host, boot_id, pid_namespace, pid, process_started, version, lease)
    SELECT $1::uuid, $3::text, $4::text, $5::text, $6::text, $7::int, $8::text, $9::text, $10::float8
    WHERE EXISTS (SELECT FROM free) AND $3 IS NOT NULL
    ON CONFLICT (id) DO NOTHING
)
UPDATE brain.deliveries AS d SET worker_id = $1, attempts = d.attempts + 1
FROM free AS f
WHERE d.run_id = f.run_id AND d.receiver = f.receiver AND d.status = 'open'
  AND d.worker_id IS NOT DISTINCT FROM f.worker_id
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
UPDATE brain.deliveries SET status = 'open', ended_at = NULL, error = NULL, worker_id = NULL, attempts = 0
WHERE run_id = $1 AND status = 'failed';

-- name: delivery_counts
-- How many deliveries are open and failed.
SELECT status, count(*) AS deliveries FROM brain.deliveries WHERE status <> 'done' GROUP BY status ORDER BY status;

-- part: listed
SELECT d.run_id, d.receiver, d.status, d.error, d.attempts, d.created_at, d.ended_at, r.workflow_name, r.file,
       (SELECT format('pid %s on %s', w.pid, w.host) FROM brain.workers AS w
        WHERE w.id = d.worker_id AND w.stopped_at IS NULL) AS owner
FROM brain.deliveries AS d JOIN brain.runs AS r ON r.id = d.run_id

-- name: delivery_list
-- The open and failed deliveries, oldest first.
-- include: listed
WHERE d.status <> 'done'
ORDER BY d.created_at, d.run_id, d.receiver
LIMIT $1;

-- name: delivery_list_of_run
-- The open and failed deliveries of one run.
-- include: listed
WHERE d.status <> 'done' AND d.run_id = $1
ORDER BY d.receiver;
