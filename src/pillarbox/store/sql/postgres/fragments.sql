-- Pieces of statements, put where their name stands in braces.

-- startable --
-- A candidate of a claim: due, open, and in the order of its lane. The partial indexes' predicates are repeated to the
-- letter, or the planner would not use them.
c.due_at <= $4 AND c.state = 0 AND NOT c.waiting AND c.lane_pos IS NOT NULL

-- unpaused --
-- Of queue $6, at $4. Asked by the statement that leases, though it was asked before: what is sent behind a pause by
-- another process must not be seen without that pause.
NOT EXISTS (SELECT 1 FROM queue p WHERE p.id = $6 AND p.paused_at IS NOT NULL
    AND (p.paused_until IS NULL OR p.paused_until > $4))

-- this_era --
-- That of all that is leased; see the table. It comes again after 32 768 others.
(SELECT (coalesce(max(number), 0) % 32768)::smallint FROM era)

-- blockers --
-- What keeps candidates from starting in their lanes: an open one before it, a leased one, a held one that has its place.
SELECT c.seq, b.seq AS blocker FROM candidate c CROSS JOIN LATERAL (
    (SELECT p.seq FROM message p WHERE p.lane = c.lane AND p.lane IS NOT NULL AND p.state IN (0, 2) AND NOT p.waiting
        AND p.lane_pos < c.lane_pos ORDER BY p.lane_pos LIMIT 1)
    UNION ALL SELECT p.seq FROM message p WHERE p.lane = c.lane AND p.lane IS NOT NULL AND p.state = 1
        AND p.era = {this_era}
    UNION ALL (SELECT p.seq FROM message p WHERE p.lane = c.lane AND p.lane IS NOT NULL AND p.state = 2
        AND p.lane_pos IS NOT NULL LIMIT 1)) b
WHERE c.lane IS NOT NULL

-- certain --
-- Of the blockers those that surely are there until this transaction ends: whoever wants to settle one waits, and then
-- sees what waits behind it. A message made to wait behind any other one might wait for ever.
SELECT p.seq FROM message p WHERE p.seq = ANY (ARRAY(SELECT blocker FROM blocked)) AND +p.state < 3 AND NOT p.waiting
FOR SHARE SKIP LOCKED

-- taken --
-- What becomes of the candidates. $1 lease, $2 until when, $3 worker, $4 now, $5 expired by.
-- One is leased (1), made waiting behind its lane's head (0), or past its time (5); one whose blocker is not certain is
-- left to the next claim.
blocked AS MATERIALIZED ({blockers}),
certain AS MATERIALIZED ({certain}),
judged AS MATERIALIZED (
    SELECT c.seq, CASE
        WHEN c.expires_at IS NOT NULL AND c.expires_at < $5::bigint THEN 5
        WHEN NOT EXISTS (SELECT 1 FROM blocked b WHERE b.seq = c.seq) THEN 1
        WHEN EXISTS (SELECT 1 FROM blocked b WHERE b.seq = c.seq AND (
            b.blocker IN (SELECT seq FROM certain) OR b.blocker IN (SELECT seq FROM candidate))) THEN 0
        END AS becomes
    FROM candidate c)
UPDATE message SET state = becomes, waiting = becomes = 0, claims = claims + (becomes = 1)::integer,
    lease = CASE WHEN becomes = 1 THEN $1::bytea END, lease_until = CASE WHEN becomes = 1 THEN $2::bigint END,
    worker = CASE WHEN becomes = 1 THEN $3::bigint ELSE worker END,
    era = CASE WHEN becomes = 1 THEN {this_era} ELSE era END,
    claimed_at = CASE WHEN becomes = 1 THEN $4::bigint ELSE claimed_at END,
    completed_at = CASE WHEN becomes = 5 THEN $4::bigint END,
    terminal_reason = CASE WHEN becomes = 5 THEN 'expired' END
FROM judged WHERE message.seq = ANY (ARRAY[judged.seq]) AND becomes IS NOT NULL
RETURNING {leased}

