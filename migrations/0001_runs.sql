-- Runs, their steps, the sources they ran, the workers that own them, and the deliveries of their ends.
-- Guarantees (G…) are those of docs; each constraint names the one that it keeps.

CREATE TABLE brain.workflow_versions (
    digest     text PRIMARY KEY,
    sources    json NOT NULL,
    on_finished boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT statement_timestamp()
);
COMMENT ON COLUMN brain.workflow_versions.on_finished IS 'Whether the workflow is itself to be told of the end of its runs.';
COMMENT ON TABLE brain.workflow_versions IS 'Source by hash, sibling modules included; every run points to the one it ran (G19).';

CREATE TABLE brain.workers (
    id              uuid PRIMARY KEY,
    kind            text NOT NULL,
    host            text NOT NULL,
    boot_id         text NOT NULL,
    pid_namespace   text NOT NULL,
    pid             integer NOT NULL,
    process_started text NOT NULL,
    version         text NOT NULL,
    lease           double precision NOT NULL,
    beat            bigint NOT NULL DEFAULT 0,
    beat_at         timestamptz NOT NULL DEFAULT statement_timestamp(),
    started_at      timestamptz NOT NULL DEFAULT statement_timestamp(),
    stopped_at      timestamptz,
    stop_reason     text,
    CONSTRAINT workers_kind_known CHECK (kind IN ('run', 'daemon')),
    CONSTRAINT workers_lease_positive CHECK (lease > 0),
    CONSTRAINT workers_reason_iff_stopped CHECK ((stopped_at IS NULL) = (stop_reason IS NULL))
) WITH (fillfactor = 50);
COMMENT ON COLUMN brain.workers.beat IS 'Counts up while the process lives; others judge it by their own boot-time clock (G5).';
COMMENT ON CONSTRAINT workers_kind_known ON brain.workers IS 'G11: a worker is a brain run or a daemon.';
COMMENT ON CONSTRAINT workers_lease_positive ON brain.workers IS 'G11: without a lease nobody could judge the worker.';
COMMENT ON CONSTRAINT workers_reason_iff_stopped ON brain.workers IS 'G13: who stopped, and only who stopped, has a reason.';
CREATE INDEX workers_live ON brain.workers (started_at) WHERE stopped_at IS NULL;

CREATE TABLE brain.worker_sightings (
    boot_id   text NOT NULL,
    worker_id uuid NOT NULL REFERENCES brain.workers ON DELETE CASCADE,
    beat      bigint NOT NULL,
    seen      double precision NOT NULL,
    PRIMARY KEY (boot_id, worker_id)
);
COMMENT ON TABLE brain.worker_sightings IS 'When the processes of one boot first saw a beat, in seconds of that boot (G5).';

CREATE TABLE brain.runs (
    id              uuid PRIMARY KEY,
    created_at      timestamptz NOT NULL,
    started_at      timestamptz,
    ended_at        timestamptz,
    previous_run_id uuid,
    retry_of        uuid,
    worker_id       uuid,
    claim           integer NOT NULL DEFAULT 0,
    position        integer NOT NULL DEFAULT 0,
    status          text NOT NULL,
    workflow_name   text NOT NULL,
    file            text NOT NULL,
    digest          text,
    error           text,
    planned_steps   jsonb NOT NULL,
    inputs          json NOT NULL DEFAULT '{}',
    trigger         json,
    CONSTRAINT runs_status_known
        CHECK (status IN ('queued', 'running', 'parked', 'success', 'failed', 'cancelled')),
    CONSTRAINT runs_ended_iff_final
        CHECK ((ended_at IS NOT NULL) = (status IN ('success', 'failed', 'cancelled'))),
    CONSTRAINT runs_ends_after_start CHECK (ended_at >= started_at),
    CONSTRAINT runs_running_is_owned
        CHECK (status <> 'running' OR (worker_id IS NOT NULL AND claim > 0 AND started_at IS NOT NULL)),
    CONSTRAINT runs_success_has_started CHECK (status <> 'success' OR started_at IS NOT NULL),
    CONSTRAINT runs_failure_has_error CHECK (status <> 'failed' OR error IS NOT NULL),
    CONSTRAINT runs_success_has_no_error CHECK (status <> 'success' OR error IS NULL),
    CONSTRAINT runs_plan_has_steps
        CHECK (jsonb_typeof(planned_steps) = 'array' AND jsonb_array_length(planned_steps) > 0),
    CONSTRAINT runs_position_in_plan CHECK (position >= 0 AND position < jsonb_array_length(planned_steps)),
    CONSTRAINT runs_claim_counts_up CHECK (claim >= 0)
) WITH (fillfactor = 60);
COMMENT ON COLUMN brain.runs.claim IS 'The fence: it is in the WHERE of every write about the run (G12).';
COMMENT ON COLUMN brain.runs.position IS 'The step that goes on now, or went on last, from 0.';
COMMENT ON CONSTRAINT runs_status_known ON brain.runs IS 'G13: a run is in one of six states.';
COMMENT ON CONSTRAINT runs_ended_iff_final ON brain.runs IS 'G13: ended_at if and only if the state is final.';
COMMENT ON CONSTRAINT runs_ends_after_start ON brain.runs IS 'G13: no run ends before it starts.';
COMMENT ON CONSTRAINT runs_running_is_owned ON brain.runs IS 'G13: a running run has an owner and a claim.';
COMMENT ON CONSTRAINT runs_success_has_started ON brain.runs IS 'G13: what succeeded has run.';
COMMENT ON CONSTRAINT runs_failure_has_error ON brain.runs IS 'G13: a failed run says why.';
COMMENT ON CONSTRAINT runs_success_has_no_error ON brain.runs IS 'G13: a successful run has no error.';
COMMENT ON CONSTRAINT runs_plan_has_steps ON brain.runs IS 'G13: what was to run is recorded when the run is created.';
COMMENT ON CONSTRAINT runs_position_in_plan ON brain.runs IS 'G13: a run is at one of its planned steps.';
COMMENT ON CONSTRAINT runs_claim_counts_up ON brain.runs IS 'G12: the claim number counts from 0.';
CREATE INDEX runs_history ON brain.runs (created_at, id);
CREATE INDEX runs_history_of_workflow ON brain.runs (workflow_name, created_at, id);
CREATE INDEX runs_not_successful ON brain.runs (status, created_at, id) WHERE status <> 'success';
CREATE INDEX runs_previous ON brain.runs (workflow_name, started_at DESC) WHERE status = 'success';

