-- snapshot --
BEGIN

-- snapshot_end --
ROLLBACK

-- view --
SELECT {view} FROM message JOIN queue ON queue.id = message.queue JOIN policy ON policy.id = message.policy
WHERE message.id = ?1

-- parts --
SELECT number, state, receipt, reason, content FROM part WHERE message = (SELECT seq FROM message WHERE id = ?1)
ORDER BY number

-- ids_from --
SELECT id FROM message WHERE id >= ?1 AND id < ?2 LIMIT 10

-- ids_to --
SELECT id FROM message WHERE substr(id, -length(?1)) = ?1 ORDER BY seq DESC LIMIT 10

-- list --
SELECT {view_list} FROM message JOIN queue ON queue.id = message.queue JOIN policy ON policy.id = message.policy
WHERE (?1 IS NULL OR iif(state = 1 AND arrived_at IS NOT NULL, 3, state) IN (SELECT value FROM json_each(?1)))
    AND (?2 IS NULL OR queue.channel = ?2)
    AND (?3 IS NULL OR queue.tenant = ?3)
    AND (?4 IS NULL OR recipient = ?4)
    AND (?5 IS NULL OR correlation_id = ?5)
    AND (?6 IS NULL OR lane = ?6)
    AND (?7 IS NULL OR created_at >= ?7)
    AND (?8 IS NULL OR created_at < ?8)
    AND (?9 IS NULL OR seq < ?9)
ORDER BY seq DESC LIMIT ?10

-- attempts --
SELECT number, part, worker, outcome, error_class, reason, receipt, answer, claimed_at, began_at, ended_at, to_state,
    due_at FROM attempt WHERE message_id = ?1 AND message = ?2 ORDER BY number

-- acts --
SELECT at, act, actor, from_state, to_state, reason FROM history WHERE message = ?1 ORDER BY id

-- traces_of_gone --
-- What the audit keeps of a message that was pruned, by the number it had.
SELECT message FROM history WHERE message_id = ?1
UNION SELECT message FROM attempt WHERE message_id = ?1 AND full = 1

-- known_imports --
SELECT source_id FROM import_ledger WHERE system = ?1 AND source_id IN (SELECT value FROM json_each(?2))

-- tallies --
SELECT tenant, channel, state, messages, bytes FROM tally JOIN queue ON queue.id = tally.queue WHERE messages <> 0
ORDER BY tenant, channel, state

-- backlog --
SELECT coalesce(sum(due_at <= ?1), 0), coalesce(sum(due_at > ?1), 0) FROM message
WHERE state = 0 AND queue IN (SELECT id FROM queue WHERE channel IN (SELECT value FROM json_each(?2)))

-- queues --
SELECT id, tenant, channel, paused_at, paused_until, pause_reason, strikes FROM queue ORDER BY id

-- workers --
SELECT slot, id, host, pid, version, channels, started_at, seen_at, boot, lock_file FROM worker ORDER BY slot

-- lapsed_by_time --
SELECT {leased} FROM message WHERE worker = ?1 AND state = 1 AND lease_until <= ?2 ORDER BY lease_until LIMIT ?3

-- lapsed_by_owner --
SELECT {leased} FROM message WHERE worker = ?1 AND state = 1 ORDER BY lease_until LIMIT ?2

-- leased_workers --
-- A skip scan: one index seek for each worker that holds leases, dead and forgotten ones too.
WITH RECURSIVE owner (slot) AS (
    SELECT min(worker) FROM message WHERE state = 1
    UNION ALL
    SELECT (SELECT min(worker) FROM message WHERE state = 1 AND worker > slot) FROM owner WHERE slot IS NOT NULL)
SELECT slot FROM owner WHERE slot IS NOT NULL

-- overdue_holds --
SELECT id FROM message WHERE state = 2 AND completed_at < ?1 ORDER BY completed_at LIMIT ?2

-- data_version --
PRAGMA data_version

-- integrity --
PRAGMA integrity_check(20)

-- check_tally --
SELECT queue, state, count(*), sum(content_size) FROM message GROUP BY queue, state
UNION ALL SELECT 0, state, count(*), sum(content_size) FROM message GROUP BY state

-- tally_rows --
SELECT queue, state, messages, bytes FROM tally WHERE messages <> 0 OR bytes <> 0

-- check_stranded --
SELECT DISTINCT lane FROM message w WHERE state = 0 AND waiting = 1 AND NOT EXISTS (
    SELECT 1 FROM message o WHERE o.lane = w.lane AND o.lane IS NOT NULL AND o.state < 3 AND o.waiting = 0
        AND o.lane_pos IS NOT NULL)
LIMIT 20

-- check_waiting --
SELECT id FROM message WHERE waiting = 1 AND (state <> 0 OR lane IS NULL) LIMIT 20

-- check_leases --
SELECT id FROM message WHERE (state = 1) <> (lease IS NOT NULL) LIMIT 20

-- check_payloads --
SELECT id FROM message WHERE payload IS NOT NULL AND NOT EXISTS (SELECT 1 FROM payload p WHERE p.id = message.payload)
LIMIT 20

-- check_recipients --
SELECT count(*) FROM (
    SELECT queue AS q, recipient AS r, count(*) AS n FROM message WHERE state < 3 GROUP BY queue, recipient) counted
FULL JOIN recipient_tally kept ON kept.queue = q AND kept.recipient = r
WHERE n IS NOT kept.messages

-- recipients_counted --
SELECT 1 FROM sqlite_schema WHERE name = 'recipient_tally_in'

-- meta --
SELECT key, value FROM meta
