-- entries --
-- ?1: the longest text and the longest options that are read. Texts come as bytes, numbers only where they are numbers.
SELECT rowid, CAST(id AS BLOB), CAST(status AS BLOB),
    iif(octet_length(text) <= ?1, CAST(text AS BLOB), NULL), CAST(channel_type AS BLOB), CAST(channel_id AS BLOB),
    CAST(tenant_id AS BLOB), iif(octet_length(options_json) <= ?1, CAST(options_json AS BLOB), NULL),
    CAST(origin AS BLOB), format_applied = 1, chunking_applied = 1, markdown_fallback_applied = 1,
    iif(typeof(attempt_count) IN ('integer', 'real'), attempt_count, NULL),
    iif(typeof(max_attempts) IN ('integer', 'real'), max_attempts, NULL),
    iif(typeof(created_at) IN ('integer', 'real'), created_at, NULL),
    iif(typeof(scheduled_at) IN ('integer', 'real'), scheduled_at, NULL),
    iif(typeof(expire_at) IN ('integer', 'real'), expire_at, NULL),
    iif(typeof(last_attempt_at) IN ('integer', 'real'), last_attempt_at, NULL),
    iif(typeof(next_retry_at) IN ('integer', 'real'), next_retry_at, NULL),
    CAST(last_error AS BLOB), CAST(delivered_message_id AS BLOB), CAST(trace_id AS BLOB)
FROM delivery_queue
ORDER BY created_at, rowid
