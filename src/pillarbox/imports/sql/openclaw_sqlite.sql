-- entries --
-- ?1: the longest JSON that is read. Texts come as bytes, numbers only where they are numbers: other programs' tables
-- hold what they like.
SELECT rowid, CAST(queue_name AS BLOB), CAST(id AS BLOB), CAST(status AS BLOB),
    iif(octet_length(entry_json) <= ?1, CAST(entry_json AS BLOB), NULL),
    iif(typeof(retry_count) IN ('integer', 'real'), retry_count, NULL),
    iif(typeof(last_attempt_at) IN ('integer', 'real'), last_attempt_at, NULL),
    CAST(last_error AS BLOB), CAST(recovery_state AS BLOB),
    iif(typeof(enqueued_at) IN ('integer', 'real'), enqueued_at, NULL)
FROM delivery_queue_entries
ORDER BY enqueued_at, rowid

-- done --
SELECT CAST(id AS BLOB) FROM delivery_queue_entries
WHERE status IN ('completed', 'delivered') AND (queue_name = 'outbound' OR queue_name GLOB 'outbound-*')
