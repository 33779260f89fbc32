-- What only this driver says: the beginnings of transactions, and what it knows of workers and of the server.

-- begin --
-- What a batch needs to know before it writes: the server's clock, and who could say what became of its commit. Each
-- statement has to see what was committed before it, whatever the server's default is: see lowest_waiting.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_backend_pid(),
    (extract(epoch FROM now()) * 1000000)::bigint

-- begin_leasing --
-- The same, where leases are given or ended: no era begins while this is open. What others leased in the era that is present
-- now was committed before, so each statement from here on sees it, or the index of one a lane refuses it.
BEGIN ISOLATION LEVEL READ COMMITTED;
LOCK TABLE era IN ROW SHARE MODE;
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_backend_pid(),
    (extract(epoch FROM now()) * 1000000)::bigint

-- begin_era --
-- Alone with all leases, or not at all: nobody is to wait for somebody who waits. It waits for no disk either: what is
-- committed after it is on the disk after it.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = '500ms';
SET LOCAL synchronous_commit = off;
LOCK TABLE era IN EXCLUSIVE MODE

-- era_oldest --
-- Since when the server has tidied up nothing: the oldest of what somebody may still want to read, or wrote in a
-- transaction that is open.
SELECT held::text FROM (
    SELECT unnest(ARRAY[backend_xmin, backend_xid]) AS held FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND coalesce(datname, current_database()) = current_database()
    UNION ALL SELECT xmin FROM pg_replication_slots
    UNION ALL SELECT transaction FROM pg_prepared_xacts) holders
WHERE held IS NOT NULL ORDER BY age(held) DESC LIMIT 1

-- era_leased --
SELECT coalesce(sum(messages), 0)::bigint FROM tally WHERE queue = 0 AND state = 1

-- era_take_along --
-- A caller's transaction may have one of them for long, and is not waited for.
WITH leased AS MATERIALIZED (
    SELECT seq FROM message WHERE era = {this_era} AND lease_until IS NOT NULL AND state = 1 FOR UPDATE NOWAIT)
UPDATE message SET era = (SELECT ((coalesce(max(number), 0) + 1) % 32768)::smallint FROM era) FROM leased
WHERE message.seq = ANY (ARRAY[leased.seq])

-- era_next --
INSERT INTO era (number) SELECT coalesce(max(number), 0) + 1 FROM era

-- era_end --
DELETE FROM era WHERE number < (SELECT max(number) FROM era)

-- may_number --
-- Whether we may draw numbers for messages ourselves, as those of our roles may who work; and COPY is refused where an
-- administrator has the server judge who may write which row.
SELECT has_sequence_privilege(pg_get_serial_sequence('message', 'seq'), 'USAGE') AND NOT row_security_active('message')

-- numbers --
-- As many as $1 for new messages, in their order, and what stands beside a lease.
SELECT array_agg(nextval((SELECT pg_get_serial_sequence('message', 'seq')::regclass))), {this_era}
FROM generate_series(1, $1::integer)

-- enqueue_lines --
-- As `enqueue`, for rows that come as lines of text.
COPY message ({columns}) FROM STDIN

-- workers_heard --
-- The row of a worker that was not heard for long may have been forgotten; it is there again before anything is claimed.
INSERT INTO worker (slot, id, host, pid, version, channels, started_at, seen_at, heard_at)
SELECT slot, id, host, pid, version, channels, at, at, heard
FROM {each slot bigint, id bytea, host text, pid bigint, version text, channels text, at bigint, heard bigint}
ON CONFLICT (slot) DO UPDATE SET heard_at = excluded.heard_at

-- worker_forget --
-- One that was heard of again since may hold leases by now.
DELETE FROM worker USING {each its_slot bigint, heard bigint} WHERE slot = asked.its_slot AND heard_at = asked.heard

-- workers_closed --
UPDATE worker SET closed = true FROM {each its_slot bigint} WHERE slot = asked.its_slot

-- hint --
-- It waits for no disk: a hint that is lost is found out by looking.
BEGIN;
SET LOCAL synchronous_commit = off;
NOTIFY {channel};
COMMIT

-- backend_end --
-- After a lost answer: ends the server's process that was asked to commit ($1), if it is ours and still in the
-- transaction that began at $2. Behind a pooler it may be in somebody else's by now.
SELECT pg_terminate_backend(pid, $3::bigint) FROM pg_stat_activity
WHERE pid = $1::integer AND (extract(epoch FROM xact_start) * 1000000)::bigint = $2::bigint
    AND pid <> pg_backend_pid() AND usename = current_user
    AND application_name = current_setting('application_name')

-- join --
-- In a caller's transaction, inside a savepoint: our tables are found from here on. What is committed is to be on disk.
SELECT current_setting('search_path'), set_config('search_path', $1, true), set_config('synchronous_commit',
    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN $2 ELSE current_setting('synchronous_commit') END,
    true)

-- join_end --
-- Its own tables again; and whoever listens is told when it commits.
SELECT set_config('search_path', $1, true), CASE WHEN $2 <> '' THEN pg_notify($2, '') END

-- tally_add_apart --
-- A caller's transaction may stay open for long: nobody else ever counts in its share.
INSERT INTO tally (queue, state, share, messages, bytes)
SELECT queue, state, 64 + pg_current_xact_id()::text::bigint, messages, bytes
FROM {each queue bigint, state smallint, messages bigint, bytes bigint} ORDER BY queue, state
ON CONFLICT (queue, state, share) DO UPDATE SET messages = tally.messages + excluded.messages,
    bytes = tally.bytes + excluded.bytes

-- tally_fold --
-- What callers' transactions counted, a thousand rows at a time; it is counted again in a share of ours.
WITH apart AS MATERIALIZED (
    SELECT queue, state, share FROM tally WHERE share >= 64 ORDER BY share LIMIT 1000 FOR UPDATE SKIP LOCKED)
DELETE FROM tally USING apart WHERE tally.queue = apart.queue AND tally.state = apart.state AND tally.share = apart.share
RETURNING tally.queue, tally.state, tally.messages, tally.bytes

-- sizes --
-- How many pages our tables have. Asked of the file system, and not of what was counted when they were last analysed.
SELECT relname::text, pg_relation_size(oid) / current_setting('block_size')::bigint
FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')

-- snapshot --
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_backend_pid(),
    (extract(epoch FROM now()) * 1000000)::bigint

-- server_words --
-- Who it is, in one transaction, because behind a pooler there is nothing longer. What a server does not know is asked
-- so that it answers NULL.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT pg_backend_pid(), version(), (SELECT extversion FROM pg_extension WHERE extname = 'citus'),
    current_setting('neon.timeline_id', true), to_regproc('aurora_version') IS NOT NULL,
    current_setting('yb_effective_transaction_isolation_level', true);
COMMIT
