-- view --
SELECT {view} FROM message JOIN queue ON queue.id = message.queue JOIN policy ON policy.id = message.policy
WHERE message.id = $1

-- parts --
SELECT number, state, receipt, reason, content FROM part WHERE message = (SELECT seq FROM message WHERE id = $1)
ORDER BY number

-- ids_from --
SELECT id FROM message WHERE id >= $1 AND id < $2 LIMIT 10

-- ids_to --
SELECT id FROM message WHERE right(id, length($1)) = $1 ORDER BY seq DESC LIMIT 10

-- list --
SELECT {view_list} FROM message JOIN queue ON queue.id = message.queue
    JOIN policy ON policy.id = message.policy
WHERE {matching} ORDER BY message.seq DESC LIMIT $13

-- list_oldest --
SELECT {view_list} FROM message JOIN queue ON queue.id = message.queue
    JOIN policy ON policy.id = message.policy
WHERE {matching} ORDER BY message.seq LIMIT $13

-- list_correlated --
SELECT {view_list} FROM message JOIN queue ON queue.id = message.queue
    JOIN policy ON policy.id = message.policy
WHERE correlation_id = $5 AND correlation_id IS NOT NULL AND {matching} ORDER BY message.seq DESC LIMIT $13

-- list_correlated_oldest --
SELECT {view_list} FROM message JOIN queue ON queue.id = message.queue
    JOIN policy ON policy.id = message.policy
WHERE correlation_id = $5 AND correlation_id IS NOT NULL AND {matching} ORDER BY message.seq LIMIT $13

-- list_collapsed --
-- Of active messages only: they are in the index by queue, and queues are few.
SELECT {view_list} FROM queue JOIN message ON message.queue = queue.id JOIN policy ON policy.id = message.policy
WHERE collapse_key = $6 AND collapse_key IS NOT NULL AND state < 3 AND {matching} ORDER BY message.seq DESC LIMIT $13

-- list_collapsed_oldest --
SELECT {view_list} FROM queue JOIN message ON message.queue = queue.id JOIN policy ON policy.id = message.policy
WHERE collapse_key = $6 AND collapse_key IS NOT NULL AND state < 3 AND {matching} ORDER BY message.seq LIMIT $13

-- attempts --
SELECT number, part, worker, outcome, error_class, reason, receipt, answer, claimed_at, began_at, ended_at, to_state,
    due_at FROM attempt WHERE message_id = $1 AND message = $2 ORDER BY number

-- part_deliveries --
-- When each part got through, and whether an attempt's row tells that already.
SELECT number, receipt, delivered_at, EXISTS (
    SELECT 1 FROM attempt a WHERE a.message = part.message AND a.part = part.number AND a.outcome = 'delivered')
FROM part WHERE message = $1 AND state = 3 AND delivered_at IS NOT NULL ORDER BY number

-- acts --
SELECT at, act, actor, from_state, to_state, reason FROM history WHERE message = $1 ORDER BY id

-- traces_of_gone --
-- What the audit keeps of a message that was pruned, by the number it had.
SELECT message FROM history WHERE message_id = $1
UNION SELECT message FROM attempt WHERE message_id = $1 AND kept

-- ended --
-- Of the messages that are waited for, those that do not go on by themselves: terminal, held, or deleted.
SELECT one FROM jsonb_array_elements_text($1::jsonb) one
WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = one AND state < 2)

-- known_imports --
SELECT source_id FROM import_ledger WHERE system = $1 AND source_id IN (SELECT jsonb_array_elements_text($2::jsonb))

-- tallies --
SELECT tenant, channel, state, sum(messages)::bigint, sum(bytes)::bigint FROM tally JOIN queue ON queue.id = tally.queue
GROUP BY tenant, channel, state HAVING sum(messages) <> 0 ORDER BY tenant, channel, state

-- backlog --
SELECT count(*) FILTER (WHERE due_at <= $1), count(*) FILTER (WHERE due_at > $1 AND lost = 0),
    count(*) FILTER (WHERE due_at > $1 AND lost > 0) FROM message
WHERE state = 0 AND queue IN (SELECT id FROM queue WHERE channel IN (SELECT jsonb_array_elements_text($2::jsonb)))

-- backlog_leased --
-- Not those that have arrived meanwhile: they are delivered, and only their lane waits for the lease.
SELECT count(*) FILTER (WHERE worker = $1), count(*) FILTER (WHERE worker <> $1) FROM message
WHERE era = {this_era} AND lease_until IS NOT NULL AND state = 1 AND arrived_at IS NULL
    AND queue IN (SELECT id FROM queue WHERE channel IN (SELECT jsonb_array_elements_text($2::jsonb)))

