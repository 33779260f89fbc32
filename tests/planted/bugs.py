"""
The findings of the review in seed 000, as bugs: each puts back into our code what the reviewers found in OpenClaw's.
Beside them, what could go wrong where one statement writes many rows.

A bug is a list of replacements in files below ``src/pillarbox``, and the test that must then fail. A text that is to be
replaced has to be there exactly once: code that moved on takes its bug along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_WRITE: Final = "store/sql/sqlite/write.sql"
_READ: Final = "store/sql/sqlite/read.sql"
_OPENING: Final = "store/sqlite/opening.py"
_STORE: Final = "store/sqlite/store.py"
_DATABASE: Final = "outbox/database.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One replacement: *old* stands exactly once in *file*."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """
    A bug, and who finds it.

    Attributes:
        word: Names it in docs/reference/seeds.md.
        test: Below ``tests/``, as pytest is told: the test that fails when the bug is there.
    """

    word: str
    edits: tuple[Edit, ...]
    test: str


BUGS: Final = (
    Bug(
        word="import-into-memory",
        edits=(
            Edit(
                file="imports/importer.py",
                old="if not options.dry_run and (store is None or store.in_memory):",
                new="if not options.dry_run and store is None:",
            ),
            Edit(
                file="imports/importer.py",
                old="if files and store.durability is not Durability.POWER:",
                new="if False:",
            ),
            Edit(file=_STORE, old="if batch.imports and self.in_memory:", new="if False:"),
        ),
        test="acceptance/test_seeds.py::test_an_import_into_what_fell_back_to_memory_is_refused_and_its_source_stays",
    ),
    Bug(
        word="source-unlinked",
        edits=(
            Edit(
                file="imports/retire.py",
                old="os.rename(name, free, src_dir_fd=source, dst_dir_fd=target)",
                new="os.unlink(name, dir_fd=source)",
            ),
        ),
        test="imports/test_retiring.py::test_files_move_to_imported_beside_them",
    ),
    Bug(
        word="fallback-not-sticky",
        edits=(Edit(file=_DATABASE, old="fallen = _fallbacks.get(place)", new="fallen = None"),),
        test="acceptance/test_seeds.py::test_what_fell_back_to_memory_stays_there_until_the_process_ends",
    ),
    Bug(
        word="fallback-by-default",
        edits=(Edit(file=_DATABASE, old='if settings.fallback != "memory":', new="if False:"),),
        test="acceptance/test_disk.py::test_a_directory_is_no_database",
    ),
    Bug(
        word="settle-unguarded",
        edits=(
            Edit(
                file=_WRITE,
                old="WHERE seq = ?1 AND +state = 1 AND lease = ?2 AND arrived_at IS NULL AND (?15",
                new="WHERE seq = ?1 AND arrived_at IS NULL AND (?15",
            ),
        ),
        test="store/test_suite_sqlite.py::TestSQLite::test_a_lease_that_was_lost_changes_nothing",
    ),
    Bug(
        word="deliver-unguarded",
        edits=(
            Edit(
                file=_WRITE,
                old=(
                    "WHERE seq = ?1 AND +state = 1 AND lease = ?2 AND arrived_at IS NULL\nRETURNING seq\n\n-- settle --"
                ),
                new="WHERE seq = ?1 AND arrived_at IS NULL\nRETURNING seq\n\n-- settle --",
            ),
        ),
        test="store/test_suite_sqlite.py::TestSQLite::test_a_second_delivery_keeps_the_first_time_and_receipt",
    ),
    Bug(
        word="many-delivered-unguarded",
        edits=(
            Edit(
                file="store/sqlite/statements.py",
                old="sql = STATEMENTS[name] if rows == 1 else _WRITE[name]",
                new='sql = STATEMENTS[name] if rows == 1 else _WRITE[name].replace(" AND lease = ?2", "")',
            ),
        ),
        test="store/test_suite_sqlite.py::TestSQLite::test_of_many_ends_in_one_batch_those_count_whose_lease_holds",
    ),
    Bug(
        word="many-never-undone",
        edits=(
            Edit(
                file="store/sqlite/session.py",
                old='            if changed < len(rows):\n                self.many("undo_rows")\n',
                new="",
            ),
        ),
        test="store/test_suite_sqlite.py::TestSQLite::test_of_many_ends_in_one_batch_those_count_whose_lease_holds",
    ),
    Bug(
        word="refused-never-undone",
        edits=(
            Edit(
                file="store/sqlite/session.py",
                old='            self._many("rollback_item")\n',
                new="",
            ),
        ),
        test="store/test_suite_sqlite.py::TestSQLite::test_beside_one_that_is_refused_the_others_start_and_are_claimed_once",
    ),
    Bug(
        word="started-in-a-taken-lane",
        edits=(
            Edit(
                file="store/steps/at_once.py",
                old="queue in free and draft.lane not in taken",
                new="queue in free",
            ),
        ),
        test="store/test_suite_sqlite.py::TestSQLite::test_a_message_starts_only_where_its_lane_is_free",
    ),
    Bug(
        word="bury-unguarded",
        edits=(
            Edit(
                file="domain/orders.py",
                old="Order.BURY: Scope(states=frozenset({State.HELD})),",
                new="Order.BURY: Scope(states=frozenset(State)),",
            ),
        ),
        test=("engine/test_reaper.py::test_a_burial_changes_nothing_about_a_message_that_is_not_held_any_more"),
    ),
    Bug(
        word="prune-takes-any-age",
        edits=(
            Edit(
                file="domain/moments.py",
                old="if not least <= seconds <= MS_MAX / 1000:",
                new="if seconds > MS_MAX / 1000:",
            ),
        ),
        test="engine/test_pruner.py::test_an_age_that_means_nothing_deletes_nothing",
    ),
    Bug(
        word="never-pruned",
        edits=(
            Edit(
                file="engine/worker.py",
                old='self._loops.append(Loop("pruner", self._prune, clock=self._clock))',
                new="pass",
            ),
        ),
        test="engine/test_seeds.py::test_a_running_worker_prunes_by_itself",
    ),
    Bug(
        word="index-remade",
        edits=(
            Edit(
                file=_OPENING,
                old="        migrations.migrate(connection, forward=create)\n",
                new=(
                    "        migrations.migrate(connection, forward=create)\n"
                    '        connection.execute("DROP INDEX message_wait")\n'
                    '        connection.execute("CREATE INDEX message_wait ON message (lane, lane_pos)")\n'
                ),
            ),
        ),
        test="store/test_files.py::test_opening_drops_and_makes_no_index",
    ),
    Bug(
        word="no-busy-timeout",
        edits=(
            Edit(
                file=_OPENING,
                old="            connection.set_busy_timeout(BUSY_MS)\n            return\n",
                new="            return\n",
            ),
        ),
        test="store/test_files.py::test_every_connection_of_every_handle_has_the_settings_of_its_durability",
    ),
    Bug(
        word="permanent-failure-not-counted",
        edits=(
            Edit(
                file="domain/transition.py",
                old="cls(to=State.DEAD, charged=1, reason=reason, **failure)",
                new="cls(to=State.DEAD, charged=0, reason=reason, **failure)",
            ),
        ),
        test="store/test_suite_sqlite.py::TestSQLite::test_a_permanent_failure_counts_the_attempt_with_its_time_and_text",
    ),
    Bug(
        word="backoff-off-by-one",
        edits=(
            Edit(
                file="domain/retry.py",
                old="self.schedule[min(charged, len(self.schedule)) - 1]",
                new="self.schedule[min(charged + 1, len(self.schedule)) - 1]",
            ),
        ),
        test="unit/test_lifecycle.py::test_chats_delays_are_those_of_the_seeds",
    ),
    Bug(
        word="recovery-takes-what-is-sent",
        edits=(
            Edit(
                file=_READ,
                old="WHERE worker = ?1 AND state = 1 AND lease_until <= ?2 ORDER BY",
                new="WHERE worker = ?1 AND state = 1 AND ?2 ORDER BY",
            ),
            Edit(
                file="engine/reaper.py",
                old="lapsed=lapsed.by,",
                new='lapsed="owner",',
            ),
        ),
        test="engine/test_reaper.py::test_the_live_path_and_a_recovery_never_both_send",
    ),
    Bug(
        word="claim-without-lease",
        edits=(
            Edit(
                file="store/sql/sqlite/fragments.sql",
                old="c.due_at <= ?4 AND c.state = 0 AND c.waiting = 0",
                new="c.due_at <= ?4 AND c.state < 2 AND c.waiting = 0",
            ),
        ),
        test="store/test_suite_sqlite.py::TestSQLite::test_of_several_workers_one_claims_a_message",
    ),
    Bug(
        word="limit-not-enforced",
        edits=(
            Edit(
                file="domain/limits.py",
                old="if limit is not None and wanted > limit:",
                new="if False:",
            ),
        ),
        test="engine/test_outbox.py::test_a_full_queue_refuses_by_its_name_and_keeps_what_it_has",
    ),
    Bug(
        word="handles-left-open",
        edits=(
            Edit(
                file=_STORE,
                old="        if connection is not None:\n            self._handles.close(connection)\n",
                new="        self.left = connection\n",
            ),
        ),
        test="store/test_files.py::test_close_lets_every_handle_and_thread_go",
    ),
    Bug(
        word="expiry-without-event",
        edits=(Edit(file="engine/reaper.py", old="            self._reporter.on_ended(result.expired)\n", new=""),),
        test="engine/test_reaper.py::test_a_message_expires_within_one_tick_of_its_end",
    ),
    Bug(
        word="expiry-deletes",
        edits=(
            Edit(
                file=_WRITE,
                old=(
                    "UPDATE message SET state = 5, terminal_reason = 'expired', completed_at = ?1, waiting = 0\n"
                    "WHERE seq IN (SELECT seq FROM message WHERE state = 0 AND expires_at IS NOT NULL"
                ),
                new=(
                    "DELETE FROM message\n"
                    "WHERE seq IN (SELECT seq FROM message WHERE state = 0 AND expires_at IS NOT NULL"
                ),
            ),
        ),
        test="engine/test_reaper.py::test_a_message_expires_within_one_tick_of_its_end",
    ),
    Bug(
        word="expired-are-sent",
        edits=(
            Edit(
                file="domain/lifecycle.py",
                old="return message_expires_ms is not None and now_ms > message_expires_ms",
                new="return False",
            ),
        ),
        test="engine/test_executor.py::test_a_message_is_not_sent_a_millisecond_after_its_end",
    ),
    Bug(
        word="non-final-retried",
        edits=(
            Edit(
                file="domain/lifecycle.py",
                old="    return message.kind is not Kind.FINAL\n",
                new="    return False\n",
            ),
        ),
        test="unit/test_lifecycle.py::test_a_non_final_message_that_failed_is_dead_at_once",
    ),
)
