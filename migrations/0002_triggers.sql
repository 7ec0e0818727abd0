-- Triggers, their revisions, the ledger of due instants, the queue, and live output.
-- Guarantees (G…) are those of docs; each constraint names the one that it keeps.

CREATE TABLE brain.triggers (
    id            uuid PRIMARY KEY,
    name          text NOT NULL,
    type          text NOT NULL,
    config        json NOT NULL,
    workflow_name text NOT NULL,
    file          text NOT NULL,
    host          text NOT NULL DEFAULT '',
    inputs        json NOT NULL DEFAULT '{}',
    planned_steps jsonb NOT NULL,
    digest        text,
    catch_up      text NOT NULL DEFAULT 'latest',
    catch_up_max  integer,
    overlap       text NOT NULL DEFAULT 'skip',
    state         text NOT NULL DEFAULT 'active',
    revision      integer NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL,
    next_due_at   timestamptz,
    paused_at     timestamptz,
    resume_at     timestamptz,
    deleted_at    timestamptz,
    CONSTRAINT triggers_plan_has_steps
        CHECK (jsonb_typeof(planned_steps) = 'array' AND jsonb_array_length(planned_steps) > 0),
    CONSTRAINT triggers_catch_up_known CHECK (catch_up IN ('latest', 'none', 'all')),
    CONSTRAINT triggers_max_iff_all CHECK ((catch_up_max IS NOT NULL) = (catch_up = 'all') AND catch_up_max > 0),
    CONSTRAINT triggers_overlap_known CHECK (overlap IN ('skip', 'allow')),
    CONSTRAINT triggers_state_known CHECK (state IN ('active', 'paused', 'deleted')),
    CONSTRAINT triggers_due_only_active
        CHECK (next_due_at IS NULL OR (state = 'active' AND isfinite(next_due_at))),
    CONSTRAINT triggers_paused_iff_time CHECK ((paused_at IS NOT NULL) = (state = 'paused')),
    CONSTRAINT triggers_resume_only_paused CHECK (resume_at IS NULL OR state = 'paused'),
    CONSTRAINT triggers_deleted_iff_time CHECK ((deleted_at IS NOT NULL) = (state = 'deleted')),
    CONSTRAINT triggers_revision_counts CHECK (revision > 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE brain.triggers IS 'What starts runs, of all types; a deleted one stays for its ledger.';
COMMENT ON COLUMN brain.triggers.next_due_at IS 'The first instant without an outcome in the ledger; firing is a compare-and-set on it (G1).';
COMMENT ON COLUMN brain.triggers.host IS 'Where the file is known to be; empty when nobody said.';
COMMENT ON CONSTRAINT triggers_plan_has_steps ON brain.triggers IS 'G13: its runs have a plan when they are created.';
COMMENT ON CONSTRAINT triggers_catch_up_known ON brain.triggers IS 'G3: there are three policies after an outage.';
COMMENT ON CONSTRAINT triggers_max_iff_all ON brain.triggers IS 'G3: to make up for all has a limit.';
COMMENT ON CONSTRAINT triggers_overlap_known ON brain.triggers IS 'G4: a trigger skips or allows overlap with itself.';
COMMENT ON CONSTRAINT triggers_state_known ON brain.triggers IS 'G8: a trigger is in one of three states.';
COMMENT ON CONSTRAINT triggers_due_only_active ON brain.triggers IS 'G8: only an active trigger is due, and at a real instant.';
COMMENT ON CONSTRAINT triggers_paused_iff_time ON brain.triggers IS 'G2: a pause has a beginning.';
COMMENT ON CONSTRAINT triggers_resume_only_paused ON brain.triggers IS 'G8: only what is paused is resumed.';
COMMENT ON CONSTRAINT triggers_deleted_iff_time ON brain.triggers IS 'G2: who was deleted, and only who was deleted, has a time of it.';
COMMENT ON CONSTRAINT triggers_revision_counts ON brain.triggers IS 'G8: revisions count from 1.';
CREATE UNIQUE INDEX triggers_name ON brain.triggers (name) WHERE state <> 'deleted';
CREATE INDEX triggers_due ON brain.triggers (next_due_at, id) WHERE next_due_at IS NOT NULL;
CREATE INDEX triggers_resume ON brain.triggers (resume_at, id) WHERE resume_at IS NOT NULL;

CREATE TRIGGER triggers_go_forward BEFORE UPDATE ON brain.triggers FOR EACH ROW
    WHEN (OLD.state = 'deleted' OR NEW.revision < OLD.revision
          OR (NEW.revision = OLD.revision AND NEW.next_due_at < OLD.next_due_at))
    EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER triggers_go_forward ON brain.triggers IS 'G8: a deleted trigger stays so; the next instant goes back only with a new revision.';

CREATE TRIGGER triggers_never_vanish BEFORE DELETE ON brain.triggers FOR EACH ROW
    EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER triggers_never_vanish ON brain.triggers IS 'G2: the ledger keeps its trigger.';

CREATE TABLE brain.trigger_revisions (
    trigger_id   uuid NOT NULL REFERENCES brain.triggers,
    revision     integer NOT NULL,
    type         text NOT NULL,
    config       json NOT NULL,
    state        text NOT NULL,
    catch_up     text NOT NULL,
    catch_up_max integer,
    overlap      text NOT NULL,
    valid_from   timestamptz NOT NULL,
    valid_until  timestamptz,
    reason       text NOT NULL,
    CONSTRAINT trigger_revisions_pkey PRIMARY KEY (trigger_id, revision),
    CONSTRAINT trigger_revisions_reason_known
        CHECK (reason IN ('registered', 'edited', 'paused', 'resumed', 'unregistered')),
    CONSTRAINT trigger_revisions_in_order CHECK (valid_until >= valid_from)
);
COMMENT ON TABLE brain.trigger_revisions IS 'Which expression was in force when: for the instants after valid_from up to valid_until (G2).';
COMMENT ON CONSTRAINT trigger_revisions_trigger_id_fkey ON brain.trigger_revisions IS 'G2: a revision belongs to a trigger.';
COMMENT ON CONSTRAINT trigger_revisions_reason_known ON brain.trigger_revisions IS 'G2: a revision says what made it.';
COMMENT ON CONSTRAINT trigger_revisions_in_order ON brain.trigger_revisions IS 'G2: no revision ends before it begins.';
CREATE UNIQUE INDEX trigger_revisions_one_open ON brain.trigger_revisions (trigger_id) WHERE valid_until IS NULL;

CREATE TRIGGER trigger_revisions_never_change BEFORE UPDATE OR DELETE ON brain.trigger_revisions FOR EACH ROW
    WHEN (OLD.valid_until IS NOT NULL) EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER trigger_revisions_never_change ON brain.trigger_revisions IS 'G2: what was in force is not rewritten.';

CREATE TABLE brain.fires (
    trigger_id  uuid NOT NULL,
    due_at      timestamptz NOT NULL,
    until       timestamptz,
    outcome     text NOT NULL,
    reason      text NOT NULL,
    run_id      uuid,
    revision    integer NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT fires_pkey PRIMARY KEY (trigger_id, due_at),
    CONSTRAINT fires_outcome_known CHECK (outcome IN ('fired', 'merged', 'skipped_overlap', 'skipped_paused')),
    CONSTRAINT fires_run_iff_fired CHECK ((run_id IS NOT NULL) = (outcome = 'fired')),
    CONSTRAINT fires_range_in_order CHECK (until >= due_at AND isfinite(due_at)),
    CONSTRAINT fires_range_has_no_run CHECK (until IS NULL OR outcome IN ('merged', 'skipped_paused')),
    CONSTRAINT fires_open_only_paused CHECK (until < 'infinity' OR outcome = 'skipped_paused'),
    CONSTRAINT fires_has_reason CHECK (reason <> '')
);
COMMENT ON TABLE brain.fires IS 'The ledger (G2): a row is the outcome of one instant, or of all from due_at to until (inclusive) that have no row of their own.';
COMMENT ON COLUMN brain.fires.until IS 'Null for one instant; infinity while a pause goes on.';
COMMENT ON CONSTRAINT fires_pkey ON brain.fires IS 'G1: one outcome, and so at most one start, for each due instant.';
COMMENT ON CONSTRAINT fires_outcome_known ON brain.fires IS 'G2: an instant ends in one of four outcomes.';
COMMENT ON CONSTRAINT fires_run_iff_fired ON brain.fires IS 'G2: what fired, and only what fired, has a run.';
COMMENT ON CONSTRAINT fires_range_in_order ON brain.fires IS 'G2: a stretch ends after it begins.';
COMMENT ON CONSTRAINT fires_range_has_no_run ON brain.fires IS 'G3: a stretch was merged or paused, never fired.';
COMMENT ON CONSTRAINT fires_open_only_paused ON brain.fires IS 'G2: only a pause has an open end.';
COMMENT ON CONSTRAINT fires_has_reason ON brain.fires IS 'G2: each outcome has a reason.';
CREATE UNIQUE INDEX fires_open_pause ON brain.fires (trigger_id) WHERE until = 'infinity';

-- In place of a foreign key, which would look the trigger up and lock it again for each of a thousand instants.
CREATE FUNCTION brain.check_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT trigger_id FROM new_rows) AS n
               WHERE NOT EXISTS (SELECT FROM brain.triggers AS t WHERE t.id = n.trigger_id)) THEN
        RAISE EXCEPTION 'G2: an outcome points to a trigger that is not there'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fires_trigger_is_there AFTER INSERT ON brain.fires REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION brain.check_trigger();
