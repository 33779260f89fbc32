-- Text that is not UTF-8: written into the file from outside, or by a fault of the disk. SQLite stores any bytes as
-- text, and one such value in a row keeps every row of a statement from being read. is_text and as_text are functions
-- of ours (store/sqlite/damage.py): whether every value is UTF-8, and the value with U+FFFD for what is not.

-- damaged_messages --
SELECT seq, state FROM message WHERE NOT is_text(
    CAST(id AS BLOB), CAST(lane AS BLOB), CAST(recipient AS BLOB), CAST(account AS BLOB), CAST(thread AS BLOB),
    CAST(target AS BLOB), CAST(splitter AS BLOB), CAST(receipt AS BLOB), CAST(terminal_reason AS BLOB),
    CAST(error_class AS BLOB), CAST(last_error AS BLOB), CAST(key AS BLOB), CAST(collapse_key AS BLOB),
    CAST(group_id AS BLOB), CAST(correlation_id AS BLOB), CAST(origin AS BLOB), CAST(traceparent AS BLOB),
    CAST(metadata AS BLOB), CAST(replay_of AS BLOB), CAST(token_id AS BLOB),
    iif(typeof(content) = 'text', CAST(content AS BLOB), NULL)
)

-- mend_message --
UPDATE message SET
    id = as_text(CAST(id AS BLOB)), lane = as_text(CAST(lane AS BLOB)), recipient = as_text(CAST(recipient AS BLOB)),
    account = as_text(CAST(account AS BLOB)), thread = as_text(CAST(thread AS BLOB)),
    target = as_text(CAST(target AS BLOB)), splitter = as_text(CAST(splitter AS BLOB)),
    receipt = as_text(CAST(receipt AS BLOB)), terminal_reason = as_text(CAST(terminal_reason AS BLOB)),
    error_class = as_text(CAST(error_class AS BLOB)), last_error = as_text(CAST(last_error AS BLOB)),
    key = as_text(CAST(key AS BLOB)), collapse_key = as_text(CAST(collapse_key AS BLOB)),
    group_id = as_text(CAST(group_id AS BLOB)), correlation_id = as_text(CAST(correlation_id AS BLOB)),
    origin = as_text(CAST(origin AS BLOB)), traceparent = as_text(CAST(traceparent AS BLOB)),
    metadata = as_text(CAST(metadata AS BLOB)), replay_of = as_text(CAST(replay_of AS BLOB)),
    token_id = as_text(CAST(token_id AS BLOB)),
    content = iif(typeof(content) = 'text', CAST(content AS BLOB), content)
WHERE seq = ?1

-- mend_attempts --
UPDATE attempt SET
    message_id = as_text(CAST(message_id AS BLOB)), outcome = as_text(CAST(outcome AS BLOB)),
    error_class = as_text(CAST(error_class AS BLOB)), reason = as_text(CAST(reason AS BLOB)),
    receipt = as_text(CAST(receipt AS BLOB)), answer = as_text(CAST(answer AS BLOB))
WHERE NOT is_text(CAST(message_id AS BLOB), CAST(outcome AS BLOB), CAST(error_class AS BLOB), CAST(reason AS BLOB), CAST(receipt AS BLOB), CAST(answer AS BLOB))

-- mend_history --
UPDATE history SET
    message_id = as_text(CAST(message_id AS BLOB)), act = as_text(CAST(act AS BLOB)),
    actor = as_text(CAST(actor AS BLOB)), reason = as_text(CAST(reason AS BLOB))
WHERE NOT is_text(CAST(message_id AS BLOB), CAST(act AS BLOB), CAST(actor AS BLOB), CAST(reason AS BLOB))

-- bury_damaged --
UPDATE message SET state = 4, terminal_reason = 'unreadable', error_class = 'permanent', last_error = ?3,
    completed_at = ?4, charged = charged + 1, waiting = 0
WHERE seq = ?1 AND state = ?2
RETURNING {ended_returned}
