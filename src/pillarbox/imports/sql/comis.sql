-- entries --
-- Other programs' tables hold what they like: texts come as bytes, and only up to ?1 of them, numbers only where they
-- are numbers. Columns that a table of an earlier version lacks are NULL.
SELECT rowid,
    iif(octet_length(id) <= ?1, CAST(id AS BLOB), NULL),
    iif(octet_length(status) <= ?1, CAST(status AS BLOB), NULL),
    iif(octet_length(text) <= ?1, CAST(text AS BLOB), NULL),
    iif(octet_length(channel_type) <= ?1, CAST(channel_type AS BLOB), NULL),
    iif(octet_length(channel_id) <= ?1, CAST(channel_id AS BLOB), NULL),
    iif(octet_length(tenant_id) <= ?1, CAST(tenant_id AS BLOB), NULL),
    iif(octet_length(options_json) <= ?1, CAST(options_json AS BLOB), NULL),
    iif(octet_length(origin) <= ?1, CAST(origin AS BLOB), NULL),
    format_applied = 1,
    chunking_applied = 1,
    markdown_fallback_applied = 1,
    iif(typeof(attempt_count) IN ('integer', 'real'), attempt_count, NULL),
    iif(typeof(max_attempts) IN ('integer', 'real'), max_attempts, NULL),
    iif(typeof(created_at) IN ('integer', 'real'), created_at, NULL),
    iif(typeof(scheduled_at) IN ('integer', 'real'), scheduled_at, NULL),
    iif(typeof(expire_at) IN ('integer', 'real'), expire_at, NULL),
    iif(typeof(last_attempt_at) IN ('integer', 'real'), last_attempt_at, NULL),
    iif(typeof(next_retry_at) IN ('integer', 'real'), next_retry_at, NULL),
    iif(octet_length(last_error) <= ?1, CAST(last_error AS BLOB), NULL),
    iif(octet_length(delivered_message_id) <= ?1, CAST(delivered_message_id AS BLOB), NULL),
    iif(octet_length(trace_id) <= ?1, CAST(trace_id AS BLOB), NULL),
    options_json IS NULL
FROM ({known}) AS known
ORDER BY created_at, rowid
