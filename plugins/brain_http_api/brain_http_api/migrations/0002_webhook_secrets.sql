-- Which secrets of webhooks are valid. The secrets are derived from the master key; nothing here tells one.

CREATE TABLE brain_http_api.webhook_secrets (
    trigger_id uuid PRIMARY KEY REFERENCES brain.triggers ON DELETE CASCADE,
    generation integer NOT NULL,
    rotated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    old_until  timestamptz NOT NULL,
    CONSTRAINT webhook_secrets_changed CHECK (generation > 1),
    CONSTRAINT webhook_secrets_old_ends CHECK (isfinite(old_until))
);
COMMENT ON TABLE brain_http_api.webhook_secrets IS 'Webhooks whose secret was changed; one without a row has its first one.';
COMMENT ON COLUMN brain_http_api.webhook_secrets.generation IS 'Which secret is the new one, counted from 1.';
COMMENT ON COLUMN brain_http_api.webhook_secrets.old_until IS 'Until when the one before is valid, too.';
COMMENT ON CONSTRAINT webhook_secrets_changed ON brain_http_api.webhook_secrets IS 'G21: a secret that was never changed has no row, so no row means the first one.';
COMMENT ON CONSTRAINT webhook_secrets_old_ends ON brain_http_api.webhook_secrets IS 'G21: an old secret ends, and is not valid for ever by an infinite date.';

CREATE FUNCTION brain_http_api.refuse_old_secret() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'webhook %: its secret goes from generation % to %, and to no other', OLD.trigger_id, OLD.generation,
        OLD.generation + 1 USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER webhook_secrets_go_on BEFORE UPDATE ON brain_http_api.webhook_secrets FOR EACH ROW
    WHEN (NEW.trigger_id IS DISTINCT FROM OLD.trigger_id OR NEW.generation IS DISTINCT FROM OLD.generation + 1)
    EXECUTE FUNCTION brain_http_api.refuse_old_secret();
COMMENT ON TRIGGER webhook_secrets_go_on ON brain_http_api.webhook_secrets IS 'G21: a secret that has ended does not come back.';
