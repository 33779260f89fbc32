-- plain_table --
SELECT 1 FROM pragma_table_list(?1) WHERE schema = 'main' AND type = 'table'

-- columns --
SELECT name FROM pragma_table_info(?1)