COMMENT ON TRIGGER fires_trigger_is_there ON brain.fires IS 'G2: the ledger keeps its trigger.';

CREATE TRIGGER fires_never_change BEFORE UPDATE ON brain.fires FOR EACH ROW
    WHEN (OLD.until IS DISTINCT FROM 'infinity'
          OR (NEW.trigger_id, NEW.due_at, NEW.outcome, NEW.revision) IS DISTINCT FROM
             (OLD.trigger_id, OLD.due_at, OLD.outcome, OLD.revision)
          OR NEW.until IS NULL)
    EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER fires_never_change ON brain.fires IS 'G2: an outcome never changes; an open pause gets its end, once.';
CREATE TRIGGER fires_never_vanish BEFORE DELETE ON brain.fires FOR EACH ROW
    WHEN (OLD.until IS DISTINCT FROM 'infinity') EXECUTE FUNCTION brain.refuse_change();
COMMENT ON TRIGGER fires_never_vanish ON brain.fires IS 'G2: an outcome stays; only a pause that ended before its first instant leaves nothing.';

ALTER TABLE brain.workflow_versions
    ADD COLUMN on_interrupt text NOT NULL DEFAULT 'fail',
    ADD CONSTRAINT workflow_versions_on_interrupt_known CHECK (on_interrupt IN ('fail', 'resume'));
