-- entries --
-- ?1: the longest JSON that is read. Texts come as bytes, numbers only where they are numbers.
SELECT rowid, CAST(id AS BLOB), CAST(status AS BLOB), CAST(turn_id AS BLOB), CAST(channel AS BLOB),
    CAST(account_id AS BLOB), CAST(target AS BLOB), CAST(dispatch_kind AS BLOB),
    iif(octet_length(payload) <= ?1, CAST(payload AS BLOB), NULL),
    iif(typeof(queued_at) IN ('integer', 'real'), queued_at, NULL),
    iif(typeof(attempt_count) IN ('integer', 'real'), attempt_count, NULL),
    iif(typeof(next_attempt_at) IN ('integer', 'real'), next_attempt_at, NULL),
    iif(typeof(last_attempt_at) IN ('integer', 'real'), last_attempt_at, NULL),
    CAST(last_error AS BLOB), CAST(terminal_reason AS BLOB)
FROM message_outbox
ORDER BY queued_at, rowid