-- queues --
SELECT id, tenant, channel, paused_at, paused_until, pause_reason, strikes FROM queue ORDER BY id

-- flow --
-- Of each queue also when the first of what may be claimed from it is or was due, as `horizon` finds it.
SELECT id, tenant, queue.channel, paused_at, paused_until, pause_reason, paused_by, strikes, reopened_at,
    (SELECT full_until FROM pace p WHERE p.channel = queue.channel AND p.recipient = '' AND full_until > $1),
    (SELECT count(*) FROM pace p WHERE p.channel = queue.channel AND p.rests_until IS NOT NULL AND p.rests_until > $1),
    (SELECT count(*) FROM suppression s WHERE s.queue = queue.id),
    (SELECT min(due) FROM (
        SELECT min(due_at) AS due FROM message m WHERE m.queue = queue.id AND priority = 0 AND state = 0 AND NOT waiting
            AND lost < 2 AND lane_pos IS NOT NULL
        UNION ALL SELECT min(due_at) FROM message m WHERE m.queue = queue.id AND priority = 1 AND state = 0 AND NOT waiting
            AND lost < 2 AND lane_pos IS NOT NULL
        UNION ALL SELECT min(due_at) FROM message m WHERE m.queue = queue.id AND priority = 2 AND state = 0 AND NOT waiting
            AND lost < 2 AND lane_pos IS NOT NULL
        UNION ALL SELECT min(due_at) FROM message m WHERE m.queue = queue.id AND priority = 3 AND state = 0 AND NOT waiting
            AND lost < 2 AND lane_pos IS NOT NULL
        UNION ALL SELECT min(due_at) FROM message m WHERE m.queue = queue.id AND state = 0 AND NOT waiting AND lost >= 2
            AND lane_pos IS NOT NULL
        UNION ALL SELECT min(due_at) FROM message m WHERE m.queue = queue.id AND state = 0 AND lane_pos IS NULL) soonest)
FROM queue ORDER BY queue.channel, tenant

-- redirects --
SELECT tenant, channel, recipient, address, at FROM recipient_alias JOIN queue ON queue.id = recipient_alias.queue
ORDER BY at DESC, queue.id, recipient LIMIT $1

-- suppressed --
SELECT tenant, channel, recipient, reason, at FROM suppression JOIN queue ON queue.id = suppression.queue
ORDER BY at DESC, queue.id, recipient LIMIT $1

-- workers --
SELECT slot, id, host, pid, version, channels, started_at, seen_at, heard_at, closed FROM worker ORDER BY slot

-- owners --
-- What tells who lives, of every worker.
SELECT slot, heard_at, closed FROM worker

-- worker --
SELECT slot, heard_at, closed FROM worker WHERE id = $1

-- lapsed_by_time --
SELECT {leased} FROM message WHERE era = {this_era} AND worker = $1 AND state = 1 AND lease_until <= $2
ORDER BY lease_until LIMIT $3

-- lapsed_by_owner --
-- Suspects apart, and last: as long as others are left, it is known who flew when.
SELECT {leased} FROM message WHERE era = {this_era} AND worker = $1 AND lease_until IS NOT NULL AND state = 1
    AND (lost >= 2) = ($3::integer = 1)
ORDER BY lease_until LIMIT $2

-- last_suspect --
SELECT max(claimed_at) FROM message
WHERE era = {this_era} AND worker = $1 AND lease_until IS NOT NULL AND state = 1 AND lost >= 2

-- leased_workers --
-- A skip scan: one index seek for each worker that holds leases, dead and forgotten ones too.
WITH RECURSIVE owner (slot) AS (
    (SELECT worker FROM message WHERE era = {this_era} AND lease_until IS NOT NULL AND state = 1 ORDER BY worker LIMIT 1)
    UNION ALL
    SELECT (SELECT worker FROM message WHERE era = {this_era} AND lease_until IS NOT NULL AND state = 1 AND worker > slot
        ORDER BY worker LIMIT 1) FROM owner WHERE slot IS NOT NULL)
SELECT slot FROM owner WHERE slot IS NOT NULL

-- overdue_holds --
SELECT id FROM message WHERE state = 2 AND completed_at IS NOT NULL AND completed_at < $1 ORDER BY completed_at LIMIT $2

