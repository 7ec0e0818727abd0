-- part: changed
-- Results and ends: $1 the worker, $2–$17 their columns. Each write about a run is fenced (G12): the UPDATE locks the run and
-- has worker, claim and state in its WHERE, and the rows of steps come out of that UPDATE.
-- The plan is made once, on a small table, and has to stay right on a large one: runs are found by = ANY on the primary
-- key, nothing else about them can use an index (IS NOT DISTINCT FROM), and generate_series is there to be guessed as
-- 1,000 rows, so that what is found is joined by hashing.
changed AS (
    UPDATE brain.runs AS r
    SET status = coalesce(e.run_status, 'running'),
        error = e.run_error,
        position = CASE WHEN e.position IS NULL THEN r.position
                        WHEN e.run_status IS NOT NULL THEN e.position
                        -- Never back: a repeated write may arrive long after the next one.
                        ELSE GREATEST(r.position, LEAST(e.position + 1, jsonb_array_length(r.planned_steps) - 1)) END,
        -- A clock that was set back must not let the run end before its own steps did.
        ended_at = CASE WHEN e.run_status IS NOT NULL THEN
            GREATEST(r.started_at, statement_timestamp() - e.age_ended * interval '1 second',
                     (SELECT max(s.ended_at) FROM brain.step_runs AS s WHERE s.run_id = r.id)) END
    FROM ROWS FROM (
            unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::text[],
                   $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::float8[],
                   $17::float8[]),
            generate_series(1, cardinality($2)))
        AS e (id, claim, run_status, run_error, receivers, position, attempt, name, type, status, output, error, log,
              details, age_started, age_ended, ordinal)
    WHERE r.id = ANY ($2) AND r.id = e.id AND r.claim = e.claim
      AND r.worker_id IS NOT DISTINCT FROM $1 AND r.status IS NOT DISTINCT FROM 'running'
    RETURNING r.id, r.claim, r.started_at AS run_started, e.run_status, e.receivers, e.position, e.attempt, e.name,
              e.type, e.status, e.output, e.error, e.log, e.details, e.age_started, e.age_ended
), step AS (
    INSERT INTO brain.step_runs
        (run_id, position, attempt, claim, started_at, ended_at, name, type, status, error, log, output, details)
    SELECT c.id, c.position, c.attempt, c.claim,
           GREATEST(c.run_started, statement_timestamp() - GREATEST(c.age_started, c.age_ended) * interval '1 second'),
           GREATEST(c.run_started, statement_timestamp() - c.age_ended * interval '1 second'),
           c.name, c.type, c.status, c.error, c.log, c.output::json, c.details::json
    FROM changed AS c
    WHERE c.position IS NOT NULL
    ON CONFLICT (run_id, position, attempt) DO NOTHING
), delivery AS (
    INSERT INTO brain.deliveries (run_id, receiver, worker_id)
    SELECT c.id, r.receiver, $1 FROM changed AS c, string_to_table(c.receivers, chr(31)) AS r (receiver)
    ON CONFLICT (run_id, receiver) DO NOTHING
)

-- part: started
-- Starts: $18–$25 the rest of the worker's row, $26–$27 and $37–$38 sources, $28–$36 the runs' columns. A worker that was given up
-- starts nothing.
worker AS (
    INSERT INTO brain.workers AS w
        (id, kind, host, boot_id, pid_namespace, pid, process_started, version, lease)
    SELECT $1::uuid, $18::text, $19::text, $20::text, $21::text, $22::int, $23::text, $24::text, $25::float8
    WHERE cardinality($28::uuid[]) > 0
    ON CONFLICT (id) DO UPDATE SET beat = w.beat + 1, beat_at = statement_timestamp()
        WHERE w.stopped_at IS NULL
    RETURNING w.id
), sources AS (
    INSERT INTO brain.workflow_versions (digest, sources, on_finished, on_interrupt)
    SELECT v.digest, v.sources::json, v.on_finished, v.on_interrupt
    FROM unnest($26::text[], $27::text[], $37::boolean[], $38::text[]) AS v (digest, sources, on_finished, on_interrupt)
    ORDER BY v.digest
    ON CONFLICT (digest) DO NOTHING
), started AS (
    INSERT INTO brain.runs
        (id, created_at, started_at, previous_run_id, retry_of, worker_id, claim, status, workflow_name, file, digest,
         planned_steps, inputs, trigger)
    SELECT e.id, statement_timestamp(), statement_timestamp(), e.previous, e.retry_of, worker.id, 1, 'running',
           e.workflow, e.file, e.digest, e.planned::jsonb, e.inputs::json, e.trigger::json
    FROM worker, unnest($28::uuid[], $29::text[], $30::text[], $31::text[], $32::text[], $33::text[], $34::text[],
                        $35::uuid[], $36::uuid[])
        AS e (id, workflow, file, digest, inputs, planned, trigger, previous, retry_of)
    ON CONFLICT (id) DO NOTHING
    RETURNING 1
)

-- name: record_changes
-- Step results and run ends with their deliveries, of any number of runs of one worker, as one commit; returns how many.
WITH
-- include: changed
SELECT statement_timestamp(), 0::bigint, (SELECT count(*) FROM changed);

-- name: record
-- The same together with starts of runs; returns the time of the starts, and how many starts and changes were written.
WITH
-- include: changed
,
-- include: started
SELECT statement_timestamp(), (SELECT count(*) FROM started), (SELECT count(*) FROM changed);

-- name: recorded
-- Which of these are already there under the same worker and claim: what a lost reply has left behind counts as done (G17).
SELECT e.ordinal::int AS ordinal, r.started_at
FROM unnest($2::uuid[], $3::int[], $4::text[], $5::int[], $6::int[])
     WITH ORDINALITY AS e (id, claim, run_status, position, attempt, ordinal)
JOIN brain.runs AS r ON r.id = e.id AND r.worker_id = $1 AND r.claim = e.claim
WHERE (e.run_status IS NULL OR r.status = e.run_status)
  AND (e.position IS NULL OR EXISTS (
        SELECT FROM brain.step_runs AS s
        WHERE s.run_id = e.id AND s.position = e.position AND s.attempt = e.attempt AND s.claim = e.claim));