CREATE TABLE brain.step_runs (
    run_id     uuid NOT NULL,
    position   integer NOT NULL,
    attempt    integer NOT NULL,
    claim      integer NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,
    name       text NOT NULL,
    type       text NOT NULL,
    status     text NOT NULL,
    error      text,
    log        text NOT NULL DEFAULT '',
    output     json,
    details    json NOT NULL DEFAULT '{}',
    CONSTRAINT step_runs_pkey PRIMARY KEY (run_id, position, attempt),
    CONSTRAINT step_runs_status_known
        CHECK (status IN ('running', 'success', 'failed', 'interrupted', 'skipped', 'cancelled')),
    CONSTRAINT step_runs_ended_iff_not_running CHECK ((ended_at IS NULL) = (status = 'running')),
    CONSTRAINT step_runs_ends_after_start CHECK (ended_at >= started_at),
    CONSTRAINT step_runs_failure_has_error CHECK (status <> 'failed' OR error IS NOT NULL),
    CONSTRAINT step_runs_counted CHECK (position >= 0 AND attempt > 0)
);
COMMENT ON CONSTRAINT step_runs_pkey ON brain.step_runs IS 'G9: one row for each attempt of a step.';
COMMENT ON COLUMN brain.step_runs.run_id IS 'A row of brain.runs: seen to by the triggers step_runs_run_goes_on and runs_delete_steps.';
COMMENT ON CONSTRAINT step_runs_status_known ON brain.step_runs IS 'G13: an attempt is in one of six states.';
COMMENT ON CONSTRAINT step_runs_ended_iff_not_running ON brain.step_runs IS 'G13: ended_at if and only if the attempt is over.';
COMMENT ON CONSTRAINT step_runs_ends_after_start ON brain.step_runs IS 'G13: no attempt ends before it starts.';
COMMENT ON CONSTRAINT step_runs_failure_has_error ON brain.step_runs IS 'G13: a failed attempt says why.';
COMMENT ON CONSTRAINT step_runs_counted ON brain.step_runs IS 'G10: positions count from 0, attempts from 1.';

