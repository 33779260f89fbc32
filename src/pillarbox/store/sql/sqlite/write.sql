-- The states by their numbers: 0 scheduled, 1 leased, 2 held, 3 delivered, 4 dead, 5 expired, 6 cancelled. Below 3 a message
-- is active. Which of them an order is for ({cancel_states} and so on), domain/orders.py says.
-- {given}: the statement may be run for many rows of bindings at once (store/sqlite/statements.py). It passes over rows
-- whose first value is NULL, and says +state, so that no index by state is taken for the one by number.

-- deliver --
-- The plain success: the only settlement that leaves no attempt row.
UPDATE message SET state = 3, receipt = ?3, completed_at = ?4, lease = NULL, lease_until = NULL, lost = 0,
    free_returns = 0, error_class = NULL, last_error = NULL
{given}
WHERE seq = ?1 AND +state = 1 AND lease = ?2 AND arrived_at IS NULL
RETURNING seq

-- settle --
-- ?3 new state, ?4 due, ?5 charged, ?6 free, ?7 lost, ?8 receipt, ?9 reason, ?10 class, ?11 error, ?12 recipient,
-- ?13 now, ?14 steps out of its lane, ?15 lapsed by (NULL from the lease's holder), ?16 goes on to the next part
UPDATE message SET state = ?3, due_at = coalesce(?4, due_at), charged = iif(?16, 0, charged + ?5),
    part_next = part_next + ?16,
    free_returns = iif(?6, free_returns + 1, 0), lost = ?7, receipt = coalesce(?8, receipt), terminal_reason = ?9,
    error_class = ?10, last_error = ?11, recipient = coalesce(?12, recipient),
    completed_at = iif(?3 > 1, ?13, NULL), floating = iif(?14, 1, floating), admitted_seq = iif(?14, NULL, admitted_seq),
    lease = NULL, lease_until = NULL
{given}
WHERE seq = ?1 AND +state = 1 AND lease = ?2 AND arrived_at IS NULL AND (?15 IS NULL OR lease_until <= ?15)
    AND (cancel_requested_at IS NULL OR ?3 NOT IN (0, 2))
RETURNING seq

-- settle_arrived --
-- The platform took it through another attempt while this lease ran: whatever this attempt says, it is delivered.
UPDATE message SET state = 3, completed_at = arrived_at, receipt = coalesce(receipt, ?4), lease = NULL,
    lease_until = NULL, also_arrived_at = iif(?3, ?5, also_arrived_at), extra_copies = extra_copies + ?3,
    charged = charged + ?7
WHERE seq = ?1 AND state = 1 AND lease = ?2 AND arrived_at IS NOT NULL AND (?6 IS NULL OR lease_until <= ?6)
RETURNING seq

-- settle_row --
SELECT seq, state, lease, lease_until, claims, arrived_at AS arrived_ms, cancel_requested_at AS cancel_requested_ms,
    completed_at AS completed_ms, content_size, lane, part_next
FROM message WHERE seq = ?1

-- attempt_by_lease --
SELECT message, number, worker, ended_at AS ended_ms, to_state, arrived_at AS arrived_ms, outcome FROM attempt WHERE message = ?1 AND lease = ?2

-- arrive_late --
-- Scheduled or held: the old attempt did deliver it. A waiting row leaves its lane like any other.
UPDATE message SET state = 3, receipt = ?2, completed_at = ?3, waiting = 0, terminal_reason = NULL, error_class = NULL
WHERE seq = ?1 AND state IN (0, 2)
RETURNING seq

-- arrive_part --
-- The old attempt did deliver the part that the message stands at: ?2 state, ?3 goes on to the next part, ?4 receipt,
-- ?5 when, ?6 reason.
UPDATE message SET state = ?2, part_next = part_next + ?3, charged = iif(?3, 0, charged), lost = 0, free_returns = 0,
    due_at = iif(?2 = 0, ?5, due_at), receipt = coalesce(?4, receipt), completed_at = iif(?2 = 0, NULL, ?5),
    waiting = iif(?2 = 0, waiting, 0), terminal_reason = ?6, error_class = NULL, last_error = NULL
WHERE seq = ?1 AND state IN (0, 2)
RETURNING seq

-- arrive_copy --
UPDATE message SET also_arrived_at = ?2, extra_copies = extra_copies + 1 WHERE seq = ?1
RETURNING seq

-- arrive_while_leased --
-- Leased by another: delivered for everybody who looks, but the lane opens only when that lease ends.
UPDATE message SET arrived_at = ?3, receipt = ?2 WHERE seq = ?1 AND state = 1 AND arrived_at IS NULL
RETURNING seq

-- arrive_again --
UPDATE message SET receipt = coalesce(receipt, ?2), also_arrived_at = ?3, extra_copies = extra_copies + 1
WHERE seq = ?1 AND (state > 2 OR arrived_at IS NOT NULL)
RETURNING seq

-- attempt_arrived --
-- Once: the same late answer told twice is one copy.
UPDATE attempt SET receipt = ?3, arrived_at = ?4 WHERE message = ?1 AND number = ?2 AND arrived_at IS NULL
RETURNING message

-- attempt --
INSERT INTO attempt (message, number, message_id, part, lease, worker, outcome, error_class, reason, receipt, answer,
    charged, claimed_at, began_at, ended_at, to_state, due_at, full, arrived_at)
SELECT ?1, ?2, ?3, ?4, ?5, (SELECT worker FROM message WHERE seq = ?1), ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
    ?15, ?16, ?17, ?18
{given} WHERE ?1 IS NOT NULL
ON CONFLICT DO NOTHING

-- lowest_waiting --
-- The next one of a lane. Nobody else may end it, or let it go, before this transaction ends.
SELECT lane, seq, queue FROM message WHERE lane = ?1 AND state = 0 AND waiting = 1 ORDER BY lane_pos LIMIT 1

-- free --
-- Freeing one too many is harmless: its claim parks it again.
UPDATE message SET waiting = 0 {given} WHERE seq = ?1
RETURNING seq

-- admit --
-- Once: parts that may have been sent already are never cut anew.
UPDATE message SET prepared = 1, recipient = ?3, part_count = ?4, splitter = ?5 {given}
WHERE seq = ?1 AND +state = 1 AND lease = ?2 AND prepared = 0
RETURNING seq

-- admitted --
SELECT seq FROM message WHERE seq = ?1 AND state = 1 AND lease = ?2 AND prepared = 1

-- part --
INSERT INTO part (message, number, content) SELECT ?1, ?2, ?3 {given} WHERE ?1 IS NOT NULL

-- renew --
UPDATE message SET lease_until = ?3 {given} WHERE seq = ?1 AND +state = 1 AND lease = ?2
RETURNING seq, cancel_requested_at

-- enqueue --
INSERT INTO message ({new}) SELECT {new_marks} {given} WHERE ?1 IS NOT NULL
RETURNING id, seq

-- overview --
-- What a transaction must know before it writes.
SELECT EXISTS (SELECT 1 FROM queue WHERE paused_at IS NOT NULL OR strikes > 0 OR reopened_at IS NOT NULL) AS gated,
    EXISTS (SELECT 1 FROM recipient_alias) AS redirected,
    EXISTS (SELECT 1 FROM suppression) AS suppressed,
    EXISTS (SELECT 1 FROM pace WHERE rests_until IS NOT NULL) AS resting,
    EXISTS (SELECT 1 FROM message WHERE state = 0 AND waiting = 1) AS waiting,
    coalesce(sum(messages), 0) AS messages, coalesce(sum(bytes), 0) AS bytes
FROM tally WHERE queue = 0 AND state < 3

-- taken_lanes --
-- Those of the lanes ?1 in which a new message could not start: see `blocked`. It stands behind all that have a place.
SELECT value FROM json_each(?1) given WHERE EXISTS (SELECT 1 FROM message p WHERE p.lane = given.value
    AND p.lane IS NOT NULL AND p.state < 3 AND p.waiting = 0 AND p.lane_pos IS NOT NULL)
OR EXISTS (SELECT 1 FROM message p WHERE p.lane = given.value AND p.lane IS NOT NULL AND p.state = 1)

-- collapsible --
-- What a newer message of the same collapse key, to the same recipient, takes the place of. No edit undoes a deletion.
SELECT ?1 AS newer, {ended}, state, lane_pos AS position, due_at AS due_ms, error_class IS 'rate_limited' AS limited,
    arrived_at IS NOT NULL AS arrived, cancel_requested_at AS asked_ms, claims FROM message
WHERE queue = ?2 AND collapse_key = ?3 AND recipient = ?4 AND account = ?5 AND thread IS ?6
    AND collapse_key IS NOT NULL AND state < 3 AND op < 2

-- may_have_arrived --
-- Whether the platform may have a message.
SELECT seq, {maybe_arrived} FROM message WHERE seq = ?1

-- unbegun --
-- The message ?2 that a change ?1 is about, where surely nobody has any of it yet.
SELECT ?1 AS change, {ended}, payload FROM message
WHERE id = ?2 AND state = 0 AND op = 0 AND claims = 0 AND charged = 0 AND part_next = 0 AND replay_of IS NULL
    AND (?3 OR NOT EXISTS (SELECT 1 FROM message_blob WHERE message = seq))

-- rewrite --
UPDATE message SET content = ?2, payload = ?3, content_size = ?4, prepared = ?5, part_count = ?6, splitter = ?7,
    recipient = ?8
WHERE seq = ?1

-- supersede --
UPDATE message SET state = 6, terminal_reason = ?2, completed_at = ?3, waiting = 0
WHERE seq = ?1 AND state IN (0, 2)
RETURNING seq

-- keep_wait --
-- A wait that a platform asked for, until ?2, holds for what takes the place of the message ?1 too.
UPDATE message SET due_at = max(due_at, ?2), error_class = 'rate_limited' WHERE seq IN (
    SELECT newer.seq FROM message older CROSS JOIN message newer ON newer.queue = older.queue
        AND newer.collapse_key = older.collapse_key AND newer.recipient = older.recipient
        AND newer.account = older.account AND newer.thread IS older.thread
    WHERE older.seq = ?1 AND newer.state = 0 AND newer.state < 3 AND newer.collapse_key IS NOT NULL)

-- superseded_by --
-- After a commit whose answer was lost: whose place the message ?1 took at ?2.
SELECT history.actor, {ended}, message.terminal_reason FROM history INDEXED BY history_at CROSS JOIN message ON message.seq = history.message
WHERE history.at = ?2 AND history.act = 'superseded' AND history.actor = ?1 AND message.state = 6

-- take_place --
UPDATE message SET floating = 1, admitted_seq = ?2, due_at = ?3, error_class = ?4 WHERE id = ?1

-- import_known --
SELECT source_id, message_id FROM import_ledger WHERE system = ?2 AND source_id = ?1

-- import_add --
-- An alias may be known already; a source id was looked for just before.
INSERT INTO import_ledger (system, source_id, message_id, outcome, at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO NOTHING

-- sync --
-- A commit that writes nothing syncs nothing, and a row that is written as it was is nothing. One that writes syncs the
-- whole log.
INSERT INTO meta (key, value) VALUES ('syncs', '1')
ON CONFLICT DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)

-- import_put --
-- What was enqueued by this very transaction takes the state and the counts that it comes with.
UPDATE message SET state = ?2, claims = ?3, charged = ?3, claimed_at = ?4, completed_at = ?5, terminal_reason = ?6,
    error_class = ?7, last_error = ?8, floating = iif(?9, 1, floating)
WHERE id = ?1 AND state = 0 AND claims = 0
RETURNING id, seq

-- import_attempt --
-- Its last attempt, under another system: no lease of ours is empty.
INSERT INTO attempt (message, number, message_id, lease, outcome, error_class, reason, charged, claimed_at, began_at,
    ended_at, to_state, due_at)
VALUES (?1, ?2, ?3, x'', coalesce(?4, 'transient'), ?4, ?5, 1, ?6, ?6, ?6, 0, ?7)

-- seq_of --
SELECT id, seq FROM message WHERE id = ?1

-- payload --
INSERT INTO payload (content) VALUES (?1) RETURNING id

-- payload_content --
SELECT content FROM payload WHERE id = ?1

-- part_content --
SELECT content FROM part WHERE message = ?1 AND number = ?2

-- parts_before --
SELECT receipt, state FROM part WHERE message = ?1 AND number < ?2 ORDER BY number

-- parts_delivered --
SELECT ?1 AS message, count(*) AS parts FROM part WHERE message = ?1 AND state = 3

-- part_end --
-- A part that arrived stays so, with its first receipt.
UPDATE part SET state = ?3, receipt = ?4, reason = ?5, delivered_at = iif(?3 = 3, ?6, NULL)
WHERE message = ?1 AND number = ?2 AND state <> 3

-- part_ended --
SELECT message FROM part WHERE message = ?1 AND number = ?2 AND state = 3 AND delivered_at = ?3

-- key --
SELECT key, digest, message_id FROM message_key WHERE tenant = ?2 AND key = ?1

-- key_insert --
INSERT INTO message_key (tenant, key, digest, message_id) SELECT ?1, ?2, ?3, ?4 {given} WHERE ?1 IS NOT NULL

-- queue_of --
SELECT id FROM queue WHERE tenant = ?1 AND channel = ?2

-- queues_lock --
-- Nobody else writes meanwhile.
SELECT 1

-- queue_insert --
-- ?3 now. A pause of the channel for every tenant holds for one that comes later.
INSERT INTO queue (tenant, channel, paused_at, paused_until, pause_reason, paused_by)
SELECT ?1, ?2, p.paused_at, p.paused_until, p.pause_reason, p.paused_by
FROM (SELECT 1) LEFT JOIN channel_pause p ON p.channel = ?2 AND (p.paused_until IS NULL OR p.paused_until > ?3)
RETURNING id

-- queue_name --
SELECT tenant, channel FROM queue WHERE id = ?1

-- policy_of --
SELECT id FROM policy WHERE spec = ?1

-- policy_insert --
INSERT INTO policy (spec) VALUES (?1) RETURNING id

-- policy_spec --
SELECT spec FROM policy WHERE id = ?1

-- tally_add --
INSERT INTO tally (queue, state, messages, bytes) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes

-- active_channel --
SELECT coalesce(sum(messages), 0) FROM tally WHERE state < 3 AND queue IN (SELECT id FROM queue WHERE channel = ?1)

-- active_tenant --
SELECT coalesce(sum(messages), 0) FROM tally WHERE state < 3 AND queue IN (SELECT id FROM queue WHERE tenant = ?1)

-- active_recipient --
SELECT messages FROM recipient_tally WHERE queue = ?1 AND recipient = ?2

-- leased_in_queue --
SELECT messages FROM tally WHERE queue = ?1 AND state = 1

-- pace_lock --
-- The row of a whole channel: whoever has it is alone with the channel's others.
INSERT INTO pace (channel, recipient) VALUES (?1, '')
ON CONFLICT DO UPDATE SET channel = excluded.channel
RETURNING log

-- pace_over --
-- What does not count any more, a hundred at a time.
DELETE FROM pace WHERE channel = ?1 AND recipient IN (
    SELECT recipient FROM pace WHERE channel = ?1 AND over_at < ?2 AND recipient <> '' LIMIT 100)

-- pace_of --
SELECT recipient, log, rests_until FROM json_each(?2) given JOIN pace ON channel = ?1 AND recipient = given.value

-- pace_set --
INSERT INTO pace (channel, recipient, log, over_at, full_until) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET log = excluded.log, over_at = max(over_at, excluded.over_at), full_until = excluded.full_until

-- pace_rest --
-- Who rests longer already does so still.
INSERT INTO pace (channel, recipient, over_at, rests_until, reason) VALUES (?1, ?2, ?3, ?3, ?4)
ON CONFLICT DO UPDATE SET over_at = max(over_at, excluded.over_at), rests_until = excluded.rests_until, reason = excluded.reason
WHERE rests_until IS NULL OR rests_until < excluded.rests_until

-- pace_resume --
UPDATE pace SET rests_until = NULL, reason = NULL WHERE channel = ?1 AND rests_until IS NOT NULL

-- pace_retry --
-- Who wants a message to go now ends its recipient's rest.
UPDATE pace SET rests_until = NULL, reason = NULL WHERE rests_until IS NOT NULL AND (channel, recipient) = (
    SELECT queue.channel, message.recipient FROM message JOIN queue ON queue.id = message.queue WHERE message.seq = ?1)

-- resting --
SELECT DISTINCT channel FROM pace WHERE rests_until IS NOT NULL

-- due_rows --
SELECT seq, recipient FROM message WHERE queue = ?1 AND priority = ?2 AND state = 0 AND waiting = 0 AND lane_pos IS NOT NULL AND lost < 2 AND due_at <= ?3
ORDER BY due_at, seq LIMIT ?4

-- suspect_rows --
SELECT seq, recipient FROM message WHERE queue = ?1 AND state = 0 AND waiting = 0 AND lane_pos IS NOT NULL AND lost >= 2 AND due_at <= ?2
ORDER BY due_at, seq LIMIT ?3

-- due_one --
SELECT seq, recipient FROM message WHERE queue = ?1 AND id = ?2 AND state = 0 AND waiting = 0 AND lane_pos IS NOT NULL AND due_at <= ?3 LIMIT ?4

-- put_off --
UPDATE message SET due_at = ?2 WHERE seq = ?1 AND state = 0 AND waiting = 0

-- gates --
-- Without those whose pause is over, by ?1.
SELECT id AS queue, paused_at AS paused_ms, paused_until AS until_ms, strikes, reopened_at AS reopened_ms FROM queue
WHERE (paused_at IS NOT NULL OR strikes > 0 OR reopened_at IS NOT NULL)
    AND (paused_until IS NULL OR paused_until > ?1 OR strikes > 0 OR reopened_at IS NOT NULL)

-- gate_pause --
-- An open-ended pause is a person's, and a longer one may be: neither is shortened, or called by another's name. Of an
-- outage, what was under way when it began is no second strike.
UPDATE queue SET paused_until = iif(?3 IS NULL, NULL, max(?3, coalesce(paused_until, 0))),
    paused_at = iif(paused_until > ?3, paused_at, ?2), pause_reason = iif(paused_until > ?3, pause_reason, ?4),
    paused_by = iif(paused_until > ?3, paused_by, ?5),
    strikes = strikes + iif(strikes > 0 AND paused_until > ?2, 0, ?6)
WHERE id = ?1 AND (paused_at IS NULL OR paused_until IS NOT NULL)

-- gate_clear --
-- It answered. A pause that is still on runs out by itself; one without end is not ended by what was under way before.
UPDATE queue SET strikes = 0, reopened_at = ?2
WHERE id = ?1 AND strikes > 0 AND (paused_at IS NULL OR paused_until IS NOT NULL)

-- gate_hold --
SELECT id FROM queue WHERE id = ?1

-- gate_open --
-- It is wholly open again; a pause that has run out is forgotten with that.
UPDATE queue SET reopened_at = NULL, paused_at = NULL, paused_until = NULL, pause_reason = NULL, paused_by = NULL
WHERE id = ?1 AND (paused_at IS NULL OR paused_until <= ?2)

-- redirect_end --
-- What is an address has not moved, whatever was said before.
DELETE FROM recipient_alias WHERE queue = ?1 AND recipient = ?2

-- redirect_on --
UPDATE recipient_alias SET address = ?3 WHERE queue = ?1 AND address = ?2

-- redirect_put --
INSERT INTO recipient_alias (queue, recipient, address, at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET address = excluded.address, at = excluded.at

-- redirect_of --
SELECT ?1, address FROM recipient_alias WHERE queue = ?2 AND recipient = ?3

-- readdress --
UPDATE message SET recipient = ?3 WHERE seq = ?1 AND +state = 1 AND lease = ?2

-- redirect_forget --
DELETE FROM recipient_alias WHERE recipient = ?3 AND queue IN (SELECT id FROM queue WHERE tenant = ?1 AND channel = ?2)
RETURNING queue

-- suppress --
INSERT INTO suppression (queue, recipient, at, reason) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING

-- suppressed_of --
SELECT ?1, reason FROM suppression WHERE queue = ?2 AND recipient = ?3

-- suppressed_clear --
-- ?3 the recipient, NULL for all.
DELETE FROM suppression WHERE (?3 IS NULL OR recipient = ?3)
    AND queue IN (SELECT id FROM queue WHERE tenant = ?1 AND channel = ?2)
RETURNING queue

-- queue_pause --
-- ?1 the tenant, NULL for all.
UPDATE queue SET paused_at = ?3, paused_until = ?4, pause_reason = ?5, paused_by = ?6
WHERE channel = ?2 AND (?1 IS NULL OR tenant = ?1)
RETURNING id

-- channel_pause --
INSERT INTO channel_pause (channel, paused_at, paused_until, pause_reason, paused_by) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET paused_at = excluded.paused_at, paused_until = excluded.paused_until,
    pause_reason = excluded.pause_reason, paused_by = excluded.paused_by

-- channel_resume --
DELETE FROM channel_pause WHERE channel = ?1 RETURNING channel

-- try_again --
-- What was paused without end by an answer: by ?3 or ?4.
UPDATE queue SET paused_until = ?2, strikes = max(strikes, 1)
WHERE channel = ?1 AND paused_by IN (?3, ?4) AND paused_at IS NOT NULL AND paused_until IS NULL
RETURNING id

-- queue_resume --
-- ?1 the tenant, NULL for all.
UPDATE queue SET paused_at = NULL, paused_until = NULL, pause_reason = NULL, paused_by = NULL, strikes = 0,
    reopened_at = NULL
WHERE channel = ?2 AND (?1 IS NULL OR tenant = ?1)
RETURNING id

-- later --
SELECT seq FROM message WHERE queue = ?1 AND state = 0 AND lane_pos IS NULL AND due_at <= ?2
ORDER BY due_at, seq LIMIT ?3

-- sequence --
SELECT seq FROM sqlite_sequence WHERE name = 'message'

-- sequence_set --
UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'message'

-- take_position --
UPDATE message SET admitted_seq = ?2, floating = 1 {given} WHERE seq = ?1

-- claim --
-- ?1 lease, ?2 until when, ?3 worker, ?4 now, ?5 expired by, ?6 queue, ?7 to ?10 the priorities in their turn, ?11 how many.
-- The outer limit keeps SQLite from judging a candidate anew for each column that it sets.
{taken}
FROM (
    SELECT {judged} FROM (
        SELECT * FROM (SELECT seq, expires_at, lane, lane_pos FROM message c
            WHERE c.queue = ?6 AND c.priority = ?7 AND {startable} AND c.lost < 2 ORDER BY c.due_at, c.seq LIMIT ?11)
        UNION ALL SELECT * FROM (SELECT seq, expires_at, lane, lane_pos FROM message c
            WHERE c.queue = ?6 AND c.priority = ?8 AND {startable} AND c.lost < 2 ORDER BY c.due_at, c.seq LIMIT ?11)
        UNION ALL SELECT * FROM (SELECT seq, expires_at, lane, lane_pos FROM message c
            WHERE c.queue = ?6 AND c.priority = ?9 AND {startable} AND c.lost < 2 ORDER BY c.due_at, c.seq LIMIT ?11)
        UNION ALL SELECT * FROM (SELECT seq, expires_at, lane, lane_pos FROM message c
            WHERE c.queue = ?6 AND c.priority = ?10 AND {startable} AND c.lost < 2 ORDER BY c.due_at, c.seq LIMIT ?11)
        LIMIT ?11) c
    LIMIT ?11)
WHERE message.seq = s
RETURNING {leased}

-- claim_suspect --
{taken}
FROM (
    SELECT {judged} FROM message c WHERE c.queue = ?6 AND {startable} AND c.lost >= 2
    ORDER BY c.due_at, c.seq LIMIT 1)
WHERE message.seq = s
RETURNING {leased}

-- claim_only --
{taken}
FROM (SELECT {judged} FROM message c WHERE c.queue = ?6 AND {startable} AND c.id = ?7 LIMIT 1)
WHERE message.seq = s
RETURNING {leased}

-- claim_again --
-- After a commit whose answer was lost: what that commit leased.
SELECT {leased} FROM message WHERE lease = ?1 AND state = 1 AND worker = ?2

-- park --
-- Moves a blocked lane's backlog out of the due index in bounded steps, so that a claim never scans it (LA3).
UPDATE message SET waiting = 1 FROM (
    SELECT seq, lane, lane_pos FROM message
    WHERE queue = ?1 AND priority = ?2 AND due_at <= ?3 AND state = 0 AND waiting = 0 AND lost < 2
        AND lane_pos IS NOT NULL
    ORDER BY due_at, seq LIMIT ?4) c
WHERE message.seq = c.seq AND c.lane IS NOT NULL AND ({blocked})
RETURNING seq

-- heads --
SELECT due, level FROM ({soonest}) heads

-- horizon --
-- When something in queue ?1 is due next: suspects aside, also what has no place yet; and suspects.
SELECT min(due) AS due_ms, (SELECT min(due_at) FROM message WHERE queue = ?1 AND state = 0 AND waiting = 0 AND lost >= 2
    AND lane_pos IS NOT NULL) AS suspect_ms,
    0 AS redirected, 0 AS suppressed
FROM ({soonest}
-- What the overview said of recipients holds: nobody else has written since.
    UNION ALL SELECT min(due_at), -1 FROM message WHERE queue = ?1 AND state = 0 AND lane_pos IS NULL)

-- bury_unreadable --
UPDATE message SET state = 4, terminal_reason = 'unreadable', error_class = 'permanent', last_error = ?3,
    completed_at = ?4, charged = charged + 1, lease = NULL, lease_until = NULL
WHERE seq = ?1 AND state = 1 AND lease = ?2

-- expire --
UPDATE message SET state = 5, terminal_reason = 'expired', completed_at = ?1, waiting = 0
WHERE seq IN (SELECT seq FROM message WHERE state = 0 AND expires_at IS NOT NULL AND expires_at < ?1
    ORDER BY expires_at LIMIT ?2)
RETURNING {ended_returned}

-- ended_before --
-- After a commit whose answer was lost: what that commit ended, because its time was over or nobody else may send it.
SELECT {ended} FROM message WHERE state = ?1 AND state > 2 AND completed_at = ?2 AND terminal_reason = ?3

-- abandon --
-- Not final, not started, and the process that accepted them is gone: nobody else sends them (DK1).
UPDATE message SET state = 4, terminal_reason = 'non_final', completed_at = ?3, waiting = 0,
    last_error = 'the process that accepted it was gone before it was sent'
WHERE seq IN (SELECT seq FROM message WHERE state = 0 AND accepted_by = ?1 LIMIT ?2)
RETURNING {ended_returned}

-- order_row --
-- A message as orders see it. Whoever reads it so keeps it to the transaction's end.
SELECT message.id, message.seq, message.state, message.arrived_at IS NOT NULL AS arrived, message.queue, queue.tenant,
    queue.channel, message.recipient, message.lane, message.content_size, message.expires_at AS expires_ms,
    message.completed_at AS completed_ms, message.policy, message.part_count, message.part_next,
    (SELECT count(*) FROM part WHERE part.message = message.seq AND part.number < message.part_next AND part.state = 4)
        AS parts_dead,
    message.token_epoch, message.key, message.payload,
    message.content IS NOT NULL OR message.payload IS NOT NULL AS has_content, message.replay_of
FROM message JOIN queue ON queue.id = message.queue WHERE message.id = ?1

-- cancel --
UPDATE message SET state = 6, terminal_reason = ?2, completed_at = ?3, waiting = 0
WHERE seq = ?1 AND state IN ({cancel_states})
RETURNING seq

-- asked_to_supersede --
-- Found where a newer message, and no person, asked for the end of what is being sent.
SELECT seq, {maybe_arrived} FROM message WHERE seq = ?1
    AND EXISTS (SELECT 1 FROM history h WHERE h.message = ?1 AND h.act = 'supersede requested')
    AND NOT EXISTS (SELECT 1 FROM history h WHERE h.message = ?1 AND h.act = 'cancel requested')

-- cancel_request --
UPDATE message SET cancel_requested_at = coalesce(cancel_requested_at, ?2) WHERE seq = ?1 AND state = 1
RETURNING seq

-- retry --
-- A held message that gave up its place comes back with a new one at the tail, given by the claim that finds it. One
-- past its time would end at once: it needs a new one, ?3 says whether it gets it (?4).
UPDATE message SET state = 0, due_at = ?2, terminal_reason = NULL, completed_at = NULL,
    expires_at = iif(?3, ?4, expires_at)
WHERE seq = ?1 AND state IN ({retry_states}) AND (state = 0 OR ?3 OR expires_at IS NULL OR expires_at >= ?2)
RETURNING seq

-- bury --
UPDATE message SET state = 4, terminal_reason = ?2, completed_at = ?3
WHERE seq = ?1 AND state IN ({bury_states}) AND completed_at < ?4
RETURNING seq

-- resolve --
-- ?2 new state, ?3 now, ?4 the part that the verdict is about, ?5 receipt, ?6 reason, ?7 class, ?8 error, ?9 goes on to
-- the next part, ?10 takes a new place at the tail of its lane, ?11 adds to its resend epoch (below ?12), ?13 whether it
-- gets a new time to live, ?14 until when.
UPDATE message SET state = ?2, due_at = iif(?2 = 0, ?3, due_at), completed_at = iif(?2 = 0, NULL, ?3),
    receipt = coalesce(?5, receipt), terminal_reason = ?6, error_class = iif(?10, error_class, ?7),
    last_error = iif(?10, last_error, ?8), part_next = part_next + ?9, charged = iif(?9, 0, charged),
    lost = iif(?10, lost, 0), floating = iif(?10, 1, floating),
    admitted_seq = iif(?10, NULL, admitted_seq), token_epoch = token_epoch + ?11,
    expires_at = iif(?13 AND ?2 = 0, ?14, expires_at)
WHERE seq = ?1 AND state IN ({resolve_states}) AND part_next = ?4 AND token_epoch + ?11 < ?12
    AND (?2 <> 0 OR ?13 OR expires_at IS NULL OR expires_at >= ?3)
RETURNING seq

-- replays --
-- What an earlier replay, or a replay of that one, has made of it: on its way, or delivered.
WITH RECURSIVE heir (id, state) AS (
    SELECT id, state FROM message WHERE replay_of = ?1 AND replay_of IS NOT NULL
    UNION SELECT m.id, m.state FROM heir CROSS JOIN message m ON m.replay_of = heir.id AND m.replay_of IS NOT NULL)
SELECT ?1 AS original, id FROM heir WHERE state < 4 LIMIT 1

-- replay_first --
-- The message that a replay, or the replay of a replay, goes back to; the oldest that is still known of.
WITH RECURSIVE origin (id, earlier, steps) AS (
    SELECT id, replay_of, 0 FROM message WHERE id = ?1
    UNION ALL SELECT m.id, m.replay_of, steps + 1 FROM origin CROSS JOIN message m ON m.id = origin.earlier)
SELECT ?1 AS replay, coalesce(earlier, id) FROM origin ORDER BY steps DESC LIMIT 1

-- part_progress --
-- How many parts are delivered, and the number behind the last of them.
SELECT ?1 AS message, count(*) AS done, coalesce(max(number) + 1, 0) AS behind FROM part WHERE message = ?1 AND state = 3

-- replay --
-- ?1 the original, ?2 new id, ?3 now, ?4 a dedupe token of its own, ?5 expiry, ?6 parts that are done. Without its key,
-- which is the original's; at the tail of its lane; its content is the original's own where it is kept apart.
INSERT INTO message (id, queue, recipient, policy, created_at, max_attempts, kind, op, metadata, due_at, expires_at,
    prepared, part_count, part_next, splitter, content, payload, content_size, collapse_key, replay_of, token_id,
    token_epoch, {carried})
SELECT ?2, queue, recipient, policy, ?3, max_attempts, kind, op, metadata, ?3, ?5, prepared, part_count, ?6, splitter,
    content, payload, content_size, collapse_key, id, iif(?4, NULL, coalesce(token_id, id)), iif(?4, 0, token_epoch),
    {carried}
FROM message WHERE id = ?1 AND state IN ({replay_states}) AND (content IS NOT NULL OR payload IS NOT NULL)
RETURNING replay_of, seq

-- replay_parts --
-- Those that are delivered go first, so that what is left goes out in one run; ?3 none of them counts. When they were
-- delivered is the original's story.
INSERT INTO part (message, number, state, content, receipt)
SELECT ?2, row_number() OVER (ORDER BY state <> 3 AND NOT ?3, number) - 1, iif(state = 3 AND NOT ?3, 3, 0), content,
    iif(state = 3 AND NOT ?3, receipt, NULL)
FROM part WHERE message = ?1

-- blob_use --
SELECT 1 FROM blob WHERE digest = ?1

-- blob --
INSERT INTO blob (digest, size, content) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING

-- message_blob --
INSERT INTO message_blob (message, digest) VALUES (?1, ?2)

-- replay_blobs --
INSERT INTO message_blob (message, digest) SELECT ?2, digest FROM message_blob WHERE message = ?1

-- replay_mirror --
-- The record of a delivery that did not happen becomes the record of the one that may.
UPDATE mirror SET message_id = ?2 WHERE message_id = ?1 AND delivered_at IS NULL AND acknowledged_at IS NULL

-- purge --
DELETE FROM message WHERE seq = ?1 AND state IN ({purge_states}) RETURNING seq

-- purge_attempts --
DELETE FROM attempt WHERE message = ?1

-- history_add --
INSERT INTO history (message, message_id, at, act, actor, from_state, to_state, reason)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 {given} WHERE ?1 IS NOT NULL

-- act_of --
SELECT message_id, act FROM history WHERE message_id = ?1 AND at = ?2 AND actor = ?3

-- audit_of --
SELECT id FROM audit INDEXED BY audit_at WHERE at = ?1 AND actor = ?2 AND act = ?3 AND subject = ?4

-- audit_add --
INSERT INTO audit (at, actor, act, subject, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)

-- prune_pick --
SELECT seq, tenant, key, payload, content_size, message.queue, message.id, completed_at AS completed_ms
FROM message JOIN queue ON queue.id = message.queue
WHERE state = ?1 AND state > 2 AND completed_at < ?2 ORDER BY completed_at LIMIT ?3

-- prune_message --
DELETE FROM message WHERE seq = ?1 AND state = ?2 AND completed_at < ?3 RETURNING seq

-- mirror_outlives --
-- A record outlives its message: its own retention counts from the delivery.
UPDATE mirror SET delivered_at = ?2 WHERE message_id = ?1

-- mirror_delete --
DELETE FROM mirror WHERE message_id = ?1

-- scrub_pick --
SELECT seq, payload, content_size, queue, completed_at AS completed_ms FROM message
WHERE state = ?1 AND state > 2 AND completed_at >= ?2 AND completed_at < ?3 AND (content IS NOT NULL OR payload IS NOT NULL)
ORDER BY completed_at LIMIT ?4

-- scrub --
UPDATE message SET content = NULL, payload = NULL, content_size = 0 WHERE seq = ?1

-- scrub_parts --
-- What became of each part is told for as long as its message is.
UPDATE part SET content = NULL WHERE message = ?1

-- meta_value --
SELECT value FROM meta WHERE key = ?1

-- meta_set --
INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value

-- meta_put --
INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING RETURNING key

-- meta_replace --
UPDATE meta SET value = ?3 WHERE key = ?1 AND value = ?2 RETURNING key

-- payload_turn --
-- One writer at a time, here and below.
SELECT id FROM payload WHERE id = ?1

-- prune_payload --
DELETE FROM payload WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE payload = ?1 AND payload IS NOT NULL)

-- prune_parts --
DELETE FROM part WHERE message = ?1

-- prune_attempts --
DELETE FROM attempt WHERE message = ?1 AND full = 0

-- prune_blobs --
DELETE FROM message_blob WHERE message = ?1 RETURNING message, digest

-- blob_turn --
SELECT digest FROM blob WHERE digest = ?1

-- blob_hold --
SELECT digest FROM blob WHERE digest = ?1

-- blob_drop --
DELETE FROM blob WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM message_blob WHERE digest = ?1)

