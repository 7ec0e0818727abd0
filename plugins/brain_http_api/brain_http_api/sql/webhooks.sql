-- part: secrets
json_build_object(
    'trigger', v.trigger, 'generation', coalesce(s.generation, 1),
    'rotated_at', s.rotated_at,
    'old_until', CASE WHEN s.old_until > clock_timestamp() THEN s.old_until END,
    'now', extract(epoch FROM clock_timestamp()))

-- name: http_api_webhook_secrets
-- Which secret of each of some triggers is the new one, until when the one before is valid (null: no longer), and the
-- database's clock (G5).
SELECT
-- include: secrets
FROM (SELECT e::uuid AS trigger FROM json_array_elements_text($1::json->'triggers') AS e) AS v
LEFT JOIN brain_http_api.webhook_secrets AS s ON s.trigger_id = v.trigger;

-- name: http_api_webhook_rotate
-- Makes the next secret the new one; made again it is one change. No row comes back when it is not the next one, or when
-- somebody else has made it at the same time and let the old one live until another moment.
WITH made AS (
    INSERT INTO brain_http_api.webhook_secrets AS b (trigger_id, generation, old_until)
    SELECT v.trigger, v.generation, coalesce(v.old_until, clock_timestamp())
    FROM json_to_record($1::json) AS v(trigger uuid, generation integer, old_until timestamptz)
    ON CONFLICT (trigger_id) DO UPDATE
    SET generation = excluded.generation, rotated_at = clock_timestamp(), old_until = excluded.old_until
    WHERE b.generation = excluded.generation - 1
    RETURNING *
), s AS (
    SELECT * FROM made
    UNION ALL
    SELECT b.* FROM brain_http_api.webhook_secrets AS b
    WHERE b.trigger_id = ($1::json->>'trigger')::uuid AND b.generation = ($1::json->>'generation')::integer
      AND NOT EXISTS (SELECT FROM made)
      AND CASE WHEN $1::json->>'old_until' IS NULL THEN b.old_until <= clock_timestamp()
               ELSE b.old_until = ($1::json->>'old_until')::timestamptz END
), v AS (
    SELECT s.trigger_id AS trigger FROM s
)
SELECT
-- include: secrets
FROM v JOIN s ON s.trigger_id = v.trigger;
