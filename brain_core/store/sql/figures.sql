-- name: figures
-- Counts of the runs in each of the statuses $1, which are others than success, and of the triggers; the longest wait.
SELECT ARRAY (SELECT (SELECT count(*) FROM brain.runs AS r WHERE r.status = s.status AND r.status <> 'success')
              FROM unnest($1::text[]) WITH ORDINALITY AS s (status, place) ORDER BY s.place) AS runs,
       coalesce((SELECT GREATEST(0, extract(epoch FROM clock_timestamp() - q.created_at)) FROM brain.runs AS q
                 WHERE q.status = 'queued' ORDER BY q.created_at, q.id LIMIT 1), 0)::float8 AS oldest_queued,
       count(*) FILTER (WHERE t.state = 'active') AS active,
       count(*) FILTER (WHERE t.state = 'paused') AS paused,
       -- A clock that stands still within the statement lets the index answer.
       (SELECT count(*) FROM brain.triggers AS d
        WHERE d.next_due_at < statement_timestamp() - interval '60 s') AS overdue
FROM brain.triggers AS t WHERE t.state <> 'deleted';
