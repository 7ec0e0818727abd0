-- The tokens of the API. Guarantees (G…) are those of brain-core; each constraint names the one that it keeps.

CREATE SCHEMA brain_http_api;
COMMENT ON SCHEMA brain_http_api IS 'The tables of brain-http-api.';

CREATE TABLE brain_http_api.tokens (
    id           text PRIMARY KEY,
    digest       text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    name         text NOT NULL,
    scope        text NOT NULL,
    patterns     text[] NOT NULL DEFAULT '{}',
    CONSTRAINT tokens_id_public CHECK (id ~ '^[a-z2-7]{16}$'),
    CONSTRAINT tokens_digest_only CHECK (digest ~ '^[0-9a-f]{64}$'),
    CONSTRAINT tokens_scope_known CHECK (scope IN ('read', 'run', 'admin')),
    CONSTRAINT tokens_name_bounded CHECK (char_length(name) BETWEEN 1 AND 80 AND name <> 'environment'),
    CONSTRAINT tokens_patterns_bounded
        CHECK (cardinality(patterns) <= 20 AND array_position(patterns, NULL) IS NULL
               AND array_position(patterns, '') IS NULL AND octet_length(patterns::text) <= 8192),
    CONSTRAINT tokens_expire_later CHECK (expires_at > created_at AND isfinite(expires_at))
);
COMMENT ON TABLE brain_http_api.tokens IS 'Who may use the API; a revoked token stays, so that its name in old runs can be told.';
COMMENT ON COLUMN brain_http_api.tokens.id IS 'The part of the token by which it is found; no secret.';
COMMENT ON COLUMN brain_http_api.tokens.digest IS 'SHA-256 of the whole token, in hexadecimal; the token itself is stored nowhere.';
COMMENT ON COLUMN brain_http_api.tokens.patterns IS 'Of the names of the workflows that it sees (* and ?); none means all.';
COMMENT ON COLUMN brain_http_api.tokens.last_used_at IS 'To the minute: it is not written more often.';
COMMENT ON CONSTRAINT tokens_id_public ON brain_http_api.tokens IS 'G21: the id is random and of one form, so that no part of the secret can stand there.';
COMMENT ON CONSTRAINT tokens_digest_only ON brain_http_api.tokens IS 'G21: tokens are stored hashed; 64 hexadecimal digits are a digest and no token.';
COMMENT ON CONSTRAINT tokens_scope_known ON brain_http_api.tokens IS 'G21: there are three rights, each holds those before it.';
COMMENT ON CONSTRAINT tokens_name_bounded ON brain_http_api.tokens IS 'G24: a name is bounded; ''environment'' is the token of the variable in the records of runs.';
COMMENT ON CONSTRAINT tokens_patterns_bounded ON brain_http_api.tokens IS 'G24: patterns are bounded, and none of them is missing or empty.';
COMMENT ON CONSTRAINT tokens_expire_later ON brain_http_api.tokens IS 'G21: a token is valid for some time, and not for ever by an infinite date.';
CREATE UNIQUE INDEX tokens_name ON brain_http_api.tokens (name) WHERE revoked_at IS NULL;
COMMENT ON INDEX brain_http_api.tokens_name IS 'G21: a name means one token, which can be revoked by it.';

CREATE FUNCTION brain_http_api.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'token %: what it allows never changes, and revoked it stays', OLD.id USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER tokens_stay BEFORE UPDATE ON brain_http_api.tokens FOR EACH ROW
    WHEN ((OLD.id, OLD.digest, OLD.created_at, OLD.name, OLD.scope, OLD.patterns) IS DISTINCT FROM
          (NEW.id, NEW.digest, NEW.created_at, NEW.name, NEW.scope, NEW.patterns)
          OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
          OR (OLD.revoked_at IS NOT NULL AND OLD.revoked_at IS DISTINCT FROM NEW.revoked_at))
    EXECUTE FUNCTION brain_http_api.refuse_change();
COMMENT ON TRIGGER tokens_stay ON brain_http_api.tokens IS 'G21: a token that is revoked stays so, and none is given more rights than it was made with.';
