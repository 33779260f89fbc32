-- Pieces of statements, put where their name stands in braces.

-- startable --
-- A candidate of a claim: due, open, and in the order of its lane. The partial indexes' predicates are repeated to the
-- letter, or the planner would not use them.
c.due_at <= ?4 AND c.state = 0 AND c.waiting = 0 AND c.lane_pos IS NOT NULL

-- blocked --
-- What keeps a candidate from starting in its lane: an open one before it, a leased one, a held one that has its place.
EXISTS (SELECT 1 FROM message p WHERE p.lane = c.lane AND p.lane IS NOT NULL AND p.state < 3 AND p.waiting = 0
    AND p.lane_pos < c.lane_pos)
OR EXISTS (SELECT 1 FROM message p WHERE p.lane = c.lane AND p.lane IS NOT NULL AND p.state = 1)
OR EXISTS (SELECT 1 FROM message p WHERE p.lane = c.lane AND p.lane IS NOT NULL AND p.state = 2
    AND p.lane_pos IS NOT NULL)

-- judged --
-- A candidate is leased (1), made waiting behind its lane's head (0), or past its time (5): ?5 says by when.
c.seq AS s, CASE
    WHEN c.expires_at IS NOT NULL AND c.expires_at < ?5 THEN 5
    WHEN c.lane IS NOT NULL AND ({blocked}) THEN 0
    ELSE 1 END AS t

-- taken --
-- What becomes of a candidate that was judged: ?1 lease, ?2 until when, ?3 worker, ?4 now.
UPDATE message SET state = t, waiting = (t = 0), claims = claims + (t = 1), lease = iif(t = 1, ?1, NULL),
    lease_until = iif(t = 1, ?2, NULL), worker = iif(t = 1, ?3, worker), claimed_at = iif(t = 1, ?4, claimed_at),
    completed_at = iif(t = 5, ?4, NULL), terminal_reason = iif(t = 5, 'expired', NULL)

-- matching --
-- A filter's conditions, to be put into the lists: ?1 states, ?2-?9 what is asked for most, ?10 and ?11 the page, ?12 all
-- other conditions. The page is a range of seq, so that each one begins where the last one ended. A condition fails where "any of its values fits" is what it forbids (no = 1) or demands (no = 0).
(?1 IS NULL OR iif(message.state = 1 AND message.arrived_at IS NOT NULL, 3, message.state) IN (
        SELECT value FROM json_each(?1)))
    AND (?2 IS NULL OR queue.channel = ?2)
    AND (?3 IS NULL OR queue.tenant = ?3)
    AND (?4 IS NULL OR message.recipient = ?4)
    AND (?5 IS NULL OR message.correlation_id = ?5)
    AND (?6 IS NULL OR message.collapse_key = ?6)
    AND (?7 IS NULL OR message.lane = ?7)
    AND (?8 IS NULL OR message.created_at >= ?8)
    AND (?9 IS NULL OR message.created_at < ?9)
    AND message.seq < coalesce(?10, 9223372036854775807)
    AND message.seq > coalesce(?11, -1)
    AND (?12 IS NULL OR NOT EXISTS (
        SELECT 1 FROM (
            SELECT asked.value ->> 'no' AS no, asked.value ->> 'has' AS has, asked.value -> 'values' AS fits,
                coalesce(CASE asked.value ->> 'field'
                    WHEN 'id' THEN message.id
                    WHEN 'channel' THEN queue.channel
                    WHEN 'to' THEN message.recipient
                    WHEN 'tenant' THEN queue.tenant
                    WHEN 'account' THEN message.account
                    WHEN 'thread' THEN message.thread
                    WHEN 'kind' THEN CAST(message.kind AS TEXT)
                    WHEN 'priority' THEN CAST(message.priority AS TEXT)
                    WHEN 'lane' THEN replace(replace(replace(trim(message.lane, char(31)), char(31) || char(31), char(31)),
                        char(31) || char(31), char(31)), char(31), '/')
                    WHEN 'reason' THEN message.terminal_reason
                    WHEN 'error' THEN message.last_error
                    WHEN 'key' THEN message.key
                    WHEN 'correlation' THEN message.correlation_id
                    WHEN 'collapse' THEN message.collapse_key
                    WHEN 'origin' THEN message.origin
                    WHEN 'replayed' THEN iif(EXISTS (SELECT 1 FROM message r WHERE r.replay_of = message.id
                        AND r.replay_of IS NOT NULL), 'yes', 'no')
                END, '') AS found
            FROM json_each(?12) asked)
        WHERE no = EXISTS (
            SELECT 1 FROM json_each(fits) fit
            WHERE iif(has, instr(lower(found), lower(fit.value)) > 0, found = fit.value))))

-- hex --
'0123456789ABCDEF'

-- base64 --
'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

-- base64url --
'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

-- new_id --
-- A UUIDv7 as domain/ids.py writes it: the time, then its version, its variant, and chance.
substr({base64url}, 1 + (its.now_ms >> 42 & 63), 1) || substr({base64url}, 1 + (its.now_ms >> 36 & 63), 1)
|| substr({base64url}, 1 + (its.now_ms >> 30 & 63), 1) || substr({base64url}, 1 + (its.now_ms >> 24 & 63), 1)
|| substr({base64url}, 1 + (its.now_ms >> 18 & 63), 1) || substr({base64url}, 1 + (its.now_ms >> 12 & 63), 1)
|| substr({base64url}, 1 + (its.now_ms >> 6 & 63), 1) || substr({base64url}, 1 + (its.now_ms >> 0 & 63), 1)
|| substr({base64url}, 1 + (28 + (random() & 3)), 1) || substr({base64url}, 1 + (random() & 63), 1)
|| substr({base64url}, 1 + ((random() & 15) * 4 + 2), 1) || substr({base64url}, 1 + (random() & 63), 1)
|| substr({base64url}, 1 + (random() & 63), 1) || substr({base64url}, 1 + (random() & 63), 1)
|| substr({base64url}, 1 + (random() & 63), 1) || substr({base64url}, 1 + (random() & 63), 1)
|| substr({base64url}, 1 + (random() & 63), 1) || substr({base64url}, 1 + (random() & 63), 1)
|| substr({base64url}, 1 + (random() & 63), 1) || substr({base64url}, 1 + (random() & 63), 1)
|| substr({base64url}, 1 + (random() & 63), 1) || substr({base64url}, 1 + ((random() & 3) * 16), 1)

-- soonest --
-- When the first open message of each priority of queue ?1 is due, suspects aside: each is one look into the index.
SELECT min(due_at) AS due, 0 AS level FROM message WHERE queue = ?1 AND priority = 0 AND state = 0
    AND waiting = 0 AND lost < 2 AND lane_pos IS NOT NULL
UNION ALL SELECT min(due_at), 1 FROM message WHERE queue = ?1 AND priority = 1 AND state = 0
    AND waiting = 0 AND lost < 2 AND lane_pos IS NOT NULL
UNION ALL SELECT min(due_at), 2 FROM message WHERE queue = ?1 AND priority = 2 AND state = 0
    AND waiting = 0 AND lost < 2 AND lane_pos IS NOT NULL
UNION ALL SELECT min(due_at), 3 FROM message WHERE queue = ?1 AND priority = 3 AND state = 0
    AND waiting = 0 AND lost < 2 AND lane_pos IS NOT NULL