CREATE TABLE brain.deliveries (
    run_id     uuid NOT NULL REFERENCES brain.runs ON DELETE CASCADE,
    receiver   text NOT NULL,
    worker_id  uuid,
    attempts   integer NOT NULL DEFAULT 0,
    status     text NOT NULL DEFAULT 'open',
    error      text,
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    ended_at   timestamptz,
    CONSTRAINT deliveries_pkey PRIMARY KEY (run_id, receiver),
    CONSTRAINT deliveries_status_known CHECK (status IN ('open', 'done', 'failed')),
    CONSTRAINT deliveries_ended_iff_not_open CHECK ((ended_at IS NULL) = (status = 'open')),
    CONSTRAINT deliveries_error_iff_failed CHECK ((error IS NOT NULL) = (status = 'failed'))
);
COMMENT ON TABLE brain.deliveries IS 'Who is to be told of the end of a run: at least once each, whatever dies in between.';
COMMENT ON CONSTRAINT deliveries_pkey ON brain.deliveries IS 'G18: each receiver has its own row, so that one failing leaves the others.';
COMMENT ON CONSTRAINT deliveries_run_id_fkey ON brain.deliveries IS 'G13: a delivery is about a run.';
COMMENT ON CONSTRAINT deliveries_status_known ON brain.deliveries IS 'G13: a delivery is open, done or failed.';
COMMENT ON CONSTRAINT deliveries_ended_iff_not_open ON brain.deliveries IS 'G13: ended_at if and only if it is not open.';
COMMENT ON CONSTRAINT deliveries_error_iff_failed ON brain.deliveries IS 'G13: who failed, and only who failed, says why.';
CREATE INDEX deliveries_not_done ON brain.deliveries (created_at, run_id, receiver) WHERE status <> 'done';

CREATE FUNCTION brain.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'G13: % of % %: what is over never changes', TG_OP, TG_TABLE_NAME, OLD
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
COMMENT ON FUNCTION brain.refuse_change() IS 'G13: a final state never changes.';

CREATE TRIGGER runs_final_never_changes BEFORE UPDATE ON brain.runs FOR EACH ROW
    WHEN (OLD.status IN ('success', 'failed', 'cancelled') OR NEW.claim < OLD.claim OR NEW.id <> OLD.id)
    EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER runs_final_never_changes ON brain.runs IS 'G13: a final run never changes. G12: a claim never goes back.';

CREATE FUNCTION brain.refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'G13: run % cannot go from % to %', OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
COMMENT ON FUNCTION brain.refuse_transition() IS 'G13: which status may follow which is in run.py, LEGAL; a test holds both together.';
CREATE TRIGGER runs_status_follows BEFORE UPDATE ON brain.runs FOR EACH ROW
    WHEN ((OLD.status IN ('queued', 'parked') AND NEW.status = 'success')
          OR (OLD.status = 'queued' AND NEW.status = 'parked'))
    EXECUTE FUNCTION brain.refuse_transition();
COMMENT ON TRIGGER runs_status_follows ON brain.runs IS 'G13: only a running run succeeds or parks.';

CREATE FUNCTION brain.refuse_unfinished_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'G13: DELETE of run %, which is %: only a final run may be deleted', OLD.id, OLD.status
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
COMMENT ON FUNCTION brain.refuse_unfinished_delete() IS 'G13: what goes on does not vanish.';

CREATE TRIGGER runs_unfinished_never_vanish BEFORE DELETE ON brain.runs FOR EACH ROW
    WHEN (OLD.status NOT IN ('success', 'failed', 'cancelled')) EXECUTE FUNCTION brain.refuse_unfinished_delete();
COMMENT ON TRIGGER runs_unfinished_never_vanish ON brain.runs IS 'G13: only a final run may be deleted, with all that belongs to it.';

CREATE TRIGGER step_runs_never_change BEFORE UPDATE ON brain.step_runs FOR EACH ROW
    WHEN (OLD.status <> 'running' OR NEW.run_id <> OLD.run_id) EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER step_runs_never_change ON brain.step_runs IS 'G9: a finished attempt never changes, and none changes its run.';

-- In place of a foreign key, which would look up each step's run alone: this looks once a statement, which concurrent runs
-- share, and sees to it that the run is not over. The statement that ends a run inserts its last step beside it: there the
-- run's row is of this very transaction. Any other run is locked first: it must not end or go between the look and the
-- commit. ANY (ARRAY …) keeps the plan an index scan, whatever size the tables had when it was made.
CREATE FUNCTION brain.check_run_of_step() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    IF (SELECT count(*) FROM new_rows)
       = (SELECT count(*) FROM brain.runs AS r
          WHERE r.id = ANY (ARRAY(SELECT n.run_id FROM new_rows AS n)) AND r.xmin = pg_current_xact_id()::xid) THEN
        RETURN NULL;
    END IF;
    PERFORM FROM brain.runs AS r
    WHERE r.id = ANY (ARRAY(SELECT n.run_id FROM new_rows AS n)) AND r.xmin <> pg_current_xact_id()::xid
    ORDER BY r.id FOR SHARE;
    SELECT n.run_id, coalesce(r.status, 'not there') AS status INTO wrong
    FROM new_rows AS n LEFT JOIN brain.runs AS r ON r.id = n.run_id
    WHERE r.id IS NULL OR (r.status IN ('success', 'failed', 'cancelled') AND r.xmin <> pg_current_xact_id()::xid)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'G13: INSERT of a step into run %, which is %', wrong.run_id, wrong.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION brain.check_run_of_step() IS 'G13: a step belongs to a run, and a final run gets no more of them.';
