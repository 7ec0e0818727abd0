-- part: listed
json_build_object(
    'name', t.name, 'scope', t.scope, 'workflows', to_json(t.patterns), 'created_at', t.created_at,
    'expires_at', t.expires_at, 'revoked_at', t.revoked_at, 'last_used_at', t.last_used_at,
    'state', CASE WHEN t.expires_at <= coalesce(t.revoked_at, clock_timestamp()) THEN 'expired'
                  WHEN t.revoked_at IS NOT NULL THEN 'revoked' ELSE 'active' END)

-- name: http_api_token
-- The token of an id, as whoever compares it needs it; whether it is valid is for the database's clock to say (G5).
SELECT json_build_object(
    'name', t.name, 'digest', t.digest, 'scope', t.scope, 'patterns', to_json(t.patterns),
    'valid', t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp()),
    'note_use', t.last_used_at IS NULL OR t.last_used_at < clock_timestamp() - interval '1 minute')
FROM brain_http_api.tokens AS t WHERE t.id = $1::json->>'id';

-- name: http_api_token_used
-- Notes that a token was used, once a minute.
UPDATE brain_http_api.tokens SET last_used_at = clock_timestamp()
WHERE id = $1::json->>'id' AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute');

-- name: http_api_token_any
-- Whether there is a token that is valid now.
SELECT to_json(EXISTS (
    SELECT FROM brain_http_api.tokens AS t
    WHERE t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())))
FROM json_typeof($1::json);

-- name: http_api_token_make_room
-- Ends a token that has expired by itself, so that its name is free.
UPDATE brain_http_api.tokens SET revoked_at = expires_at
WHERE name = $1::json->>'name' AND revoked_at IS NULL AND expires_at <= clock_timestamp();

-- name: http_api_token_create
-- Makes a token; made again it is one row. No row comes back when its name is taken.
WITH made AS (
    INSERT INTO brain_http_api.tokens (id, digest, name, scope, patterns, expires_at)
    SELECT v.id, v.digest, v.name, v.scope, ARRAY(SELECT json_array_elements_text(v.patterns)), v.expires_at
    FROM json_to_record($1::json) AS v(id text, digest text, name text, scope text, patterns json,
                                       expires_at timestamptz)
    ON CONFLICT DO NOTHING
    RETURNING *
), t AS (
    SELECT * FROM made
    UNION ALL
    SELECT b.* FROM brain_http_api.tokens AS b
    WHERE b.id = $1::json->>'id' AND b.digest = $1::json->>'digest'
)
SELECT
-- include: listed
FROM t;

-- name: http_api_token_revoke
-- Ends the token of a name; no row comes back when there is none that could be ended.
WITH t AS (
    UPDATE brain_http_api.tokens SET revoked_at = clock_timestamp()
    WHERE name = $1::json->>'name' AND revoked_at IS NULL
    RETURNING *
)
SELECT
-- include: listed
FROM t;

-- name: http_api_tokens
-- The tokens: first those that are not revoked, by name, then the others, the last one first.
SELECT
-- include: listed
FROM brain_http_api.tokens AS t
WHERE $1::json->>'name' IS NULL OR t.name = $1::json->>'name'
ORDER BY t.revoked_at IS NOT NULL, t.revoked_at DESC, t.name, t.created_at
LIMIT 1000;