-- matching --
-- A filter's conditions, to be put into the lists: $1 states, $2-$9 what is asked for most, $10 and $11 the page, $12 all
-- other conditions. The page is a range of seq, so that each one begins where the last one ended. A condition fails where
-- "any of its values fits" is what it forbids (no) or demands (not no).
($1::jsonb IS NULL OR $1::jsonb @> to_jsonb((CASE WHEN message.state = 1 AND message.arrived_at IS NOT NULL THEN 3
        ELSE message.state END)::integer))
    AND ($2::text IS NULL OR queue.channel = $2)
    AND ($3::text IS NULL OR queue.tenant = $3)
    AND ($4::text IS NULL OR message.recipient = $4)
    AND ($5::text IS NULL OR message.correlation_id = $5)
    AND ($6::text IS NULL OR message.collapse_key = $6)
    AND ($7::text IS NULL OR message.lane = $7)
    AND ($8::bigint IS NULL OR message.created_at >= $8)
    AND ($9::bigint IS NULL OR message.created_at < $9)
    AND message.seq < coalesce($10::bigint, 9223372036854775807)
    AND message.seq > coalesce($11::bigint, -1)
    AND ($12::jsonb IS NULL OR NOT EXISTS (
        SELECT 1 FROM (
            SELECT (asked ->> 'no')::boolean AS no, (asked ->> 'has')::boolean AS has, asked -> 'values' AS fits,
                coalesce(CASE asked ->> 'field'
                    WHEN 'id' THEN message.id
                    WHEN 'channel' THEN queue.channel
                    WHEN 'to' THEN message.recipient
                    WHEN 'tenant' THEN queue.tenant
                    WHEN 'account' THEN message.account
                    WHEN 'thread' THEN message.thread
                    WHEN 'kind' THEN message.kind::text
                    WHEN 'priority' THEN message.priority::text
                    WHEN 'lane' THEN replace(replace(replace(btrim(message.lane, chr(31)), repeat(chr(31), 2), chr(31)),
                        repeat(chr(31), 2), chr(31)), chr(31), '/')
                    WHEN 'reason' THEN message.terminal_reason
                    WHEN 'error' THEN message.last_error
                    WHEN 'key' THEN message.key
                    WHEN 'correlation' THEN message.correlation_id
                    WHEN 'collapse' THEN message.collapse_key
                    WHEN 'origin' THEN message.origin
                    WHEN 'replayed' THEN CASE WHEN EXISTS (SELECT 1 FROM message r WHERE r.replay_of = message.id
                        AND r.replay_of IS NOT NULL) THEN 'yes' ELSE 'no' END
                END, '') COLLATE "C" AS found
            FROM jsonb_array_elements($12::jsonb) asked) condition
        WHERE no = EXISTS (
            SELECT 1 FROM jsonb_array_elements_text(fits) fit
            WHERE CASE WHEN has THEN strpos(lower(found), lower(fit COLLATE "C")) > 0 ELSE found = fit END)))

-- soonest --
-- When the first open message of each priority of queue $1 is due, suspects aside: each is one look into the index.
SELECT min(due_at) AS due, 0 AS level FROM message WHERE queue = $1 AND priority = 0 AND state = 0
    AND NOT waiting AND lost < 2 AND lane_pos IS NOT NULL
UNION ALL SELECT min(due_at), 1 FROM message WHERE queue = $1 AND priority = 1 AND state = 0
    AND NOT waiting AND lost < 2 AND lane_pos IS NOT NULL
UNION ALL SELECT min(due_at), 2 FROM message WHERE queue = $1 AND priority = 2 AND state = 0
    AND NOT waiting AND lost < 2 AND lane_pos IS NOT NULL
UNION ALL SELECT min(due_at), 3 FROM message WHERE queue = $1 AND priority = 3 AND state = 0
    AND NOT waiting AND lost < 2 AND lane_pos IS NOT NULL
