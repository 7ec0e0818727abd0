-- The calls of models that LLM steps make.

CREATE SCHEMA brain_llm;
COMMENT ON SCHEMA brain_llm IS 'The tables of brain-llm.';

CREATE TABLE brain_llm.calls (
    id             uuid PRIMARY KEY,
    run_id         uuid NOT NULL REFERENCES brain.runs ON DELETE CASCADE,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at       timestamptz,
    latency_ms     double precision,
    first_token_ms double precision,
    cost           numeric,
    input_tokens   bigint,
    output_tokens  bigint,
    attempt        integer NOT NULL,
    ordinal        integer NOT NULL,
    attempts       integer NOT NULL DEFAULT 0,
    status         text NOT NULL DEFAULT 'open',
    step           text NOT NULL,
    model          text NOT NULL,
    provider       text NOT NULL,
    answered_by    text,
    finish_reason  text,
    error          text,
    system         text,
    prompt         text,
    answer         text,
    tried          json NOT NULL DEFAULT '[]',
    CONSTRAINT calls_status_known CHECK (status IN ('open', 'success', 'failed')),
    CONSTRAINT calls_ended_iff_closed CHECK ((status = 'open') = (ended_at IS NULL)),
    CONSTRAINT calls_error_iff_failed CHECK ((status = 'failed') = (error IS NOT NULL)),
    CONSTRAINT calls_cost_positive CHECK (cost >= 0),
    CONSTRAINT calls_counts_positive CHECK (input_tokens >= 0 AND output_tokens >= 0 AND attempts >= 0)
);
COMMENT ON TABLE brain_llm.calls IS 'One row a call of a model, written before the call goes out; it goes with its run.';
COMMENT ON COLUMN brain_llm.calls.attempt IS 'Which attempt of the step made the call.';
COMMENT ON COLUMN brain_llm.calls.ordinal IS 'Which call of that attempt: a bad answer is asked again.';
COMMENT ON COLUMN brain_llm.calls.attempts IS 'How many requests went out for this call: transient faults are tried again.';
COMMENT ON COLUMN brain_llm.calls.tried IS 'The attempts that failed: at, fault and the seconds waited after it.';
COMMENT ON COLUMN brain_llm.calls.answered_by IS 'What the server calls the model that answered.';
COMMENT ON COLUMN brain_llm.calls.cost IS 'In US dollars; NULL where the price is not known.';
COMMENT ON CONSTRAINT calls_status_known ON brain_llm.calls IS 'G13: a call that is open long after its run has ended is one whose process died: nobody knows.';
COMMENT ON CONSTRAINT calls_ended_iff_closed ON brain_llm.calls IS 'G13: ended_at if and only if the end is known.';
COMMENT ON CONSTRAINT calls_error_iff_failed ON brain_llm.calls IS 'G13: who failed, and only who failed, says why.';
COMMENT ON CONSTRAINT calls_cost_positive ON brain_llm.calls IS 'A price is never negative.';
COMMENT ON CONSTRAINT calls_counts_positive ON brain_llm.calls IS 'Nothing is counted below zero.';
CREATE INDEX calls_of_run ON brain_llm.calls (run_id);
CREATE INDEX calls_by_time ON brain_llm.calls (started_at);

CREATE VIEW brain_v1.llm_calls AS
    SELECT c.id, c.run_id, r.workflow_name AS workflow, c.step, c.attempt, c.ordinal, c.status, c.model, c.provider,
           c.answered_by, c.system, c.prompt, c.answer, c.input_tokens, c.output_tokens, c.cost, c.started_at, c.ended_at,
           c.latency_ms, c.first_token_ms, c.attempts, c.tried, c.finish_reason, c.error
    FROM brain_llm.calls AS c JOIN brain.runs AS r ON r.id = c.run_id;
COMMENT ON VIEW brain_v1.llm_calls IS 'One row a call of a model by an LLM step.';
