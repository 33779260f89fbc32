-- entries --
-- Other programs' tables hold what they like: texts come as bytes, and only up to ?1 of them, numbers only where they
-- are numbers. Columns that a table of an earlier version lacks are NULL.
SELECT rowid,
    iif(octet_length(queue_name) <= ?1, CAST(queue_name AS BLOB), NULL) AS queue_name,
    iif(octet_length(id) <= ?1, CAST(id AS BLOB), NULL) AS id,
    iif(octet_length(status) <= ?1, CAST(status AS BLOB), NULL) AS status,
    iif(octet_length(entry_json) <= ?1, CAST(entry_json AS BLOB), NULL) AS entry_json,
    iif(typeof(retry_count) IN ('integer', 'real'), retry_count, NULL) AS retry_count,
    iif(typeof(last_attempt_at) IN ('integer', 'real'), last_attempt_at, NULL) AS last_attempt_at,
    iif(octet_length(last_error) <= ?1, CAST(last_error AS BLOB), NULL) AS last_error,
    iif(octet_length(recovery_state) <= ?1, CAST(recovery_state AS BLOB), NULL) AS recovery_state,
    iif(typeof(enqueued_at) IN ('integer', 'real'), enqueued_at, NULL) AS enqueued_at
FROM ({known}) AS known
ORDER BY known.enqueued_at, known.rowid

-- done --
SELECT iif(octet_length(id) <= ?1, CAST(id AS BLOB), NULL) AS id FROM delivery_queue_entries
WHERE status IN ('completed', 'delivered') AND queue_name IN ('outbound', 'outbound-prepared-v1')