CREATE TRIGGER step_runs_run_goes_on AFTER INSERT ON brain.step_runs REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION brain.check_run_of_step();
COMMENT ON TRIGGER step_runs_run_goes_on ON brain.step_runs IS 'G13: a step belongs to a run, and a final run gets no more of them.';

-- The depth is 0 for a DELETE that somebody typed, and 1 for those of a run that is deleted as a whole.
CREATE TRIGGER step_runs_never_vanish BEFORE DELETE ON brain.step_runs FOR EACH ROW
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER step_runs_never_vanish ON brain.step_runs IS 'G13: a step goes only together with its run.';

CREATE FUNCTION brain.delete_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM brain.step_runs WHERE run_id = ANY (ARRAY(SELECT o.id FROM old_rows AS o));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION brain.delete_steps() IS 'G13: the steps of a run go with it.';
CREATE TRIGGER runs_delete_steps AFTER DELETE ON brain.runs REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION brain.delete_steps();
COMMENT ON TRIGGER runs_delete_steps ON brain.runs IS 'G13: the steps of a run go with it.';

CREATE FUNCTION brain.check_success() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    planned  integer := jsonb_array_length(NEW.planned_steps);
    finished integer;
BEGIN
    SELECT count(*) INTO finished
    FROM (SELECT DISTINCT ON (s.position) s.status
          FROM brain.step_runs AS s
          WHERE s.run_id = NEW.id AND s.position < planned
          ORDER BY s.position, s.attempt DESC) AS last
    WHERE last.status IN ('success', 'skipped');
    IF finished <> planned THEN
        RAISE EXCEPTION 'G13: run % cannot be a success: % of % steps end with a success or a skip', NEW.id, finished, planned
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION brain.check_success() IS 'G13: in a successful run the last attempt of every planned step is a success or a skip.';

-- Runs at the end of the statement, when the step rows that it writes beside the run's end are there. For each row, because
-- a trigger for each statement would cost every step result something, too.
CREATE TRIGGER runs_success_is_complete AFTER UPDATE ON brain.runs FOR EACH ROW
    WHEN (NEW.status = 'success') EXECUTE FUNCTION brain.check_success();
COMMENT ON TRIGGER runs_success_is_complete ON brain.runs IS 'G13: no success with an unsuccessful step.';

CREATE TRIGGER workflow_versions_never_change BEFORE UPDATE OR DELETE ON brain.workflow_versions FOR EACH ROW
    EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER workflow_versions_never_change ON brain.workflow_versions IS 'G19: the source that a run ran is kept.';

-- In place of a foreign key: all runs of a workflow point to one row, which a foreign key would lock and look up again for
-- each run. Versions are never deleted, so that looking when runs are created is enough.
CREATE FUNCTION brain.check_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT digest FROM new_rows WHERE digest IS NOT NULL) AS n
               WHERE NOT EXISTS (SELECT FROM brain.workflow_versions AS v WHERE v.digest = n.digest)) THEN
        RAISE EXCEPTION 'G19: a run points to a workflow version that is not stored'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_version_is_stored AFTER INSERT ON brain.runs REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION brain.check_version();
COMMENT ON TRIGGER runs_version_is_stored ON brain.runs IS 'G19: the source that a run ran is kept.';

CREATE FUNCTION brain.refuse_birth() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'G13: run % cannot be created as a success', NEW.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER runs_success_is_earned BEFORE INSERT ON brain.runs FOR EACH ROW
    WHEN (NEW.status = 'success') EXECUTE FUNCTION brain.refuse_birth();
COMMENT ON TRIGGER runs_success_is_earned ON brain.runs IS 'G13: a run becomes a success by its steps.';

CREATE SCHEMA brain_v1;
COMMENT ON SCHEMA brain_v1 IS 'The public SQL interface: columns are only ever added.';
CREATE VIEW brain_v1.runs AS
    SELECT id, workflow_name AS workflow, file, status, created_at, started_at, ended_at, error, position, inputs,
           trigger, digest AS version, planned_steps, previous_run_id, retry_of
    FROM brain.runs;
COMMENT ON VIEW brain_v1.runs IS 'One row a run.';
CREATE VIEW brain_v1.step_runs AS
    SELECT run_id, position, name, type, attempt, status, started_at, ended_at, output, error, log, details
    FROM brain.step_runs;
COMMENT ON VIEW brain_v1.step_runs IS 'One row an attempt of a step.';
