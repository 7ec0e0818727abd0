-- What runs what is queued without firing schedules: `brain serve` of a plugin.

ALTER TABLE brain.workers
    DROP CONSTRAINT workers_kind_known,
    ADD CONSTRAINT workers_kind_known CHECK (kind IN ('run', 'daemon', 'serve'));
COMMENT ON CONSTRAINT workers_kind_known ON brain.workers IS 'G11: a worker is a brain run, a daemon, or a server that fires nothing.';
