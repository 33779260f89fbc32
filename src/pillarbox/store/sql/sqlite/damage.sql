-- Text that is not UTF-8: written into the file from outside, or by a fault of the disk. SQLite stores any bytes as
-- text, and one such value in a row keeps every row of a statement from being read. is_text and as_text are functions
-- of ours (store/sqlite/damage.py): whether every value is UTF-8, and the value with U+FFFD for what is not.

-- damaged_messages --
SELECT seq, state FROM message WHERE NOT is_text(
    {message_texts}, iif(typeof(content) = 'text', CAST(content AS BLOB), NULL)
)

-- mend_message --
UPDATE message SET {message_mended}, content = iif(typeof(content) = 'text', CAST(content AS BLOB), content)
WHERE seq = ?1

-- text_columns --
-- Of all other tables; not of meta, by which a database is known: nothing is made up there.
SELECT t.name, c.name, c.type = 'ANY' FROM sqlite_schema t JOIN pragma_table_info(t.name) c
WHERE t.type = 'table' AND t.name NOT IN ('message', 'meta') AND c.type IN ('TEXT', 'ANY')

-- mend_texts --
UPDATE OR IGNORE {table} SET {column} = as_text(CAST({column} AS BLOB))
WHERE typeof({column}) = 'text' AND NOT is_text(CAST({column} AS BLOB))

-- mend_contents --
-- As bytes it can be read, and whoever is to send it says what is wrong with it.
UPDATE {table} SET {column} = CAST({column} AS BLOB)
WHERE typeof({column}) = 'text' AND NOT is_text(CAST({column} AS BLOB))

-- bury_damaged --
UPDATE message SET state = 4, terminal_reason = 'unreadable', error_class = 'permanent', last_error = ?3,
    completed_at = ?4, charged = charged + 1, waiting = 0
WHERE seq = ?1 AND state = ?2
RETURNING {ended_returned}
