-- entries --
-- Other programs' tables hold what they like: texts come as bytes, and only up to ?1 of them, numbers only where they
-- are numbers. Columns that a table of an earlier version lacks are NULL.
SELECT rowid,
    iif(octet_length(id) <= ?1, CAST(id AS BLOB), NULL) AS id,
    iif(octet_length(status) <= ?1, CAST(status AS BLOB), NULL) AS status,
    iif(octet_length(text) <= ?1, CAST(text AS BLOB), NULL) AS text,
    iif(octet_length(channel_type) <= ?1, CAST(channel_type AS BLOB), NULL) AS channel_type,
    iif(octet_length(channel_id) <= ?1, CAST(channel_id AS BLOB), NULL) AS channel_id,
    iif(octet_length(tenant_id) <= ?1, CAST(tenant_id AS BLOB), NULL) AS tenant_id,
    iif(octet_length(options_json) <= ?1, CAST(options_json AS BLOB), NULL) AS options_json,
    iif(octet_length(origin) <= ?1, CAST(origin AS BLOB), NULL) AS origin,
    format_applied = 1 AS format_applied,
    chunking_applied = 1 AS chunking_applied,
    markdown_fallback_applied = 1 AS markdown_fallback_applied,
    iif(typeof(attempt_count) IN ('integer', 'real'), attempt_count, NULL) AS attempt_count,
    iif(typeof(max_attempts) IN ('integer', 'real'), max_attempts, NULL) AS max_attempts,
    iif(typeof(created_at) IN ('integer', 'real'), created_at, NULL) AS created_at,
    iif(typeof(scheduled_at) IN ('integer', 'real'), scheduled_at, NULL) AS scheduled_at,
    iif(typeof(expire_at) IN ('integer', 'real'), expire_at, NULL) AS expire_at,
    iif(typeof(last_attempt_at) IN ('integer', 'real'), last_attempt_at, NULL) AS last_attempt_at,
    iif(typeof(next_retry_at) IN ('integer', 'real'), next_retry_at, NULL) AS next_retry_at,
    iif(octet_length(last_error) <= ?1, CAST(last_error AS BLOB), NULL) AS last_error,
    iif(octet_length(delivered_message_id) <= ?1, CAST(delivered_message_id AS BLOB), NULL) AS delivered_message_id,
    iif(octet_length(trace_id) <= ?1, CAST(trace_id AS BLOB), NULL) AS trace_id,
    options_json IS NULL AS no_options
FROM ({known}) AS known
ORDER BY known.created_at, known.rowid