COMMENT ON CONSTRAINT workflow_versions_on_interrupt_known ON brain.workflow_versions IS 'G10: what was interrupted fails or is resumed.';

ALTER TABLE brain.workers
    ADD COLUMN concurrency integer,
    ADD COLUMN in_hand integer,
    ADD COLUMN tick_at timestamptz,
    ADD CONSTRAINT workers_numbers_count CHECK (concurrency > 0 AND in_hand >= 0);
CREATE INDEX workers_stopped ON brain.workers (stopped_at) WHERE stopped_at IS NOT NULL;
COMMENT ON CONSTRAINT workers_numbers_count ON brain.workers IS 'G24: a daemon has a limit of runs in hand.';

ALTER TABLE brain.runs
    ADD COLUMN trigger_id uuid,
    ADD COLUMN due_at timestamptz,
    ADD COLUMN host text NOT NULL DEFAULT '',
    ADD COLUMN takeovers integer NOT NULL DEFAULT 0,
    ADD COLUMN parked_reason text,
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN cancel_reason text,
    ADD CONSTRAINT runs_due_has_trigger CHECK (due_at IS NULL OR trigger_id IS NOT NULL),
    ADD CONSTRAINT runs_takeovers_count CHECK (takeovers >= 0),
    ADD CONSTRAINT runs_parked_iff_reason CHECK ((parked_reason IS NOT NULL) = (status = 'parked')),
    ADD CONSTRAINT runs_waiting_is_free CHECK (status NOT IN ('queued', 'parked') OR worker_id IS NULL),
    ADD CONSTRAINT runs_cancel_has_time CHECK (cancel_reason IS NULL OR cancel_requested_at IS NOT NULL);