-- prune_key --
UPDATE message_key SET expires_at = ?3 WHERE tenant = ?2 AND key = ?1

-- prune_keys --
DELETE FROM message_key WHERE (tenant, key) IN (
    SELECT tenant, key FROM message_key WHERE expires_at IS NOT NULL AND expires_at < ?1 LIMIT ?2)
RETURNING 1

-- prune_full_attempts --
DELETE FROM attempt WHERE (message, number) IN (
    SELECT a.message, a.number FROM attempt a WHERE a.full = 1 AND a.ended_at < ?1
        AND NOT EXISTS (SELECT 1 FROM message m WHERE m.seq = a.message) ORDER BY a.ended_at LIMIT ?2)
RETURNING 1

-- prune_history --
DELETE FROM history WHERE id IN (
    SELECT h.id FROM history h WHERE h.at < ?1
        AND NOT EXISTS (SELECT 1 FROM message m WHERE m.seq = h.message) ORDER BY h.at LIMIT ?2)
RETURNING 1

-- prune_audit --
DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)
RETURNING 1

-- worker_insert --
INSERT INTO worker (id, host, pid, boot, version, channels, started_at, seen_at, lock_file)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8) RETURNING slot

-- worker_seen --
UPDATE worker SET seen_at = ?2, channels = ?3 WHERE slot = ?1 RETURNING slot

-- worker_delete --
DELETE FROM worker WHERE slot = ?1

-- mirror_add --
INSERT INTO mirror (key, session_key, text, media, message_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT DO NOTHING

-- mirror_rewrite --
UPDATE mirror SET text = ?2, media = ?3 WHERE message_id = ?1

-- mirror_acknowledge --
UPDATE mirror SET acknowledged_at = ?2
WHERE key IN (SELECT value FROM json_each(?1)) AND acknowledged_at IS NULL AND (delivered_at IS NOT NULL OR EXISTS (
    SELECT 1 FROM message m WHERE m.id = mirror.message_id AND (m.state = 3 OR m.arrived_at IS NOT NULL)))
RETURNING id

-- mirror_prune --
DELETE FROM mirror WHERE id IN (
    SELECT mirror.id FROM mirror LEFT JOIN message m ON m.id = mirror.message_id
    WHERE coalesce(mirror.acknowledged_at, mirror.delivered_at, iif(m.state = 3, m.completed_at, NULL),
        iif(m.id IS NULL, mirror.created_at, NULL)) < ?1
    LIMIT ?2)
RETURNING 1
