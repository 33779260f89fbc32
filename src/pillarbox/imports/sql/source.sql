-- plain_table --
SELECT 1 FROM pragma_table_list(?1) WHERE schema = 'main' AND type = 'table'

-- known --
SELECT {number} AS rowid, {columns} FROM {table}

-- without_rowid --
SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main'

-- columns --
SELECT name FROM pragma_table_info(?1)