-- check_tally --
SELECT queue, state, count(*), sum(content_size)::bigint FROM message GROUP BY queue, state
UNION ALL SELECT 0, state, count(*), sum(content_size)::bigint FROM message GROUP BY state

-- tally_rows --
SELECT queue, state, sum(messages)::bigint, sum(bytes)::bigint FROM tally GROUP BY queue, state
HAVING sum(messages) <> 0 OR sum(bytes) <> 0

-- check_stranded --
SELECT DISTINCT lane FROM message w WHERE state = 0 AND waiting AND NOT EXISTS (
    SELECT 1 FROM message o WHERE o.lane = w.lane AND o.lane IS NOT NULL AND o.state IN (0, 2) AND NOT o.waiting
        AND o.lane_pos IS NOT NULL) AND NOT EXISTS (
    SELECT 1 FROM message o WHERE o.lane = w.lane AND o.lane IS NOT NULL AND o.state = 1 AND o.era = {this_era})
LIMIT 20

-- check_waiting --
SELECT id FROM message WHERE waiting AND (state <> 0 OR lane IS NULL) LIMIT 20

-- check_leases --
-- Whether the lease is where nobody looks, too: of another era than the present one.
SELECT id, (state = 1) = (lease IS NOT NULL) FROM message
WHERE (state = 1) <> (lease IS NOT NULL) OR (state = 1 AND era <> {this_era}) LIMIT 20

-- check_payloads --
SELECT id FROM message WHERE payload IS NOT NULL AND NOT EXISTS (SELECT 1 FROM payload p WHERE p.id = message.payload)
LIMIT 20

-- check_blobs --
SELECT m.id FROM message_blob b JOIN message m ON m.seq = b.message
WHERE NOT EXISTS (SELECT 1 FROM blob WHERE blob.digest = b.digest) LIMIT 20

-- blob_content --
SELECT content FROM blob WHERE digest = $1::bytea

-- check_recipients --
SELECT count(*) FROM (
    SELECT queue AS q, recipient AS r, count(*) AS n FROM message WHERE state < 3 GROUP BY queue, recipient) counted
FULL JOIN recipient_tally kept ON kept.queue = q AND kept.recipient = r
WHERE n IS DISTINCT FROM kept.messages

-- recipients_counted --
SELECT 1 FROM pg_trigger WHERE tgrelid = 'message'::regclass AND tgname = 'recipient_tally_change'

-- clock_news --
SELECT (SELECT value FROM meta WHERE key = 'clock'), (SELECT max(seen_at) FROM worker),
    EXISTS (SELECT 1 FROM tally WHERE queue = 0 AND state < 3 AND messages > 0)
    OR EXISTS (SELECT 1 FROM queue WHERE paused_until IS NOT NULL AND (paused_at IS NOT NULL OR strikes > 0))

-- meta --
SELECT key, value FROM meta

-- acceptors --
-- A skip scan: one index seek for each process that has messages which must not outlive it.
WITH RECURSIVE acceptor (worker_id) AS (
    (SELECT accepted_by FROM message WHERE state = 0 AND accepted_by IS NOT NULL ORDER BY accepted_by LIMIT 1)
    UNION ALL
    SELECT (SELECT accepted_by FROM message
        WHERE state = 0 AND accepted_by IS NOT NULL AND accepted_by > acceptor.worker_id ORDER BY accepted_by LIMIT 1)
    FROM acceptor WHERE worker_id IS NOT NULL)
SELECT worker_id FROM acceptor WHERE worker_id IS NOT NULL

-- turn --
-- What became of the messages of one turn: $2 counts the final ones alone.
SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1 AND arrived_at IS NULL),
    count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 3 OR (state = 1 AND arrived_at IS NOT NULL)),
    count(*) FILTER (WHERE state = 4), count(*) FILTER (WHERE state = 5), count(*) FILTER (WHERE state = 6)
FROM message WHERE correlation_id = $1 AND correlation_id IS NOT NULL AND (NOT $2::boolean OR kind = 0)

-- mirror_pending --
SELECT r.key, r.text, r.media, r.message_id, coalesce(r.delivered_at, m.completed_at, m.arrived_at) AS delivered
FROM mirror r LEFT JOIN message m ON m.id = r.message_id
WHERE r.session_key = $1 AND r.acknowledged_at IS NULL
    AND (r.delivered_at IS NOT NULL OR m.state = 3 OR m.arrived_at IS NOT NULL)
