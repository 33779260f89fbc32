"""What was answered to a failed attempt is printed by the commands that look at its message (contract ST10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox
from pillarbox.testing.receiver import Answer

if TYPE_CHECKING:
    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Pillarbox


@pytest.mark.contract("ST10", "OP1", "CH8")
async def test_show_history_and_explain_print_the_first_line_of_the_answer(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    receiver.script(Answer(status=400, body=b"\n  no room named 'kitchen', token=hunter22\nsecond line"))
    async with Outbox(pillarbox.db, channels={"ops": receiver.url}) as box:
        message = await (await box.send("ops", to="ann", text="hi")).wait(10)
    line = "no room named 'kitchen', token=***"
    shown = (await pillarbox("show", message.id or "")).out
    assert ["answer", line] in [row.split(maxsplit=1) for row in shown.splitlines()]
    for command in ("history", "explain"):
        told = (await pillarbox(command, message.id or "")).out
        assert f"HTTP 400 Bad Request; it answered: {line}" in told
        assert "second line" not in told
    rows = (await pillarbox("history", message.id or "", "--json")).json
    assert rows[-1]["answer"] == f"{line}\nsecond line"


@pytest.mark.contract("CH8")
async def test_of_a_url_on_the_command_line_scheme_and_host_are_all_that_is_said(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    url = receiver.url.replace("http://", "http://mailer:opensesame@") + "hook/open-path?key=open-query#open-fragment"
    ended = await pillarbox("send", url, "hi", "--to", "ann", "--wait")
    assert ended.said == f"accepted by {receiver.url}"
    receiver.script(Answer(status=400, body=b"no"))
    refused = await pillarbox("send", url, "hi", "--to", "ann", "--wait")
    listed = [(await pillarbox(*command)).out for command in (("ls",), ("stats",), ("ls", "--json"))]
    for secret in ("mailer", "opensesame", "open-path", "open-query", "open-fragment"):
        assert secret not in ended.out + ended.err + refused.out + refused.err + "".join(listed)
