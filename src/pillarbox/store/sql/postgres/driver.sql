-- What only this driver says: the beginnings of transactions, and what it knows of workers and of the server.

-- begin --
-- What a batch needs to know before it writes: the server's clock, and who could say what became of its commit.
BEGIN;
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_backend_pid()

-- workers_heard --
-- The row of a worker that was not heard for long may have been forgotten; it is there again before anything is claimed.
INSERT INTO worker (slot, id, host, pid, version, channels, started_at, seen_at, heard_at)
SELECT slot, id, host, pid, version, channels, at, at, heard
FROM {each slot bigint, id bytea, host text, pid bigint, version text, channels text, at bigint, heard bigint}
ON CONFLICT (slot) DO UPDATE SET heard_at = excluded.heard_at

-- workers_closed --
UPDATE worker SET closed = true FROM {each its_slot bigint} WHERE slot = asked.its_slot

-- hint --
-- It waits for no disk: a hint that is lost is found out by looking.
BEGIN;
SET LOCAL synchronous_commit = off;
NOTIFY {channel};
COMMIT

-- backend_end --
-- After a lost answer: ends the server's process that was asked to commit, if it is still there and ours.
SELECT pg_terminate_backend(pid, $2::bigint) FROM pg_stat_activity
WHERE pid = $1::integer AND pid <> pg_backend_pid() AND usename = current_user
    AND application_name = current_setting('application_name')

-- snapshot --
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_backend_pid()
