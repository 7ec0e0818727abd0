-- name: live_append
-- Adds what running runs have said, under the fence (G12): $1 the worker, $2–$6 run, claim, number within the claim,
-- position, text; $7 how many bytes a run may say, after which one row says that the rest was cut (G24).
WITH said AS (
    SELECT e.run_id, (e.claim::bigint << 32) + e.number AS seq, e.position, e.text,
           sum(octet_length(e.text)) OVER (PARTITION BY e.run_id ORDER BY e.claim, e.number) AS bytes
    FROM unnest($2::uuid[], $3::int[], $4::int[], $5::int[], $6::text[]) AS e (run_id, claim, number, position, text)
    JOIN brain.runs AS r ON r.id = e.run_id
    WHERE r.id = ANY ($2) AND r.claim IS NOT DISTINCT FROM e.claim
      AND r.worker_id IS NOT DISTINCT FROM $1::uuid AND r.status IS NOT DISTINCT FROM 'running'
), before AS MATERIALIZED (
    SELECT s.run_id, l.total, l.kind
    FROM (SELECT DISTINCT d.run_id FROM said AS d) AS s CROSS JOIN LATERAL (
        SELECT v.total, v.kind FROM brain.run_events AS v
        WHERE v.run_id = s.run_id ORDER BY v.run_id DESC, v.seq DESC LIMIT 1) AS l
), counted AS (
    SELECT s.run_id, s.seq, s.position, s.text, s.bytes + coalesce(b.total, 0) AS total,
           row_number() OVER (PARTITION BY s.run_id, s.bytes + coalesce(b.total, 0) > $7::int ORDER BY s.seq) AS place
    FROM said AS s LEFT JOIN before AS b ON b.run_id = s.run_id
    WHERE b.kind IS DISTINCT FROM 'cut'
)
INSERT INTO brain.run_events (run_id, seq, position, kind, text, total)
SELECT c.run_id, c.seq, c.position, CASE WHEN c.total > $7 THEN 'cut' ELSE 'live' END,
       CASE WHEN c.total > $7 THEN '' ELSE c.text END, LEAST(c.total, $7)
FROM counted AS c
WHERE c.total <= $7 OR c.place = 1
ON CONFLICT (run_id, seq) DO NOTHING
RETURNING run_id;

-- name: live_read
-- What a run has said after a number, in order.
SELECT run_id, seq, at, position, kind, text
FROM brain.run_events WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3;
