-- What only this driver says: the ends of transactions, and questions about the file and its workers.

-- begin --
BEGIN IMMEDIATE

-- begin_alone --
BEGIN EXCLUSIVE

-- begin_callers --
-- For a caller whose library would begin by itself with the first row that is written.
BEGIN IMMEDIATE

-- callers_files --
SELECT name, file FROM pragma_database_list

-- hidden_names --
-- SQLite looks for a name among what is temporary first.
SELECT name FROM sqlite_temp_master
WHERE type IN ('table', 'view') AND name COLLATE NOCASE IN (SELECT value FROM json_each(?1)) ORDER BY name

-- callers_pragmas --
SELECT a.application_id, j.journal_mode, s.synchronous, l.locking_mode
FROM pragma_application_id a, pragma_journal_mode j, pragma_synchronous s, pragma_locking_mode l

-- commit --
COMMIT

-- rollback --
ROLLBACK

-- savepoint --
SAVEPOINT item

-- rollback_item --
ROLLBACK TO item

-- release_item --
RELEASE item

-- try_rows --
SAVEPOINT many_rows

-- undo_rows --
ROLLBACK TO many_rows

-- keep_rows --
RELEASE many_rows

-- join --
-- In a caller's transaction: all that is ours, or nothing.
SAVEPOINT pillarbox

-- join_undo --
ROLLBACK TO pillarbox

-- join_end --
RELEASE pillarbox

-- worker_slots --
SELECT slot FROM worker

-- snapshot --
BEGIN

-- snapshot_end --
ROLLBACK

-- integrity --
PRAGMA integrity_check(20)
