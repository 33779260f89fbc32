"""Files that are sent, and changes of what was sent, from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox
from pillarbox.domain.message import State, decode_content
from pillarbox.testing.platforms import FakeTelegram

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.commands import Pillarbox


@pytest.mark.contract("CO4", "CO5", "OP1")
async def test_files_are_sent_edited_and_deleted(pillarbox: Pillarbox, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("content")
    async with FakeTelegram() as telegram:
        files = ("--file", str(path), "--file", "https://example.org/a.png")
        sent = await pillarbox("send", telegram.url, "Hello", "--to", "42", *files, "--wait")
        assert sent.code == 0, sent.err
        assert telegram.files(42) == [("document", "a.txt", 7), ("photo", "https://example.org/a.png", 0)]
    gone = await pillarbox("send", telegram.url, "Hello", "--to", "42", "--file", str(tmp_path / "gone"), "--wait")
    assert (gone.code, gone.out) == (2, "")
    assert "No such file" in gone.err


@pytest.mark.contract("CO5", "OP1")
async def test_what_is_not_begun_is_changed_and_taken_back(pillarbox: Pillarbox) -> None:
    async with Outbox(pillarbox.db, deliver=False) as box:
        identity = str((await box.send("chat", to="42", text="one")).id)
        edited = await pillarbox("edit", identity, "-", "--format", "markdown", "--json", stdin=b"two\n")
        assert (edited.code, edited.json["id"], edited.json["created"]) == (0, identity, False)
        found = await box.get(identity)
        assert found is not None
        assert found.view is not None
        assert decode_content(found.view.content or b"").text == "two"
        deleted = await pillarbox("delete", identity)
        assert (deleted.code, deleted.out.strip()) == (0, identity)
        assert "cancelled" in deleted.err
        again = await pillarbox("edit", identity, "three")
        assert again.code != 0
        assert "cancelled" in again.err
        assert (await pillarbox("delete", "AAAAAAAAAAAAAAAAAAAAAA")).code == 3
        assert found.state is State.SCHEDULED