ORDER BY r.id LIMIT $2

-- standing --
-- A message without its content, how it stands in its queue, and how far its last attempt got.
SELECT {view_list}, message.state, message.lane_pos, message.lease_until, message.worker, message.free_returns,
    message.content IS NOT NULL OR message.payload IS NOT NULL,
    (SELECT a.ended_at FROM attempt a WHERE a.message = message.seq ORDER BY a.number DESC LIMIT 1),
    (SELECT a.answer FROM attempt a WHERE a.message = message.seq ORDER BY a.number DESC LIMIT 1),
    queue.id, queue.paused_at, queue.paused_until, queue.pause_reason, queue.paused_by, queue.strikes,
    (SELECT full_until FROM pace WHERE pace.channel = queue.channel AND pace.recipient = '') AS full_until,
    (SELECT rests_until FROM pace WHERE pace.channel = queue.channel AND pace.recipient = message.recipient) AS rests_until,
    (SELECT pace.reason FROM pace WHERE pace.channel = queue.channel AND pace.recipient = message.recipient) AS rest_reason,
    (SELECT reason FROM suppression s WHERE s.queue = message.queue AND s.recipient = message.recipient) AS suppressed
FROM message JOIN queue ON queue.id = message.queue JOIN policy ON policy.id = message.policy
WHERE message.id = $1

-- lane_ahead --
-- What stands before $3 in its lane, below position $2: as in `claim`, an open one, a leased one, a held one.
SELECT id, lane_pos FROM (SELECT id, lane_pos FROM message WHERE lane = $1 AND lane IS NOT NULL AND state IN (0, 2)
    AND NOT waiting AND lane_pos < $2 AND id <> $3 ORDER BY lane_pos LIMIT 1) open
UNION ALL SELECT id, lane_pos FROM message WHERE lane = $1 AND lane IS NOT NULL AND state = 1 AND era = {this_era} AND id <> $3
UNION ALL SELECT id, lane_pos FROM (SELECT id, lane_pos FROM message WHERE lane = $1 AND lane IS NOT NULL
    AND state = 2 AND lane_pos IS NOT NULL AND id <> $3 LIMIT 1) held

-- lane_count_ahead --
SELECT (SELECT count(*) FROM (SELECT 1 FROM message WHERE lane = $1 AND lane IS NOT NULL AND state IN (0, 2) AND NOT waiting
        AND lane_pos < $2 AND id <> $3 LIMIT $4) open)
    + (SELECT count(*) FROM message WHERE lane = $1 AND lane IS NOT NULL AND state = 1 AND era = {this_era}
        AND lane_pos < $2 AND id <> $3)
    + (SELECT count(*) FROM (SELECT 1 FROM message WHERE lane = $1 AND state = 0 AND waiting AND lane_pos < $2
        AND id <> $3 LIMIT $4) behind)

-- due_before --
-- Due messages of a queue and priority that are claimed before the one due at $4 with number $5.
SELECT count(*) FROM (SELECT 1 FROM message WHERE queue = $1 AND priority = $2 AND due_at <= $3
    AND (due_at, seq) < ($4, $5) AND state = 0 AND NOT waiting AND lost < 2 AND lane_pos IS NOT NULL LIMIT $6) before

-- leased_by --
SELECT queue, lost >= 2 FROM message WHERE era = {this_era} AND worker = $1 AND lease_until IS NOT NULL AND state = 1

-- due_suspects --
-- Suspects are few, and all of them are in this index.
SELECT message.id, queue.channel FROM message JOIN queue ON queue.id = message.queue
WHERE state = 0 AND NOT waiting AND lost >= 2 AND lane_pos IS NOT NULL AND due_at <= $1 LIMIT 10

-- heirs --
-- What replays have made of a message, and replays of those; delivered for everybody who looks where it arrived (ST6).
WITH RECURSIVE heir (id, state, created_at) AS (
    SELECT id, CASE WHEN state = 1 AND arrived_at IS NOT NULL THEN 3 ELSE state END, created_at FROM message
        WHERE replay_of = $1 AND replay_of IS NOT NULL
    UNION SELECT m.id, CASE WHEN m.state = 1 AND m.arrived_at IS NOT NULL THEN 3 ELSE m.state END, m.created_at
        FROM heir JOIN message m ON m.replay_of = heir.id AND m.replay_of IS NOT NULL)
SELECT id, state, created_at FROM heir LIMIT 20
