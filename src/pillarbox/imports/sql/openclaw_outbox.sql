-- entries --
-- Other programs' tables hold what they like: texts come as bytes, and only up to ?1 of them, numbers only where they
-- are numbers. Columns that a table of an earlier version lacks are NULL.
SELECT rowid,
    iif(octet_length(id) <= ?1, CAST(id AS BLOB), NULL) AS id,
    iif(octet_length(status) <= ?1, CAST(status AS BLOB), NULL) AS status,
    iif(octet_length(turn_id) <= ?1, CAST(turn_id AS BLOB), NULL) AS turn_id,
    iif(octet_length(channel) <= ?1, CAST(channel AS BLOB), NULL) AS channel,
    iif(octet_length(account_id) <= ?1, CAST(account_id AS BLOB), NULL) AS account_id,
    iif(octet_length(target) <= ?1, CAST(target AS BLOB), NULL) AS target,
    iif(octet_length(dispatch_kind) <= ?1, CAST(dispatch_kind AS BLOB), NULL) AS dispatch_kind,
    iif(octet_length(payload) <= ?1, CAST(payload AS BLOB), NULL) AS payload,
    iif(typeof(queued_at) IN ('integer', 'real'), queued_at, NULL) AS queued_at,
    iif(typeof(attempt_count) IN ('integer', 'real'), attempt_count, NULL) AS attempt_count,
    iif(typeof(next_attempt_at) IN ('integer', 'real'), next_attempt_at, NULL) AS next_attempt_at,
    iif(typeof(last_attempt_at) IN ('integer', 'real'), last_attempt_at, NULL) AS last_attempt_at,
    iif(octet_length(last_error) <= ?1, CAST(last_error AS BLOB), NULL) AS last_error,
    iif(octet_length(terminal_reason) <= ?1, CAST(terminal_reason AS BLOB), NULL) AS terminal_reason
FROM ({known}) AS known
ORDER BY known.queued_at, known.rowid