COMMENT ON COLUMN brain.runs.host IS 'Where the file is known to be; empty when nobody said.';
COMMENT ON COLUMN brain.runs.takeovers IS 'How many workers have died with it.';
COMMENT ON CONSTRAINT runs_due_has_trigger ON brain.runs IS 'G1: an instant is due by a trigger.';
COMMENT ON CONSTRAINT runs_takeovers_count ON brain.runs IS 'G16: take-overs count from 0.';
COMMENT ON CONSTRAINT runs_parked_iff_reason ON brain.runs IS 'G16: what is parked, and only what is parked, says why.';
COMMENT ON CONSTRAINT runs_waiting_is_free ON brain.runs IS 'G12: what waits has no owner.';
COMMENT ON CONSTRAINT runs_cancel_has_time ON brain.runs IS 'G13: a wish to cancel has its time.';
-- The second belt of G1, beside the primary key of the ledger.
CREATE UNIQUE INDEX runs_once_for_each_instant ON brain.runs (trigger_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX runs_of_trigger ON brain.runs (trigger_id, created_at) WHERE trigger_id IS NOT NULL;
CREATE INDEX runs_unfinished_of_trigger ON brain.runs (trigger_id)
    WHERE trigger_id IS NOT NULL AND status IN ('queued', 'running', 'parked');
CREATE INDEX runs_queued ON brain.runs (created_at, id) WHERE status = 'queued';
-- For a host that lacks some of the files.
CREATE INDEX runs_queued_by_file ON brain.runs (file, host, created_at, id) WHERE status = 'queued';
CREATE INDEX runs_in_hand ON brain.runs (worker_id) WHERE status = 'running';

-- Written under the fence by the one worker of the run; a foreign key would lock the run's row for each line.
CREATE TABLE brain.run_events (
    run_id   uuid NOT NULL,
    seq      bigint NOT NULL,
    at       timestamptz NOT NULL DEFAULT statement_timestamp(),
    position integer,
    kind     text NOT NULL,
    text     text NOT NULL,
    total    integer NOT NULL,
    CONSTRAINT run_events_pkey PRIMARY KEY (run_id, seq),
    CONSTRAINT run_events_kind_known CHECK (kind IN ('live', 'cut')),
    CONSTRAINT run_events_total_counts CHECK (total >= octet_length(text))
);
COMMENT ON TABLE brain.run_events IS 'What a run says while it runs, in batches; bounded for each run (G24).';
COMMENT ON COLUMN brain.run_events.seq IS 'The claim in the high half, counted by its worker in the low one: a repeated batch is the same rows (G17).';
COMMENT ON COLUMN brain.run_events.total IS 'Bytes of the run up to here, so that the limit needs no sum.';
COMMENT ON CONSTRAINT run_events_pkey ON brain.run_events IS 'G17: a batch that is sent twice is there once.';
COMMENT ON CONSTRAINT run_events_kind_known ON brain.run_events IS 'G24: text, or that the rest was cut.';
COMMENT ON CONSTRAINT run_events_total_counts ON brain.run_events IS 'G24: the bytes are counted.';

CREATE FUNCTION brain.forget_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM brain.run_events AS e USING old_rows AS o WHERE e.run_id = o.id;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_take_their_events AFTER DELETE ON brain.runs REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION brain.forget_events();
COMMENT ON TRIGGER runs_take_their_events ON brain.runs IS 'G13: what a run said goes with it.';

CREATE OR REPLACE VIEW brain_v1.runs AS
    SELECT id, workflow_name AS workflow, file, status, created_at, started_at, ended_at, error, position, inputs,
           trigger, digest AS version, planned_steps, previous_run_id, retry_of, trigger_id, due_at, host, takeovers,
           parked_reason, cancel_requested_at, cancel_reason
    FROM brain.runs;
CREATE VIEW brain_v1.triggers AS
    SELECT id, name, type, config, workflow_name AS workflow, file, host, inputs, catch_up, catch_up_max, overlap, state,
           next_due_at, paused_at, resume_at, deleted_at, created_at, revision,
           next_due_at < clock_timestamp() - interval '60 s' IS TRUE AS overdue, last_run_id, last_run_status,
           last_run_at, last_success_at
    FROM brain.triggers AS t
    LEFT JOIN LATERAL (
        SELECT r.id AS last_run_id, r.status AS last_run_status, r.created_at AS last_run_at FROM brain.runs AS r
        WHERE r.trigger_id = t.id ORDER BY r.trigger_id, r.created_at DESC LIMIT 1) AS last ON true
    LEFT JOIN LATERAL (
        SELECT r.ended_at AS last_success_at FROM brain.runs AS r
        WHERE r.trigger_id = t.id AND r.status IS NOT DISTINCT FROM 'success'
        ORDER BY r.trigger_id, r.created_at DESC LIMIT 1) AS good ON true;
COMMENT ON VIEW brain_v1.triggers IS 'One row a trigger, deleted ones included, with its last run.';
CREATE VIEW brain_v1.overdue AS
    SELECT id, name, type, workflow, file, host, next_due_at, last_run_id, last_run_status, last_run_at, last_success_at
    FROM brain_v1.triggers
    WHERE next_due_at < clock_timestamp() - interval '60 s';
COMMENT ON VIEW brain_v1.overdue IS 'Active triggers whose next instant passed a minute ago and has no outcome.';
CREATE VIEW brain_v1.fires AS
    SELECT trigger_id, trigger, due_at, until, outcome, reason, run_id, revision, recorded_at
    FROM brain.fires JOIN (SELECT t.id, t.name AS trigger FROM brain.triggers AS t) AS t ON t.id = trigger_id;
COMMENT ON VIEW brain_v1.fires IS 'The ledger: one row an instant, or a stretch of instants.';
