-- What moves a whole database into another one. The first two stand for one statement of each table.

-- copy_rows --
SELECT {columns} FROM {table} WHERE ({key}) > ({after}) ORDER BY {key} LIMIT {limit}

-- copy_put --
INSERT INTO {table} ({columns}) VALUES ({values})

-- copy_pause --
UPDATE queue SET paused_at = ?2, paused_until = ?3, pause_reason = ?4, paused_by = ?5 WHERE id = ?1

-- copy_sequences --
-- Numbers that were given are given to nobody else, even where what had them is gone.
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'message', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'message');
UPDATE sqlite_sequence SET seq = max(seq, (SELECT coalesce(max(seq), 0) FROM message),
    (SELECT coalesce(max(admitted_seq), 0) FROM message), (SELECT coalesce(max(message), 0) FROM history),
    (SELECT coalesce(max(message), 0) FROM attempt)) WHERE name = 'message'
