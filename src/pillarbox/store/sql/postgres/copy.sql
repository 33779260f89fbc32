-- What moves a whole database into another one. The first two stand for one statement of each table.

-- copy_rows --
SELECT {columns} FROM {table} WHERE ({key}) > ({after}) ORDER BY {key} LIMIT {limit}

-- copy_put --
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {each {typed}} ORDER BY ord

-- copy_pause --
UPDATE queue SET paused_at = at, paused_until = until, pause_reason = reason, paused_by = actor
FROM {each number bigint, at bigint, until bigint, reason text, actor text} WHERE queue.id = asked.number

-- copy_sequences --
-- Numbers that were given are given to nobody else, even where what had them is gone.
SELECT setval(pg_get_serial_sequence('message', 'seq'), greatest(1, (SELECT max(seq) FROM message),
        (SELECT max(admitted_seq) FROM message), (SELECT max(message) FROM history),
        (SELECT max(message) FROM attempt))),
    setval(pg_get_serial_sequence('queue', 'id'), greatest(1, (SELECT max(id) FROM queue))),
    setval(pg_get_serial_sequence('policy', 'id'), greatest(1, (SELECT max(id) FROM policy))),
    setval(pg_get_serial_sequence('payload', 'id'), greatest(1, (SELECT max(id) FROM payload))),
    setval(pg_get_serial_sequence('history', 'id'), greatest(1, (SELECT max(id) FROM history))),
    setval(pg_get_serial_sequence('audit', 'id'), greatest(1, (SELECT max(id) FROM audit))),
    setval(pg_get_serial_sequence('mirror', 'id'), greatest(1, (SELECT max(id) FROM mirror)))
