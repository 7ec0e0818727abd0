-- name: llm_call_open
-- Writes a call before it goes out; written twice it is one row.
INSERT INTO brain_llm.calls (id, run_id, step, attempt, ordinal, model, provider, system, prompt)
SELECT v.id, v.run_id, v.step, v.attempt, v.ordinal, v.model, v.provider, v.system, v.prompt
FROM json_to_record($1::json) AS v(id uuid, run_id uuid, step text, attempt integer, ordinal integer, model text,
                                   provider text, system text, prompt text)
ON CONFLICT (id) DO NOTHING;

-- name: llm_call_close
-- Writes how a call has ended, once.
UPDATE brain_llm.calls AS c
SET status = v.status, error = v.error, answer = v.answer, answered_by = v.answered_by, input_tokens = v.input_tokens,
    output_tokens = v.output_tokens, cost = v.cost, finish_reason = v.finish_reason, latency_ms = v.latency_ms,
    first_token_ms = v.first_token_ms, attempts = v.attempts, tried = v.tried, ended_at = clock_timestamp()
FROM json_to_record($1::json) AS v(id uuid, status text, error text, answer text, answered_by text, input_tokens bigint,
                                   output_tokens bigint, cost numeric, finish_reason text,
                                   latency_ms double precision, first_token_ms double precision, attempts integer,
                                   tried json)
WHERE c.id = v.id AND c.status = 'open';

-- name: llm_run_facts
-- What the calls of one run come to.
SELECT json_build_object(
    'calls', count(*), 'failed', count(*) FILTER (WHERE c.status = 'failed'),
    'open', count(*) FILTER (WHERE c.status = 'open'), 'input_tokens', sum(c.input_tokens),
    'output_tokens', sum(c.output_tokens), 'cost', sum(c.cost)::text,
    'unpriced', count(*) FILTER (WHERE c.cost IS NULL), 'latency_ms', sum(c.latency_ms))
FROM brain_llm.calls AS c WHERE c.run_id = ($1::json->>'run_id')::uuid;

-- name: llm_usage
-- What the calls since a moment come to, by workflow, model or day (of UTC), the largest groups first, days in order.
SELECT json_build_object(
    'group', u.name, 'calls', u.calls, 'failed', u.failed, 'open', u.open, 'input_tokens', u.input_tokens,
    'output_tokens', u.output_tokens, 'cost', u.cost::text, 'unpriced', u.unpriced, 'latency_ms', u.latency_ms)
FROM (
    SELECT CASE $1::json->>'by' WHEN 'workflow' THEN r.workflow_name WHEN 'model' THEN c.model || ' at ' || c.provider
           ELSE to_char(c.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END AS name,
           count(*) AS calls, count(*) FILTER (WHERE c.status = 'failed') AS failed,
           count(*) FILTER (WHERE c.status = 'open') AS open, sum(c.input_tokens) AS input_tokens,
           sum(c.output_tokens) AS output_tokens, sum(c.cost) AS cost,
           count(*) FILTER (WHERE c.cost IS NULL) AS unpriced, avg(c.latency_ms) AS latency_ms
    FROM brain_llm.calls AS c JOIN brain.runs AS r ON r.id = c.run_id
    WHERE c.started_at >= coalesce(($1::json->>'since')::timestamptz, '-infinity')
    GROUP BY 1
) AS u
ORDER BY CASE $1::json->>'by' WHEN 'day' THEN u.name END, u.calls DESC, u.name
LIMIT 1000;
