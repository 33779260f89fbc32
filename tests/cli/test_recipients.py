"""What is known of recipients: shown, and forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox
from pillarbox.testing.platforms import FakeTelegram

if TYPE_CHECKING:
    from tests.cli.commands import Pillarbox


@pytest.mark.contract("CH3", "OP1")
async def test_other_addresses_are_listed_and_forgotten(pillarbox: Pillarbox) -> None:
    async with FakeTelegram() as telegram, Outbox(pillarbox.db, channels={"chat": telegram.url}) as box:
        telegram.migrate(-42, -1042)
        await (await box.send("chat", to="-42", text="Hello")).wait(30)
    (row,) = (await pillarbox("recipients", "redirects", "--json")).json
    assert (row["channel"], row["tenant"], row["recipient"], row["address"]) == ("chat", "", "-42", "-1042")
    assert (await pillarbox("recipients", "redirects", "other", "--json")).json == []
    listed = await pillarbox("recipients", "redirects", "chat")
    assert listed.out.splitlines()[-1].split()[:4] == ["chat", "-", "-42", "-1042"]
    forgotten = await pillarbox("recipients", "forget", "--reason", "a lie", "--json", "--", "chat", "-42")
    assert forgotten.json == {"channel": "chat", "tenant": "", "recipient": "-42", "address": None}
    again = await pillarbox("recipients", "forget", "--", "chat", "-42")
    assert (again.code, again.out) == (3, "")
    assert "knows no other address" in again.err
    assert (await pillarbox("recipients", "redirects", "--json")).json == []


@pytest.mark.contract("CL1", "OP1")
async def test_recipients_that_were_refused_get_no_more_messages_until_they_are_cleared(pillarbox: Pillarbox) -> None:
    async with FakeTelegram() as telegram, Outbox(pillarbox.db, channels={"chat": telegram.url}) as box:
        telegram.refuse(42)
        await (await box.send("chat", to="42", text="Hello")).wait(30)
        sent = telegram.receiver.count
        later = await box.send("chat", to="42", text="Hello again")
        await later.wait(30)
        assert telegram.receiver.count == sent
        assert (later.state, later.reason) == ("dead", "suppressed")
        told = (await pillarbox("explain", str(later.id))).out
        assert "recipients clear chat 42" in told
    (row,) = (await pillarbox("recipients", "ls", "--json")).json
    assert (row["channel"], row["tenant"], row["recipient"]) == ("chat", "", "42")
    assert f"refused before: {row['reason']}" in told
    assert (await pillarbox("recipients", "ls", "other", "--json")).json == []
    listed = await pillarbox("recipients", "ls", "chat")
    assert listed.out.splitlines()[-1].split()[:3] == ["chat", "-", "42"]
    assert (await pillarbox("recipients", "clear", "chat")).code == 2
    cleared = await pillarbox("recipients", "clear", "--json", "chat", "42")
    assert cleared.json == {"channel": "chat", "tenant": "", "recipient": "42", "suppressed": False}
    again = await pillarbox("recipients", "clear", "chat", "--all")
    assert (again.code, again.out) == (3, "")
    assert (await pillarbox("recipients", "ls", "--json")).json == []
