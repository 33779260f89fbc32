-- The states by their numbers: 0 scheduled, 1 leased, 2 held, 3 delivered, 4 dead, 5 expired, 6 cancelled. Below 3 a message
-- is active. Which of them an order is for ({cancel_states} and so on), domain/orders.py says.
-- +state keeps the planner to the row's number where that is known: partial indexes by state look good to it while it knows
-- little of a table, and are read once for each row that is asked for.
-- {each a type, b type} stands for the rows that a statement is run for, as `asked`: an array of each column.

-- deliver --
-- The plain success: the only settlement that leaves no attempt row.
UPDATE message SET state = 3, receipt = asked.receipt, completed_at = asked.at, lease = NULL, lease_until = NULL, lost = 0,
    free_returns = 0, error_class = NULL, last_error = NULL
FROM {each seq bigint, lease bytea, receipt text, at bigint}
WHERE message.seq = asked.seq AND +state = 1 AND message.lease = asked.lease AND arrived_at IS NULL
RETURNING message.seq

-- settle --
-- steps_out: steps out of its lane; over_by: lapsed by (NULL from the lease's holder); goes_on: on to the next part
UPDATE message SET state = asked.becomes, due_at = coalesce(asked.due, due_at),
    charged = CASE WHEN goes_on THEN 0 ELSE charged + asked.costs END, part_next = part_next + goes_on::integer,
    free_returns = CASE WHEN asked.free THEN free_returns + 1 ELSE 0 END, lost = asked.losses,
    receipt = coalesce(asked.its_receipt, receipt), terminal_reason = asked.reason, error_class = asked.class,
    last_error = asked.error, recipient = coalesce(asked.spelt, recipient),
    completed_at = CASE WHEN asked.becomes > 1 THEN asked.at END, floating = floating OR steps_out,
    admitted_seq = CASE WHEN steps_out THEN NULL ELSE admitted_seq END, lease = NULL, lease_until = NULL
FROM {each seq bigint, held_lease bytea, becomes smallint, due bigint, costs integer, free boolean, losses integer,
    its_receipt text, reason text, class text, error text, spelt text, at bigint, steps_out boolean, over_by bigint,
    goes_on boolean}
WHERE message.seq = asked.seq AND +state = 1 AND lease = asked.held_lease AND arrived_at IS NULL
    AND (over_by IS NULL OR lease_until <= over_by) AND (cancel_requested_at IS NULL OR asked.becomes NOT IN (0, 2))
RETURNING message.seq

-- settle_arrived --
-- The platform took it through another attempt while this lease ran: whatever this attempt says, it is delivered.
UPDATE message SET state = 3, completed_at = arrived_at, receipt = coalesce(receipt, asked.its_receipt), lease = NULL,
    lease_until = NULL, also_arrived_at = CASE WHEN twice THEN asked.at ELSE also_arrived_at END,
    extra_copies = extra_copies + twice::integer, charged = charged + asked.costs
FROM {each seq bigint, held_lease bytea, twice boolean, its_receipt text, at bigint, over_by bigint, costs integer}
WHERE message.seq = asked.seq AND +state = 1 AND lease = asked.held_lease AND arrived_at IS NOT NULL
    AND (over_by IS NULL OR lease_until <= over_by)
RETURNING message.seq

-- settle_row --
SELECT message.seq, state, lease, lease_until, claims, arrived_at AS arrived_ms,
    cancel_requested_at AS cancel_requested_ms, completed_at AS completed_ms, content_size, lane, part_next
FROM {each seq bigint} JOIN message ON message.seq = asked.seq ORDER BY message.seq FOR UPDATE OF message

-- attempt_by_lease --
SELECT message, number, worker, ended_at AS ended_ms, to_state, arrived_at AS arrived_ms, outcome
FROM {each seq bigint, its_lease bytea} JOIN attempt ON message = asked.seq AND lease = asked.its_lease

-- arrive_late --
-- Scheduled or held: the old attempt did deliver it. A waiting row leaves its lane like any other.
UPDATE message SET state = 3, receipt = asked.its_receipt, completed_at = asked.at, waiting = false,
    terminal_reason = NULL, error_class = NULL
FROM {each seq bigint, its_receipt text, at bigint} WHERE message.seq = asked.seq AND +state IN (0, 2)
RETURNING message.seq

-- arrive_part --
-- The old attempt did deliver the part that the message stands at.
UPDATE message SET state = becomes, part_next = part_next + goes_on::integer,
    charged = CASE WHEN goes_on THEN 0 ELSE charged END, lost = 0, free_returns = 0,
    due_at = CASE WHEN becomes = 0 THEN asked.at ELSE due_at END, receipt = coalesce(asked.its_receipt, receipt),
    completed_at = CASE WHEN becomes <> 0 THEN asked.at END, waiting = waiting AND becomes = 0,
    terminal_reason = asked.reason, error_class = NULL, last_error = NULL
FROM {each seq bigint, becomes smallint, goes_on boolean, its_receipt text, at bigint, reason text}
WHERE message.seq = asked.seq AND +state IN (0, 2)
RETURNING message.seq

-- arrive_copy --
UPDATE message SET also_arrived_at = asked.at, extra_copies = extra_copies + 1
FROM {each seq bigint, at bigint} WHERE message.seq = asked.seq
RETURNING message.seq

-- arrive_while_leased --
-- Leased by another: delivered for everybody who looks, but the lane opens only when that lease ends.
UPDATE message SET arrived_at = asked.at, receipt = asked.its_receipt
FROM {each seq bigint, its_receipt text, at bigint} WHERE message.seq = asked.seq AND +state = 1 AND arrived_at IS NULL
RETURNING message.seq

-- arrive_again --
UPDATE message SET receipt = coalesce(receipt, asked.its_receipt), also_arrived_at = asked.at,
    extra_copies = extra_copies + 1
FROM {each seq bigint, its_receipt text, at bigint}
WHERE message.seq = asked.seq AND (+state > 2 OR arrived_at IS NOT NULL)
RETURNING message.seq

-- attempt_arrived --
-- Once: the same late answer told twice is one copy.
UPDATE attempt SET receipt = asked.its_receipt, arrived_at = asked.at
FROM {each message bigint, number bigint, its_receipt text, at bigint}
WHERE attempt.message = asked.message AND attempt.number = asked.number AND arrived_at IS NULL
RETURNING attempt.message

-- attempt --
INSERT INTO attempt (message, number, message_id, part, lease, worker, outcome, error_class, reason, receipt, answer,
    charged, claimed_at, began_at, ended_at, to_state, due_at, kept, arrived_at)
SELECT seq, number, id, part, lease, (SELECT worker FROM message WHERE message.seq = asked.seq), outcome, class, reason,
    receipt, answer, charged, claimed, began, ended, becomes, due, kept, arrived
FROM {each seq bigint, number bigint, id text, part bigint, lease bytea, outcome text, class text, reason text,
    receipt text, answer text, charged integer, claimed bigint, began bigint, ended bigint, becomes smallint, due bigint,
    kept boolean, arrived bigint}
ON CONFLICT DO NOTHING

-- lowest_waiting --
-- The next one of a lane. Locked, because a row that is cancelled this instant is not the lowest any more.
SELECT asked.lane, lowest.seq, lowest.queue FROM {each lane text} CROSS JOIN LATERAL (
    SELECT w.seq, w.queue FROM message w WHERE w.lane = asked.lane AND w.state = 0 AND w.waiting ORDER BY w.lane_pos LIMIT 1
    FOR UPDATE) lowest

-- free --
-- Freeing one too many is harmless: its claim parks it again.
UPDATE message SET waiting = false FROM {each seq bigint} WHERE message.seq = asked.seq
RETURNING message.seq

-- admit --
-- Once: parts that may have been sent already are never cut anew.
UPDATE message SET prepared = true, recipient = asked.spelt, part_count = asked.parts, splitter = asked.cut_by
FROM {each seq bigint, held_lease bytea, spelt text, parts bigint, cut_by text}
WHERE message.seq = asked.seq AND +state = 1 AND lease = asked.held_lease AND NOT prepared
RETURNING message.seq

-- admitted --
SELECT message.seq FROM {each seq bigint, held_lease bytea} JOIN message ON message.seq = asked.seq
WHERE +state = 1 AND lease = asked.held_lease AND prepared

-- part --
INSERT INTO part (message, number, content)
SELECT message, number, content FROM {each message bigint, number bigint, content text}

-- renew --
UPDATE message SET lease_until = asked.until
FROM {each seq bigint, held_lease bytea, until bigint}
WHERE message.seq = asked.seq AND +state = 1 AND lease = asked.held_lease
RETURNING message.seq, cancel_requested_at

-- enqueue --
-- In order: a lane's order is that of seq.
INSERT INTO message ({new}, era) SELECT {new}, CASE WHEN state = 1 THEN {this_era} END FROM {each {new_types}} ORDER BY ord
RETURNING id, seq

-- overview --
-- What a transaction must know before it writes. Whether anything waits is no question here: others may make it so until
-- this transaction holds the heads of the lanes that it leaves.
SELECT EXISTS (SELECT 1 FROM queue WHERE paused_at IS NOT NULL OR strikes > 0 OR reopened_at IS NOT NULL) AS gated,
    EXISTS (SELECT 1 FROM recipient_alias) AS redirected,
    EXISTS (SELECT 1 FROM suppression) AS suppressed,
    EXISTS (SELECT 1 FROM pace WHERE rests_until IS NOT NULL) AS resting,
    true AS waiting,
    coalesce(sum(messages), 0)::bigint AS messages, coalesce(sum(bytes), 0)::bigint AS bytes
FROM tally WHERE queue = 0 AND state < 3

-- taken_lanes --
-- Those of the lanes $1 in which a new message could not start: see `blockers`. It stands behind all that have a place.
SELECT wanted.lane FROM jsonb_array_elements_text($1::jsonb) AS wanted (lane)
WHERE EXISTS (SELECT 1 FROM message p WHERE p.lane = wanted.lane AND p.lane IS NOT NULL AND p.state IN (0, 2)
    AND NOT p.waiting AND p.lane_pos IS NOT NULL)
OR EXISTS (SELECT 1 FROM message p WHERE p.lane = wanted.lane AND p.lane IS NOT NULL AND p.state = 1
    AND p.era = {this_era})

-- collapsible --
-- What a newer message of the same collapse key, to the same recipient, takes the place of. No edit undoes a deletion.
SELECT newer, {ended}, state, lane_pos AS position, due_at AS due_ms, error_class IS NOT DISTINCT FROM 'rate_limited' AS limited,
    arrived_at IS NOT NULL AS arrived, cancel_requested_at AS asked_ms, claims
FROM {each newer text, its_queue bigint, its_key text, its_recipient text, its_account text, its_thread text}
JOIN message ON queue = its_queue AND collapse_key = its_key AND recipient = its_recipient AND account = its_account
    AND thread IS NOT DISTINCT FROM its_thread AND collapse_key IS NOT NULL AND state < 3 AND op < 2
ORDER BY message.seq FOR UPDATE OF message

-- may_have_arrived --
-- Whether the platform may have a message. Asked once it is locked: whoever was waited for may have written just that.
SELECT message.seq, {maybe_arrived} FROM {each seq bigint} JOIN message ON message.seq = asked.seq

-- unbegun --
-- The message that a change is about, where surely nobody has any of it yet.
SELECT change, {ended}, payload FROM {each change text, about text, whole boolean} JOIN message ON message.id = about
WHERE state = 0 AND op = 0 AND claims = 0 AND charged = 0 AND part_next = 0 AND replay_of IS NULL
    AND (whole OR NOT EXISTS (SELECT 1 FROM message_blob WHERE message = seq))
FOR UPDATE OF message

-- rewrite --
UPDATE message SET content = asked.new_content, payload = asked.new_payload, content_size = asked.size,
    prepared = asked.is_prepared, part_count = asked.parts, splitter = asked.cut_by, recipient = asked.spelt
FROM {each seq bigint, new_content text, new_payload bigint, size bigint, is_prepared boolean, parts bigint, cut_by text,
    spelt text} WHERE message.seq = asked.seq

-- supersede --
UPDATE message SET state = 6, terminal_reason = asked.reason, completed_at = asked.at, waiting = false
FROM {each seq bigint, reason text, at bigint} WHERE message.seq = asked.seq AND +state IN (0, 2)
RETURNING message.seq

-- keep_wait --
-- A wait that a platform asked for holds for what takes the place of a message too.
UPDATE message SET due_at = greatest(message.due_at, asked.until), error_class = 'rate_limited'
FROM {each about bigint, until bigint} JOIN message older ON older.seq = about
WHERE message.queue = older.queue AND message.collapse_key = older.collapse_key AND message.recipient = older.recipient
    AND message.account = older.account AND message.thread IS NOT DISTINCT FROM older.thread
    AND message.collapse_key IS NOT NULL AND message.state < 3 AND +message.state = 0

-- superseded_by --
-- After a commit whose answer was lost: whose places messages took.
SELECT history.actor, {ended}, message.terminal_reason FROM {each its_actor text, at_ms bigint}
JOIN history ON history.at = asked.at_ms AND history.act = 'superseded' AND history.actor = asked.its_actor
JOIN message ON message.seq = history.message AND +message.state = 6

-- take_place --
UPDATE message SET floating = true, admitted_seq = asked.position, due_at = asked.due, error_class = asked.class
FROM {each id text, position bigint, due bigint, class text} WHERE message.id = asked.id

-- import_known --
SELECT ledger.source_id, message_id FROM {each source_id text, of_system text}
JOIN import_ledger ledger ON ledger.system = asked.of_system AND ledger.source_id = asked.source_id

-- import_add --
-- An alias may be known already; a source id was looked for just before.
INSERT INTO import_ledger (system, source_id, message_id, outcome, at)
SELECT system, source_id, message_id, outcome, at
FROM {each system text, source_id text, message_id text, outcome text, at bigint}
ON CONFLICT DO NOTHING

-- sync --
-- A commit that writes nothing waits for nothing: neither for the disk nor for a standby. One that writes waits for all
-- that is in the log before it. A message in the log is the one thing to write that locks nothing and takes no right.
SELECT set_config('synchronous_commit',
    CASE WHEN current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true),
    pg_logical_emit_message(true, 'pillarbox', '')

-- import_put --
-- What was enqueued by this very transaction takes the state and the counts that it comes with.
UPDATE message SET state = asked.becomes, claims = asked.attempts, charged = asked.attempts, claimed_at = asked.claimed,
    completed_at = asked.completed, terminal_reason = asked.reason, error_class = asked.class, last_error = asked.error,
    floating = floating OR asked.floats
FROM {each id text, becomes smallint, attempts integer, claimed bigint, completed bigint, reason text, class text,
    error text, floats boolean}
WHERE message.id = asked.id AND state = 0 AND claims = 0
RETURNING message.id, message.seq

-- import_attempt --
-- Its last attempt, under another system: no lease of ours is empty.
INSERT INTO attempt (message, number, message_id, lease, outcome, error_class, reason, charged, claimed_at, began_at,
    ended_at, to_state, due_at)
SELECT message, number, id, '', coalesce(class, 'transient'), class, reason, 1, at, at, at, 0, due
FROM {each message bigint, number bigint, id text, class text, reason text, at bigint, due bigint}

-- seq_of --
SELECT message.id, seq FROM {each id text} JOIN message ON message.id = asked.id

-- payload --
INSERT INTO payload (content) VALUES ($1) RETURNING id

-- payload_content --
SELECT content FROM payload WHERE id = $1

-- part_content --
SELECT content FROM part WHERE message = $1 AND number = $2

-- parts_before --
SELECT receipt, state FROM part WHERE message = $1 AND number < $2 ORDER BY number

-- parts_delivered --
SELECT asked.message, (SELECT count(*) FROM part WHERE part.message = asked.message AND state = 3)
FROM {each message bigint}

-- part_end --
-- A part that arrived stays so, with its first receipt.
UPDATE part SET state = becomes, receipt = asked.its_receipt, reason = asked.why,
    delivered_at = CASE WHEN becomes = 3 THEN asked.at END
FROM {each message bigint, number bigint, becomes smallint, its_receipt text, why text, at bigint}
WHERE part.message = asked.message AND part.number = asked.number AND state <> 3

-- part_ended --
SELECT part.message FROM {each message bigint, number bigint, at bigint}
JOIN part ON part.message = asked.message AND part.number = asked.number AND state = 3 AND delivered_at = asked.at

-- key --
SELECT known.key, digest, message_id FROM {each key text, tenant text}
JOIN message_key known ON known.tenant = asked.tenant AND known.key = asked.key

-- key_insert --
INSERT INTO message_key (tenant, key, digest, message_id)
SELECT tenant, key, digest, message_id FROM {each tenant text, key text, digest bytea, message_id text}

-- queue_of --
SELECT id FROM queue WHERE tenant = $1 AND channel = $2

-- queues_lock --
-- Who makes a queue and who orders something for all of a channel's wait for each other: neither would see the other's.
-- By a row that counts nothing, in a table in which whoever sends may write.
INSERT INTO tally (queue, state, share) VALUES (0, 0, -1)
ON CONFLICT (queue, state, share) DO UPDATE SET messages = 0

-- queue_insert --
-- $3 now. A pause of the channel for every tenant holds for one that comes later.
INSERT INTO queue (tenant, channel, paused_at, paused_until, pause_reason, paused_by)
SELECT $1, $2, p.paused_at, p.paused_until, p.pause_reason, p.paused_by
FROM (SELECT 1) one LEFT JOIN channel_pause p ON p.channel = $2 AND (p.paused_until IS NULL OR p.paused_until > $3)
RETURNING id

-- queue_name --
SELECT tenant, channel FROM queue WHERE id = $1

-- policy_of --
SELECT id FROM policy WHERE spec = $1

-- policy_insert --
INSERT INTO policy (spec) VALUES ($1) RETURNING id

-- policy_spec --
SELECT spec FROM policy WHERE id = $1

-- tally_add --
-- In one order for all, so that none waits for one that waits for it.
INSERT INTO tally (queue, state, share, messages, bytes)
SELECT queue, state, pg_backend_pid() % 64, messages, bytes
FROM {each queue bigint, state smallint, messages bigint, bytes bigint} ORDER BY queue, state
ON CONFLICT (queue, state, share) DO UPDATE SET messages = tally.messages + excluded.messages,
    bytes = tally.bytes + excluded.bytes

-- active_channel --
SELECT coalesce(sum(messages), 0)::bigint FROM tally
WHERE state < 3 AND queue IN (SELECT id FROM queue WHERE channel = $1)

-- active_tenant --
SELECT coalesce(sum(messages), 0)::bigint FROM tally
WHERE state < 3 AND queue IN (SELECT id FROM queue WHERE tenant = $1)

-- active_recipient --
SELECT messages FROM recipient_tally WHERE queue = $1 AND recipient = $2

-- leased_in_queue --
SELECT coalesce(sum(messages), 0)::bigint FROM tally WHERE queue = $1 AND state = 1

-- pace_lock --
-- The row of a whole channel: whoever has it is alone with the channel's others.
INSERT INTO pace (channel, recipient) VALUES ($1, '')
ON CONFLICT (channel, recipient) DO UPDATE SET channel = excluded.channel
RETURNING log

-- pace_over --
-- What does not count any more, a hundred at a time.
DELETE FROM pace WHERE channel = $1 AND recipient IN (
    SELECT recipient FROM pace WHERE channel = $1 AND over_at < $2 AND recipient <> '' LIMIT 100)

-- pace_of --
SELECT recipient, log, rests_until FROM jsonb_array_elements_text($2::jsonb) AS given (value) JOIN pace ON channel = $1 AND recipient = given.value

-- pace_set --
INSERT INTO pace (channel, recipient, log, over_at, full_until)
SELECT channel, recipient, log, over_at, full_until
FROM {each channel text, recipient text, log text, over_at bigint, full_until bigint}
ON CONFLICT (channel, recipient) DO UPDATE SET log = excluded.log, over_at = greatest(pace.over_at, excluded.over_at),
    full_until = excluded.full_until

-- pace_rest --
-- Who rests longer already does so still.
INSERT INTO pace (channel, recipient, over_at, rests_until, reason)
SELECT channel, recipient, until, until, reason FROM {each channel text, recipient text, until bigint, reason text}
ON CONFLICT (channel, recipient) DO UPDATE SET over_at = greatest(pace.over_at, excluded.over_at),
    rests_until = excluded.rests_until, reason = excluded.reason
WHERE pace.rests_until IS NULL OR pace.rests_until < excluded.rests_until

-- pace_resume --
UPDATE pace SET rests_until = NULL, reason = NULL WHERE channel = $1 AND rests_until IS NOT NULL

-- pace_retry --
-- Who wants a message to go now ends its recipient's rest.
UPDATE pace SET rests_until = NULL, reason = NULL
FROM {each its_seq bigint} JOIN message ON message.seq = its_seq JOIN queue ON queue.id = message.queue
WHERE pace.channel = queue.channel AND pace.recipient = message.recipient AND rests_until IS NOT NULL

-- resting --
SELECT DISTINCT channel FROM pace WHERE rests_until IS NOT NULL

-- due_rows --
-- A message that somebody else changes is left to them: whoever keeps to a pace waits for no message.
SELECT seq, recipient FROM message WHERE queue = $1 AND priority = $2 AND state = 0 AND NOT waiting AND lane_pos IS NOT NULL AND lost < 2 AND due_at <= $3
ORDER BY due_at, seq LIMIT $4 FOR UPDATE SKIP LOCKED

-- suspect_rows --
SELECT seq, recipient FROM message WHERE queue = $1 AND state = 0 AND NOT waiting AND lane_pos IS NOT NULL AND lost >= 2 AND due_at <= $2
ORDER BY due_at, seq LIMIT $3 FOR UPDATE SKIP LOCKED

-- due_one --
SELECT seq, recipient FROM message WHERE queue = $1 AND id = $2 AND state = 0 AND NOT waiting AND lane_pos IS NOT NULL AND due_at <= $3 LIMIT $4 FOR UPDATE SKIP LOCKED

-- put_off --
UPDATE message SET due_at = asked.due FROM {each seq bigint, due bigint}
WHERE message.seq = asked.seq AND state = 0 AND NOT waiting

-- gates --
-- Without those whose pause is over, by $1.
SELECT id AS queue, paused_at AS paused_ms, paused_until AS until_ms, strikes, reopened_at AS reopened_ms FROM queue
WHERE (paused_at IS NOT NULL OR strikes > 0 OR reopened_at IS NOT NULL)
    AND (paused_until IS NULL OR paused_until > $1 OR strikes > 0 OR reopened_at IS NOT NULL)

-- gate_pause --
-- An open-ended pause is a person's, and a longer one may be: neither is shortened, or called by another's name. Of
-- several for one queue the last says why. Of an outage, what was under way when it began is no second strike.
UPDATE queue SET paused_at = CASE WHEN paused_until > pause.until THEN paused_at ELSE pause.at END,
    pause_reason = CASE WHEN paused_until > pause.until THEN pause_reason ELSE pause.reason END,
    paused_by = CASE WHEN paused_until > pause.until THEN paused_by ELSE pause.actor END,
    paused_until = CASE WHEN pause.until IS NOT NULL THEN greatest(pause.until, coalesce(paused_until, 0)) END,
    strikes = queue.strikes + CASE WHEN queue.strikes > 0 AND paused_until > pause.at THEN 0 ELSE pause.strike END
FROM (
    SELECT queue, max(at) AS at, CASE WHEN bool_and(until IS NOT NULL) THEN max(until) END AS until,
        (array_agg(reason ORDER BY ord DESC))[1] AS reason, max(actor) AS actor, max(strike) AS strike
    FROM {each queue bigint, at bigint, until bigint, reason text, actor text, strike integer} GROUP BY queue) pause
WHERE queue.id = pause.queue AND (paused_at IS NULL OR paused_until IS NOT NULL)

-- gate_clear --
-- It answered. A pause that is still on runs out by itself; one without end is not ended by what was under way before.
UPDATE queue SET strikes = 0, reopened_at = at FROM {each queue bigint, at bigint}
WHERE id = asked.queue AND strikes > 0 AND (paused_at IS NULL OR paused_until IS NOT NULL)

-- gate_hold --
-- Of two who count what is under way, to lease what is left, one has the queue until it is committed.
SELECT id FROM queue WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED

-- gate_open --
-- It is wholly open again; a pause that has run out is forgotten with that.
UPDATE queue SET reopened_at = NULL, paused_at = NULL, paused_until = NULL, pause_reason = NULL, paused_by = NULL
WHERE id = $1 AND (paused_at IS NULL OR paused_until <= $2)

-- redirect_end --
-- What is an address has not moved, whatever was said before.
DELETE FROM recipient_alias WHERE queue = $1 AND recipient = $2

-- redirect_on --
UPDATE recipient_alias SET address = $3 WHERE queue = $1 AND address = $2

-- redirect_put --
INSERT INTO recipient_alias (queue, recipient, address, at) VALUES ($1, $2, $3, $4)
ON CONFLICT (queue, recipient) DO UPDATE SET address = excluded.address, at = excluded.at

-- redirect_of --
SELECT asked.seq, address FROM {each seq bigint, in_queue bigint, asked_for text}
JOIN recipient_alias moved ON moved.queue = asked.in_queue AND moved.recipient = asked.asked_for

-- readdress --
UPDATE message SET recipient = asked.address FROM {each seq bigint, held_lease bytea, address text}
WHERE message.seq = asked.seq AND +state = 1 AND lease = asked.held_lease

-- redirect_forget --
DELETE FROM recipient_alias WHERE recipient = $3 AND queue IN (SELECT id FROM queue WHERE tenant = $1 AND channel = $2)
RETURNING queue

-- suppress --
INSERT INTO suppression (queue, recipient, at, reason)
SELECT queue, recipient, at, reason FROM {each queue bigint, recipient text, at bigint, reason text} ON CONFLICT DO NOTHING

-- suppressed_of --
SELECT asked.seq, reason FROM {each seq bigint, in_queue bigint, asked_for text}
JOIN suppression refused ON refused.queue = asked.in_queue AND refused.recipient = asked.asked_for

-- suppressed_clear --
-- $3 the recipient, NULL for all.
DELETE FROM suppression WHERE ($3::text IS NULL OR recipient = $3)
    AND queue IN (SELECT id FROM queue WHERE tenant = $1 AND channel = $2)
RETURNING queue

-- queue_pause --
-- $1 the tenant, NULL for all.
UPDATE queue SET paused_at = $3, paused_until = $4, pause_reason = $5, paused_by = $6
WHERE channel = $2 AND ($1::text IS NULL OR tenant = $1)
RETURNING id

-- channel_pause --
INSERT INTO channel_pause (channel, paused_at, paused_until, pause_reason, paused_by) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (channel) DO UPDATE SET paused_at = excluded.paused_at, paused_until = excluded.paused_until,
    pause_reason = excluded.pause_reason, paused_by = excluded.paused_by

-- channel_resume --
DELETE FROM channel_pause WHERE channel = $1 RETURNING channel

-- try_again --
-- What was paused without end by an answer: by $3 or $4.
UPDATE queue SET paused_until = $2, strikes = greatest(strikes, 1)
WHERE channel = $1 AND paused_by IN ($3, $4) AND paused_at IS NOT NULL AND paused_until IS NULL
RETURNING id

-- queue_resume --
-- $1 the tenant, NULL for all.
UPDATE queue SET paused_at = NULL, paused_until = NULL, pause_reason = NULL, paused_by = NULL, strikes = 0,
    reopened_at = NULL
WHERE channel = $2 AND ($1::text IS NULL OR tenant = $1)
RETURNING id

-- later --
SELECT seq FROM message WHERE queue = $1 AND state = 0 AND lane_pos IS NULL AND due_at <= $2
ORDER BY due_at, seq LIMIT $3 FOR UPDATE SKIP LOCKED

-- sequence --
-- Positions are drawn where they are taken: others draw numbers meanwhile.
SELECT 0

-- sequence_set --
SELECT $1::bigint

-- take_position --
UPDATE message SET admitted_seq = drawn.position, floating = true
FROM (SELECT seq, nextval(pg_get_serial_sequence('message', 'seq')) AS position
    FROM {each seq bigint, place bigint} ORDER BY ord) drawn
WHERE message.seq = ANY (ARRAY[drawn.seq])

-- claim --
-- $1 lease, $2 until when, $3 worker, $4 now, $5 expired by, $6 queue, $7 to $10 the priorities in their turn, $11 how many.
WITH candidate AS MATERIALIZED (
    SELECT * FROM (SELECT * FROM (SELECT c.seq, c.lane, c.lane_pos, c.expires_at FROM message c
        WHERE c.queue = $6 AND c.priority = $7::smallint AND {startable} AND c.lost < 2
        ORDER BY c.due_at, c.seq LIMIT $11 FOR UPDATE SKIP LOCKED) turn1
    UNION ALL SELECT * FROM (SELECT c.seq, c.lane, c.lane_pos, c.expires_at FROM message c
        WHERE c.queue = $6 AND c.priority = $8::smallint AND {startable} AND c.lost < 2
        ORDER BY c.due_at, c.seq LIMIT $11 FOR UPDATE SKIP LOCKED) turn2
    UNION ALL SELECT * FROM (SELECT c.seq, c.lane, c.lane_pos, c.expires_at FROM message c
        WHERE c.queue = $6 AND c.priority = $9::smallint AND {startable} AND c.lost < 2
        ORDER BY c.due_at, c.seq LIMIT $11 FOR UPDATE SKIP LOCKED) turn3
    UNION ALL SELECT * FROM (SELECT c.seq, c.lane, c.lane_pos, c.expires_at FROM message c
        WHERE c.queue = $6 AND c.priority = $10::smallint AND {startable} AND c.lost < 2
        ORDER BY c.due_at, c.seq LIMIT $11 FOR UPDATE SKIP LOCKED) turn4
    LIMIT $11) turns WHERE {unpaused}),
{taken}

-- claim_suspect --
WITH candidate AS MATERIALIZED (
    SELECT c.seq, c.lane, c.lane_pos, c.expires_at FROM message c
    WHERE c.queue = $6 AND {startable} AND c.lost >= 2 AND {unpaused}
    ORDER BY c.due_at, c.seq LIMIT 1 FOR UPDATE SKIP LOCKED),
{taken}

-- claim_only --
WITH candidate AS MATERIALIZED (
    SELECT c.seq, c.lane, c.lane_pos, c.expires_at FROM message c
    WHERE c.queue = $6 AND {startable} AND c.id = $7 AND {unpaused} FOR UPDATE SKIP LOCKED),
{taken}

-- claim_again --
-- After a commit whose answer was lost: what that commit leased.
SELECT {leased} FROM message
WHERE era = {this_era} AND worker = $2 AND lease_until IS NOT NULL AND state = 1 AND lease = $1

-- park --
-- Moves a blocked lane's backlog out of the due index in bounded steps, so that a claim never scans it (LA3).
WITH candidate AS MATERIALIZED (
    SELECT seq, lane, lane_pos FROM message
    WHERE queue = $1 AND priority = $2 AND due_at <= $3 AND state = 0 AND NOT waiting AND lost < 2
        AND lane_pos IS NOT NULL
    ORDER BY due_at, seq LIMIT $4 FOR UPDATE SKIP LOCKED),
blocked AS MATERIALIZED ({blockers}),
certain AS MATERIALIZED ({certain})
UPDATE message SET waiting = true
FROM blocked WHERE message.seq = ANY (ARRAY[blocked.seq]) AND (
    blocked.blocker IN (SELECT seq FROM certain) OR blocked.blocker IN (SELECT seq FROM candidate))
RETURNING message.seq

-- heads --
SELECT due, level FROM ({soonest}) heads

-- horizon --
-- When something in queue $1 is due next: suspects aside, also what has no place yet; and suspects. Asked after what was
-- leased: what was committed since the overview may have been leased, and what was heard before that was sent counts too.
SELECT min(due) AS due_ms, (SELECT min(due_at) FROM message WHERE queue = $1 AND state = 0 AND NOT waiting AND lost >= 2
    AND lane_pos IS NOT NULL) AS suspect_ms,
    EXISTS (SELECT 1 FROM recipient_alias) AS redirected, EXISTS (SELECT 1 FROM suppression) AS suppressed
FROM ({soonest}
    UNION ALL SELECT min(due_at), -1 FROM message WHERE queue = $1 AND state = 0 AND lane_pos IS NULL) soonest

-- bury_unreadable --
UPDATE message SET state = 4, terminal_reason = 'unreadable', error_class = 'permanent', last_error = $3,
    completed_at = $4, charged = charged + 1, lease = NULL, lease_until = NULL
WHERE seq = $1 AND +state = 1 AND lease = $2

-- expire --
WITH past AS MATERIALIZED (
    SELECT seq FROM message WHERE state = 0 AND expires_at IS NOT NULL AND expires_at < $1
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE message SET state = 5, terminal_reason = 'expired', completed_at = $1, waiting = false
FROM past WHERE message.seq = past.seq
RETURNING {ended}

-- ended_before --
-- After a commit whose answer was lost: what that commit ended, because its time was over or nobody else may send it.
SELECT {ended} FROM message WHERE state = $1 AND state > 2 AND completed_at = $2 AND terminal_reason = $3

-- abandon --
-- Not final, not started, and the process that accepted them is gone: nobody else sends them (DK1).
WITH left_over AS MATERIALIZED (
    SELECT seq FROM message WHERE state = 0 AND accepted_by IS NOT NULL AND accepted_by = $1 LIMIT $2
    FOR UPDATE SKIP LOCKED)
UPDATE message SET state = 4, terminal_reason = 'non_final', completed_at = $3, waiting = false,
    last_error = 'the process that accepted it was gone before it was sent'
FROM left_over WHERE message.seq = left_over.seq
RETURNING {ended}

-- order_row --
-- A message as orders see it. Whoever reads it so keeps it to the transaction's end.
SELECT message.id, message.seq, message.state, message.arrived_at IS NOT NULL AS arrived, message.queue, queue.tenant,
    queue.channel, message.recipient, message.lane, message.content_size, message.expires_at AS expires_ms,
    message.completed_at AS completed_ms, message.policy, message.part_count, message.part_next,
    (SELECT count(*) FROM part WHERE part.message = message.seq AND part.number < message.part_next AND part.state = 4)
        AS parts_dead,
    message.token_epoch, message.key, message.payload,
    message.content IS NOT NULL OR message.payload IS NOT NULL AS has_content, message.replay_of
FROM {each id text} JOIN message ON message.id = asked.id JOIN queue ON queue.id = message.queue
ORDER BY message.seq FOR UPDATE OF message

-- cancel --
UPDATE message SET state = 6, terminal_reason = asked.reason, completed_at = asked.at, waiting = false
FROM {each seq bigint, reason text, at bigint}
WHERE message.seq = asked.seq AND +state IN ({cancel_states})
RETURNING message.seq

-- asked_to_supersede --
-- Found where a newer message, and no person, asked for the end of what is being sent.
SELECT message.seq, {maybe_arrived} FROM {each seq bigint} JOIN message ON message.seq = asked.seq
WHERE EXISTS (SELECT 1 FROM history h WHERE h.message = asked.seq AND h.act = 'supersede requested')
    AND NOT EXISTS (SELECT 1 FROM history h WHERE h.message = asked.seq AND h.act = 'cancel requested')

-- cancel_request --
UPDATE message SET cancel_requested_at = coalesce(cancel_requested_at, asked.at)
FROM {each seq bigint, at bigint} WHERE message.seq = asked.seq AND +state = 1
RETURNING message.seq

-- retry --
-- A held message that gave up its place comes back with a new one at the tail, given by the claim that finds it. One
-- past its time would end at once: it needs a new one; anew says whether it gets it (until).
UPDATE message SET state = 0, due_at = asked.at, terminal_reason = NULL, completed_at = NULL,
    expires_at = CASE WHEN anew THEN asked.until ELSE expires_at END
FROM {each seq bigint, at bigint, anew boolean, until bigint}
WHERE message.seq = asked.seq AND +state IN ({retry_states})
    AND (+state = 0 OR anew OR expires_at IS NULL OR expires_at >= asked.at)
RETURNING message.seq

-- bury --
UPDATE message SET state = 4, terminal_reason = asked.reason, completed_at = asked.at
FROM {each seq bigint, reason text, at bigint, held_before bigint}
WHERE message.seq = asked.seq AND +state IN ({bury_states}) AND completed_at < asked.held_before
RETURNING message.seq

-- resolve --
-- part: that the verdict is about; goes_on: to the next part; to_tail: takes a new place at the tail of its lane; copies:
-- adds to its resend epoch (below epochs); anew: whether it gets a new time to live, until when.
UPDATE message SET state = becomes, due_at = CASE WHEN becomes = 0 THEN asked.at ELSE due_at END,
    completed_at = CASE WHEN becomes = 0 THEN NULL ELSE asked.at END,
    receipt = coalesce(asked.its_receipt, receipt), terminal_reason = asked.reason,
    error_class = CASE WHEN to_tail THEN error_class ELSE asked.class END,
    last_error = CASE WHEN to_tail THEN last_error ELSE asked.error END,
    part_next = part_next + goes_on::integer, charged = CASE WHEN goes_on THEN 0 ELSE charged END,
    lost = CASE WHEN to_tail THEN lost ELSE 0 END, floating = floating OR to_tail,
    admitted_seq = CASE WHEN to_tail THEN NULL ELSE admitted_seq END, token_epoch = token_epoch + copies::integer,
    expires_at = CASE WHEN anew AND becomes = 0 THEN asked.until ELSE expires_at END
FROM {each seq bigint, becomes smallint, at bigint, part bigint, its_receipt text, reason text, class text, error text,
    goes_on boolean, to_tail boolean, copies boolean, epochs integer, anew boolean, until bigint}
WHERE message.seq = asked.seq AND +state IN ({resolve_states}) AND part_next = asked.part
    AND token_epoch + copies::integer < epochs
    AND (becomes <> 0 OR anew OR expires_at IS NULL OR expires_at >= asked.at)
RETURNING message.seq

-- replays --
-- What an earlier replay, or a replay of that one, has made of it: on its way, or delivered.
SELECT asked.id, heir.id FROM {each id text} CROSS JOIN LATERAL (
    WITH RECURSIVE heir (id, state) AS (
        SELECT message.id, state FROM message WHERE replay_of = asked.id AND replay_of IS NOT NULL
        UNION SELECT m.id, m.state FROM heir JOIN message m ON m.replay_of = heir.id AND m.replay_of IS NOT NULL)
    SELECT heir.id FROM heir WHERE state < 4 LIMIT 1) heir

-- replay_first --
-- The message that a replay, or the replay of a replay, goes back to; the oldest that is still known of.
SELECT asked.id, origin.first FROM {each id text} CROSS JOIN LATERAL (
    WITH RECURSIVE origin (id, earlier, steps) AS (
        SELECT message.id, replay_of, 0 FROM message WHERE message.id = asked.id
        UNION ALL SELECT m.id, m.replay_of, steps + 1 FROM origin JOIN message m ON m.id = origin.earlier)
    SELECT coalesce(earlier, origin.id) AS first FROM origin ORDER BY steps DESC LIMIT 1) origin

-- part_progress --
-- How many parts are delivered, and the number behind the last of them.
SELECT asked.message, done, behind FROM {each message bigint} CROSS JOIN LATERAL (
    SELECT count(*) AS done, coalesce(max(number) + 1, 0) AS behind FROM part
    WHERE part.message = asked.message AND state = 3) progress

-- replay --
-- own: under a dedupe token of its own; done: parts that are. Without its key, which is the original's; at the tail of its
-- lane; its content is the original's own where it is kept apart.
INSERT INTO message (id, queue, recipient, policy, created_at, max_attempts, kind, op, metadata, due_at, expires_at,
    prepared, part_count, part_next, splitter, content, payload, content_size, collapse_key, replay_of, token_id,
    token_epoch, {carried})
SELECT new_id, queue, recipient, policy, at, max_attempts, kind, op, metadata, at, until, prepared, part_count, done,
    splitter, content, payload, content_size, collapse_key, message.id,
    CASE WHEN NOT own THEN coalesce(token_id, message.id) END, CASE WHEN own THEN 0 ELSE token_epoch END, {carried}
FROM {each id text, new_id text, at bigint, own boolean, until bigint, done bigint} JOIN message ON message.id = asked.id
WHERE state IN ({replay_states}) AND (content IS NOT NULL OR payload IS NOT NULL)
ORDER BY ord
RETURNING replay_of, seq

-- replay_parts --
-- Those that are delivered go first, so that what is left goes out in one run; where they go anew, none of them counts.
-- When they were delivered is the original's story.
INSERT INTO part (message, number, state, content, receipt)
SELECT copy, row_number() OVER (PARTITION BY copy ORDER BY state <> 3 AND NOT anew, number) - 1,
    CASE WHEN state = 3 AND NOT anew THEN 3 ELSE 0 END, content, CASE WHEN state = 3 AND NOT anew THEN receipt END
FROM {each original bigint, copy bigint, anew boolean} JOIN part ON part.message = asked.original

-- blob_use --
-- What is there is held until the end, so that nobody deletes it meanwhile; others may use it too, and wait for nobody.
SELECT 1 FROM blob WHERE digest = $1::bytea FOR KEY SHARE

-- blob --
-- Somebody else may have stored it since it was looked for.
INSERT INTO blob (digest, size, content) VALUES ($1::bytea, $2::bigint, $3::bytea)
ON CONFLICT (digest) DO UPDATE SET size = excluded.size

-- message_blob --
INSERT INTO message_blob (message, digest) SELECT message, digest FROM {each message bigint, digest bytea}

-- replay_blobs --
INSERT INTO message_blob (message, digest)
SELECT copy, digest FROM {each original bigint, copy bigint} JOIN message_blob b ON b.message = asked.original

-- replay_mirror --
-- The record of a delivery that did not happen becomes the record of the one that may.
UPDATE mirror SET message_id = asked.copy FROM {each original text, copy text}
WHERE message_id = asked.original AND delivered_at IS NULL AND acknowledged_at IS NULL

-- purge --
DELETE FROM message USING {each seq bigint} WHERE message.seq = asked.seq AND +state IN ({purge_states})
RETURNING message.seq

-- purge_attempts --
DELETE FROM attempt USING {each message bigint} WHERE attempt.message = asked.message

-- history_add --
INSERT INTO history (message, message_id, at, act, actor, from_state, to_state, reason)
SELECT message, id, at, act, actor, before, after, reason
FROM {each message bigint, id text, at bigint, act text, actor text, before smallint, after smallint, reason text}
ORDER BY ord

-- act_of --
SELECT message_id, act FROM {each id text, at_ms bigint, its_actor text}
JOIN history ON message_id = asked.id AND at = asked.at_ms AND actor = asked.its_actor

-- audit_of --
SELECT id FROM audit WHERE at = $1 AND actor = $2 AND act = $3 AND subject = $4

-- audit_add --
INSERT INTO audit (at, actor, act, subject, reason, detail)
SELECT at, actor, act, subject, reason, detail
FROM {each at bigint, actor text, act text, subject text, reason text, detail text} ORDER BY ord

-- prune_pick --
SELECT seq, tenant, key, payload, content_size, message.queue, message.id, completed_at AS completed_ms
FROM message JOIN queue ON queue.id = message.queue
WHERE state = $1 AND state > 2 AND completed_at < $2 ORDER BY completed_at LIMIT $3 FOR UPDATE OF message SKIP LOCKED

-- prune_message --
DELETE FROM message USING {each seq bigint, its_state smallint, before bigint}
WHERE message.seq = asked.seq AND state = asked.its_state AND completed_at < asked.before
RETURNING message.seq

-- mirror_outlives --
-- A record outlives its message: its own retention counts from the delivery.
UPDATE mirror SET delivered_at = asked.at FROM {each message text, at bigint} WHERE message_id = asked.message

-- mirror_delete --
DELETE FROM mirror USING {each message text} WHERE message_id = asked.message

-- scrub_pick --
SELECT seq, payload, content_size, queue, completed_at AS completed_ms FROM message
WHERE state = $1 AND state > 2 AND completed_at >= $2 AND completed_at < $3 AND (content IS NOT NULL OR payload IS NOT NULL)
ORDER BY completed_at LIMIT $4 FOR UPDATE

-- scrub --
UPDATE message SET content = NULL, payload = NULL, content_size = 0 FROM {each seq bigint} WHERE message.seq = asked.seq

-- scrub_parts --
-- What became of each part is told for as long as its message is.
UPDATE part SET content = NULL FROM {each message bigint} WHERE part.message = asked.message

-- meta_value --
SELECT value FROM meta WHERE key = $1

-- meta_set --
INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- meta_put --
INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING key

-- meta_replace --
UPDATE meta SET value = $3 WHERE key = $1 AND value = $2 RETURNING key

-- payload_turn --
-- Who lets go of a content waits for others who do. Who makes a copy of a message that has it keeps that message.
SELECT payload.id FROM {each id bigint} JOIN payload ON payload.id = asked.id ORDER BY ord
FOR NO KEY UPDATE OF payload

-- prune_payload --
DELETE FROM payload USING {each id bigint} WHERE payload.id = asked.id
    AND NOT EXISTS (SELECT 1 FROM message WHERE payload = asked.id AND payload IS NOT NULL)

-- prune_parts --
DELETE FROM part USING {each message bigint} WHERE part.message = asked.message

-- prune_attempts --
DELETE FROM attempt USING {each message bigint} WHERE attempt.message = asked.message AND NOT kept

-- prune_blobs --
DELETE FROM message_blob USING {each message bigint} WHERE message_blob.message = asked.message
RETURNING message_blob.message, digest

-- blob_turn --
-- Who lets go of a file waits for others who do, and for nobody who uses it.
SELECT blob.digest FROM {each digest bytea} JOIN blob ON blob.digest = asked.digest ORDER BY ord
FOR NO KEY UPDATE OF blob

-- blob_hold --
SELECT blob.digest FROM {each digest bytea} JOIN blob ON blob.digest = asked.digest ORDER BY ord
FOR UPDATE OF blob SKIP LOCKED

-- blob_drop --
DELETE FROM blob USING {each digest bytea} WHERE blob.digest = asked.digest
    AND NOT EXISTS (SELECT 1 FROM message_blob WHERE message_blob.digest = asked.digest)

-- prune_key --
UPDATE message_key SET expires_at = asked.until FROM {each key text, tenant text, until bigint}
WHERE message_key.tenant = asked.tenant AND message_key.key = asked.key

-- prune_keys --
WITH old AS MATERIALIZED (
    SELECT tenant, key FROM message_key WHERE expires_at IS NOT NULL AND expires_at < $1 LIMIT $2
    FOR UPDATE SKIP LOCKED)
DELETE FROM message_key USING old WHERE message_key.tenant = old.tenant AND message_key.key = old.key
RETURNING 1

-- prune_full_attempts --
WITH old AS MATERIALIZED (
    SELECT a.message, a.number FROM attempt a WHERE a.kept AND a.ended_at < $1
        AND NOT EXISTS (SELECT 1 FROM message m WHERE m.seq = a.message) ORDER BY a.ended_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
DELETE FROM attempt USING old WHERE attempt.message = old.message AND attempt.number = old.number
RETURNING 1

-- prune_history --
WITH old AS MATERIALIZED (
    SELECT h.id FROM history h WHERE h.at < $1
        AND NOT EXISTS (SELECT 1 FROM message m WHERE m.seq = h.message) ORDER BY h.at LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM history USING old WHERE history.id = old.id
RETURNING 1

-- prune_audit --
WITH old AS MATERIALIZED (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM audit USING old WHERE audit.id = old.id
RETURNING 1

-- worker_insert --
INSERT INTO worker (id, host, pid, version, channels, started_at, seen_at, heard_at)
VALUES ($1, $2, $3, $4, $5, $6, $6, $7) RETURNING slot

-- worker_seen --
UPDATE worker SET seen_at = $2, channels = $3 WHERE slot = $1 RETURNING slot

-- worker_delete --
DELETE FROM worker USING {each its_slot bigint} WHERE slot = asked.its_slot

-- mirror_add --
INSERT INTO mirror (key, session_key, text, media, message_id, created_at)
SELECT key, session_key, said, media, message_id, at
FROM {each key text, session_key text, said text, media text, message_id text, at bigint} ORDER BY ord
ON CONFLICT DO NOTHING

-- mirror_rewrite --
UPDATE mirror SET text = said, media = asked.media FROM {each message_id text, said text, media text}
WHERE mirror.message_id = asked.message_id

-- mirror_acknowledge --
UPDATE mirror SET acknowledged_at = $2
WHERE key IN (SELECT jsonb_array_elements_text($1::jsonb)) AND acknowledged_at IS NULL
    AND (delivered_at IS NOT NULL OR EXISTS (
        SELECT 1 FROM message m WHERE m.id = mirror.message_id AND (m.state = 3 OR m.arrived_at IS NOT NULL)))
RETURNING id

-- mirror_prune --
WITH old AS MATERIALIZED (
    SELECT mirror.id FROM mirror LEFT JOIN message m ON m.id = mirror.message_id
    WHERE coalesce(mirror.acknowledged_at, mirror.delivered_at, CASE WHEN m.state = 3 THEN m.completed_at END,
        CASE WHEN m.id IS NULL THEN mirror.created_at END) < $1
    LIMIT $2)
DELETE FROM mirror USING old WHERE mirror.id = old.id
RETURNING 1
