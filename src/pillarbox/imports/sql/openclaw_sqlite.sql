-- entries --
-- ?1: the longest JSON that is read. Texts come as bytes, numbers only where they are numbers: other programs' tables
-- hold what they like. One id in two queues is one delivery: done in either, it is done.
SELECT e.rowid, CAST(e.queue_name AS BLOB), CAST(e.id AS BLOB), CAST(e.status AS BLOB),
    iif(octet_length(e.entry_json) <= ?1, CAST(e.entry_json AS BLOB), NULL),
    iif(typeof(e.retry_count) IN ('integer', 'real'), e.retry_count, NULL),
    iif(typeof(e.last_attempt_at) IN ('integer', 'real'), e.last_attempt_at, NULL),
    CAST(e.last_error AS BLOB), CAST(e.recovery_state AS BLOB),
    iif(typeof(e.enqueued_at) IN ('integer', 'real'), e.enqueued_at, NULL),
    EXISTS (SELECT 1 FROM delivery_queue_entries o WHERE o.id = e.id AND o.status IN ('completed', 'delivered')
        AND (o.queue_name = 'outbound' OR o.queue_name GLOB 'outbound-*'))
FROM delivery_queue_entries e
ORDER BY e.enqueued_at, e.rowid
