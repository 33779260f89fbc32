from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pillarbox import Outbox
from pillarbox.channels.base import Attempt, Progress, Seams
from pillarbox.channels.mail.addresses import parse_address
from pillarbox.channels.mail.compose import compose
from pillarbox.channels.mail.session import Route, Server, SmtpSession, Stopped
from pillarbox.channels.mail.smtp import SmtpChannel
from pillarbox.clock import Clock, SystemClock
from pillarbox.deadline import Within
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Content, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.domain.retry import SMTP
from pillarbox.errors import ConfigError, InvalidMessage
from pillarbox.testing.fakes import FakeClock
from tests.channels.attempts import TOKEN, an_attempt
from tests.channels.smtp_servers import PATIENCE_SECONDS, Rude, SmtpSink, aiosmtpd, installed_smtp_sink, rude
from tests.engine.stand import Stand, until
from tests.kept_port import kept_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from pillarbox.domain.message import MessageView

SHORT = 0.05  # seconds that a server which never answers is waited for


@contextlib.asynccontextmanager
async def channel(
    port: int, *, credentials: str = "", scheme: str = "smtp", clock: Clock | None = None, **options: Any
) -> AsyncIterator[SmtpChannel]:
    options = {"sender": "me@example.org"} | options
    made = SmtpChannel.from_url(f"{scheme}://{credentials}127.0.0.1:{port}", **options)
    await made.start(Seams(clock=clock or SystemClock()))
    try:
        yield made
    finally:
        await made.close()


async def sent(port: int, *, to: str = "ann@example.net", content: Content | None = None, **options: Any) -> AnyOutcome:
    async with channel(port, **options) as made:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await made.send(an_attempt(to, content=content))


async def given_up(server: Rude, made: SmtpChannel, clock: FakeClock, attempt: Attempt) -> AnyOutcome:
    """Send, and let time pass once the server owes an answer that it will not give."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        sending = asyncio.create_task(made.send(attempt))
        await server.silent.wait()
        clock.advance(2 * SHORT)
        return await sending


# --- delivered --------------------------------------------------------------------------------------------------


@pytest.mark.contract("CH3")
async def test_what_a_mail_cannot_answer_is_recorded() -> None:
    async with aiosmtpd() as server:
        outcome = await sent(server.port, content=Content(text="x", reply_to="-100123"))
        assert isinstance(outcome, Delivered)
        assert outcome.degraded == "sent without its reply_to: it is no Message-ID"
        outcome = await sent(server.port, content=Content(text="x", reply_to="<a@example.org>"))
        assert isinstance(outcome, Delivered)
        assert outcome.degraded is None


@pytest.mark.contract("CL1", "UN5")
async def test_a_mail_is_delivered_with_its_message_id_as_receipt() -> None:
    async with aiosmtpd() as server:
        outcome = await sent(server.port)
    assert outcome == Delivered(f"<{TOKEN}@example.org>", answer="250 2.0.0 Ok: queued as Q1")
    (mail,) = server.mails
    assert (mail.mail_from, mail.rcpt_tos) == ("me@example.org", ["ann@example.net"])
    (content,) = server.contents
    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    assert message["Message-ID"] == f"<{TOKEN}@example.org>"
    assert message.get_payload() == "Hello\r\n"
    assert f"SIZE={len(content)}" in mail.mail_options


@pytest.mark.contract("UN2")
async def test_every_attempt_carries_the_same_message_id_and_the_same_bytes() -> None:
    async with aiosmtpd(DATA=["451 4.3.0 not now", "451 4.3.0 not yet"]) as server, channel(server.port) as made:
        first = await made.send(an_attempt(number=1))
        second = await made.send(an_attempt(number=2))
        third = await made.send(an_attempt(number=3))
    assert [type(outcome) for outcome in (first, second, third)] == [Deferred, Deferred, Delivered]
    assert len(set(server.contents)) == 1
    assert f"Message-ID: <{TOKEN}@example.org>\r\n".encode() in server.contents[0]


@pytest.mark.contract("EN2")
@pytest.mark.parametrize("text", [".", ".\n", "..\n.\n...", "a\n.\nb", "a\r\n.\r\nMAIL FROM:<eve@example.org>\r\n"])
async def test_a_text_of_dots_neither_ends_the_mail_nor_loses_one(text: str) -> None:
    async with aiosmtpd() as server:
        assert isinstance(await sent(server.port, content=Content(text=text)), Delivered)
    (content,) = server.contents
    body = content.partition(b"\r\n\r\n")[2].decode()
    assert body.splitlines() == text.splitlines()
    assert server.commands["MAIL"] == 1


@pytest.mark.contract("EN2")
@pytest.mark.parametrize("end", [b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n"])
async def test_a_raw_mail_cannot_smuggle_another_one_in(end: bytes) -> None:
    # The line ends of RFC 5321 §2.3.8 are the only ones that reach the wire.
    raw = b"Subject: x\r\n\r\nbody" + end + b"MAIL FROM:<eve@example.org>\r\n"
    async with rude() as server:
        outcome = await sent(server.port, content=Content(payload=raw, content_type="message/rfc822"))
    assert isinstance(outcome, Delivered)
    assert server.received.count("MAIL") == 1
    (body,) = server.bodies
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert b"\r\n..\r\nMAIL" in body


@pytest.mark.contract("EN2", "CO1")
async def test_a_blind_copy_stays_in_the_store_and_off_the_wire(tmp_path: Path) -> None:
    raw = b"From: a@example.org\r\nBcc: secret@example.net,\r\n\tb@example.net\r\nSubject: x\r\n\r\nBcc: hi\r\n"
    async with aiosmtpd() as server:
        url = f"smtp://127.0.0.1:{server.port}?sender=me@example.org"
        async with Outbox(tmp_path / "outbox.db", channels={"mail": url}) as box:
            message = await box.send("mail", to="ann@example.net", payload=raw, content_type="message/rfc822")
            await message.wait(timeout=PATIENCE_SECONDS)
            kept = await box.get(message.id or "")
    assert server.contents == [b"From: a@example.org\r\nSubject: x\r\n\r\nBcc: hi\r\n"]
    assert [mail.rcpt_tos for mail in server.mails] == [["ann@example.net"]]
    assert kept is not None
    assert kept.content is not None
    assert kept.content.payload == raw


async def test_a_large_mail_arrives_whole() -> None:
    text = "\n".join("x" * 70 for _ in range(40_000))
    async with aiosmtpd(size=2**23) as server:
        assert isinstance(await sent(server.port, content=Content(text=text)), Delivered)
    assert server.contents[0].partition(b"\r\n\r\n")[2].decode().splitlines() == text.splitlines()


# --- refused ----------------------------------------------------------------------------------------------------

RECIPIENTS: list[tuple[str, str, type, dict[str, Any]]] = [
    ("grey", "450 4.2.0 greylisted", Deferred, {"after": 300.0}),
    ("nobody", "550 5.1.1 user unknown", Rejected, {"about": "recipient"}),
    ("stuffed", "552 5.2.2 mailbox full", Rejected, {"about": "recipient"}),
    ("afar", "550 5.7.1 relay denied", Unavailable, {}),
    ("fast", "450 4.7.1 Error: too much mail from you", RateLimited, {"scope": "channel"}),
    ("eager", "421 4.7.28 rate limit", RateLimited, {"scope": "channel"}),
    ("later", "452 4.3.1 no space", Deferred, {"after": None}),
]


@pytest.mark.contract("CL1", "CL2")
async def test_each_recipient_has_an_outcome_of_its_own() -> None:
    replies: dict[str, Any] = {f"{name}@example.net": reply for name, reply, *_ in RECIPIENTS}
    async with aiosmtpd(**replies) as server, channel(server.port) as made:
        for name, reply, kind, fields in RECIPIENTS:
            outcome = await made.send(an_attempt(f"{name}@example.net"))
            assert type(outcome) is kind, name
            assert {key: getattr(outcome, key) for key in fields} == fields
            assert reply in repr(outcome)
        assert isinstance(await made.send(an_attempt("fine@example.net")), Delivered)
    assert [mail.rcpt_tos for mail in server.mails] == [["fine@example.net"]]


@pytest.mark.contract("CL1", "CL2")
@pytest.mark.parametrize(
    ("command", "reply", "kind", "fields"),
    [
        ("MAIL", "421 4.7.28 unusual rate", RateLimited, {"scope": "channel"}),
        ("MAIL", "530 5.7.0 Authentication required", Unavailable, {}),
        ("MAIL", "552 5.3.4 message too big", Rejected, {"about": "message"}),
        ("MAIL", "451 4.3.0 later", Deferred, {}),
        ("DATA", "550 5.7.26 unauthenticated", Rejected, {"about": "message"}),
        ("DATA", "550 5.7.60 cannot send as", Unavailable, {}),
        ("DATA", "552 5.2.2 mailbox full", Rejected, {"about": "recipient"}),
        ("DATA", "554 5.6.0 malformed", Rejected, {"about": "message"}),
        ("DATA", "421 4.7.28 too fast", RateLimited, {"scope": "channel"}),
        ("DATA", "451 4.3.0 queue file write error", Deferred, {}),
    ],
)
async def test_a_refusal_is_read_by_its_codes(command: str, reply: str, kind: type, fields: dict[str, Any]) -> None:
    replies: dict[str, Any] = {command: reply}
    async with aiosmtpd(**replies) as server:
        outcome = await sent(server.port)
    assert type(outcome) is kind
    assert {key: getattr(outcome, key) for key in fields} == fields


@pytest.mark.contract("CL2")
async def test_a_configuration_can_overrule_the_table() -> None:
    async with aiosmtpd(RCPT="550 5.7.1 relay denied") as server:
        outcome = await sent(server.port, outcomes={"550 5.7.1 rcpt": "rejected_recipient"})
    assert isinstance(outcome, Rejected)
    assert outcome.about == "recipient"


@pytest.mark.contract("CL5", "RE5", "FL1")
async def test_a_refusal_that_means_later_is_believed_for_three_answers(tmp_path: Path) -> None:
    later = ["554 5.7.0 The limit was exceeded. Try again later.", "550 Connection frequency limited"]
    async with aiosmtpd(DATA=[*later, "250 2.0.0 Ok", *later, later[0]]) as server, Stand(tmp_path) as stand:
        mail = SmtpChannel.from_url(f"smtp://127.0.0.1:{server.port}?sender=me@example.org", timeout=20)
        box = await stand.open({"mail": mail})

        async def after_answers(count: int) -> MessageView:
            message = await box.send("ann@example.net", channel="mail")
            before = server.commands["DATA"]
            for answered in range(1, count + 1):
                await until(lambda: server.commands["DATA"] >= before + answered)  # noqa: B023 — awaited at once
                await box.idle()
                stand.advance(3_600_000)
            assert server.commands["DATA"] == before + count
            return await box.view(message)

        assert (await after_answers(3)).state is State.DELIVERED
        dead = await after_answers(3)
        assert (dead.state, dead.terminal_reason, dead.claims, dead.charged) == (State.DEAD, "rejected", 3, 1)
        assert (dead.last_error or "").startswith("rate limited 3 times by a refusal that is said to be final: .: 554")


@pytest.mark.contract("EV3")
async def test_no_reason_repeats_the_recipient_or_the_password() -> None:
    async with aiosmtpd(RCPT="550 5.1.1 <ann@example.net>: unknown, hunter22", auth=True) as server:
        outcome = await sent(server.port, credentials="me:hunter22@")
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "rcpt: 550 5.1.1 <***>: unknown, ***"


@pytest.mark.contract("CL1")
async def test_a_mail_over_the_servers_size_is_not_even_begun() -> None:
    async with aiosmtpd(size=2000) as server:
        outcome = await sent(server.port, content=Content(text="x\n" * 1500))
    assert isinstance(outcome, Rejected)
    assert outcome.about == "message"
    assert "the server takes 2000" in outcome.reason
    assert server.commands["MAIL"] == 0


@pytest.mark.contract("CL1")
async def test_what_needs_an_extension_is_refused_without_it() -> None:
    eight_bit = Content(payload=b"Subject: x\r\n\r\n\xe9\r\n", content_type="message/rfc822")
    utf8_header = Content(payload="Subject: é\r\n\r\nx\r\n".encode(), content_type="message/rfc822")
    async with aiosmtpd(hide=["8BITMIME"]) as server:
        for content, to, about in (
            (eight_bit, "ann@example.net", "message"),
            (utf8_header, "ann@example.net", "message"),
            (Content(text="x"), "zoë@example.net", "recipient"),
        ):
            outcome = await sent(server.port, content=content, to=to)
            assert isinstance(outcome, Rejected)
            assert outcome.about == about
        assert server.commands["MAIL"] == 0
        # The domain alone is no obstacle: it has an ASCII form.
        assert isinstance(await sent(server.port, to="zoe@bücher.example"), Delivered)
    assert server.mails[0].rcpt_tos == ["zoe@xn--bcher-kva.example"]


async def test_extensions_are_used_where_they_are_needed() -> None:
    eight_bit = Content(payload=b"Subject: x\r\n\r\n\xe9\r\n", content_type="message/rfc822")
    async with aiosmtpd(smtputf8=True) as server, channel(server.port) as made:
        assert isinstance(await made.send(an_attempt("zoë@example.net")), Delivered)
        assert isinstance(await made.send(an_attempt(content=eight_bit)), Delivered)
    assert server.mails[0].rcpt_tos == ["zoë@example.net"]
    assert "SMTPUTF8" in server.mails[0].mail_options
    assert "BODY=8BITMIME" in server.mails[1].mail_options
    assert server.contents[1] == b"Subject: x\r\n\r\n\xe9\r\n"


@pytest.mark.contract("CO5")
async def test_a_mail_is_neither_edited_nor_deleted() -> None:
    with kept_port() as port:
        async with channel(port) as made:
            for op in (Op.EDIT, Op.DELETE):
                assert isinstance(await made.send(an_attempt(op=op, target="<a@b>")), Rejected)


# --- broken -----------------------------------------------------------------------------------------------------


@pytest.mark.contract("CL6")
async def test_a_refused_connection_was_surely_not_sent() -> None:
    with kept_port() as port:
        outcome = await sent(port)
    assert isinstance(outcome, Deferred)
    # Nobody was there to say a banner.
    assert outcome.reason == "connect: connection refused"


@pytest.mark.contract("CL6")
async def test_a_name_that_does_not_exist_was_surely_not_sent() -> None:
    made = SmtpChannel.from_url("smtp://nowhere.invalid", sender="me@example.org")
    assert isinstance(await made.send(an_attempt()), Deferred)


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        # Before the final dot: surely not sent.
        ({"banner": b"554 5.3.2 no"}, Deferred),
        ({"banner": b"421 4.3.2 busy"}, Deferred),
        ({"banner": b""}, Deferred),
        ({"banner": b"what is SMTP?"}, Deferred),
        ({"EHLO": b""}, Deferred),
        ({"EHLO": b"421 busy"}, Deferred),
        ({"EHLO": b"550 not you"}, Unavailable),
        ({"MAIL": b""}, Deferred),
        ({"RCPT": b""}, Deferred),
        ({"DATA": b""}, Deferred),
        ({"DATA": b"421 4.3.0 closing"}, Deferred),
        ({"DATA": b"250 what?"}, Deferred),
        ({"DATA": b"nonsense"}, Deferred),
        # Whatever is said before the dot was written, the mail was not taken; tested with one that does not fit below.
        # After it: nobody knows.
        ({"dot": b""}, Uncertain),
        ({"dot": b"nonsense"}, Uncertain),
        ({"dot": b"354 more?"}, Uncertain),
        ({"dot": b"999 what?"}, Uncertain),
        # Unless the server says so.
        ({"dot": b"450 4.2.0 not now"}, Deferred),
        ({"dot": b"250"}, Delivered),
        ({"dot": b"251 forwarded"}, Delivered),
        ({"dot": b"250-2.0.0 two\r\n250 2.0.0 lines"}, Delivered),
    ],
    ids=repr,
)
async def test_it_is_known_whether_the_final_dot_was_written(replies: dict[str, bytes], kind: type) -> None:
    async with rude(**replies) as server:
        outcome = await sent(server.port)
    assert type(outcome) is kind


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    ("silent", "option", "kind"),
    [
        ("banner", "connect_timeout", Deferred),
        ("EHLO", "command_timeout", Deferred),
        ("MAIL", "command_timeout", Deferred),
        ("RCPT", "command_timeout", Deferred),
        ("DATA", "data_timeout", Deferred),
        ("dot", "final_timeout", Uncertain),
    ],
)
async def test_each_step_has_a_timeout_of_its_own(silent: str, option: str, kind: type) -> None:
    async with rude(**{silent: None}) as server:
        options: dict[str, Any] = {option: SHORT}
        outcome = await sent(server.port, **options)
    assert type(outcome) is kind


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    ("silent", "kind"), [("banner", Deferred), ("RCPT", Deferred), ("DATA", Deferred), ("dot", Uncertain)]
)
async def test_a_deadline_says_deferred_until_the_final_dot(silent: str, kind: type) -> None:
    clock = FakeClock()
    async with rude(**{silent: None}) as server, channel(server.port, clock=clock) as made:
        outcome = await given_up(server, made, clock, an_attempt(deadline_seconds=2 * SHORT))
    assert type(outcome) is kind


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    ("early", "kind"),
    [(b"552 5.3.4 too big", Rejected), (b"421 4.3.0 closing", Deferred), (b"", Deferred), (b"250 ok", Deferred)],
)
async def test_a_server_that_speaks_before_the_dot_does_not_have_the_mail(early: bytes, kind: type) -> None:
    # Too large for all buffers on the way, so that the dot cannot have been written by then.
    raw = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 1_500_000
    async with rude(body=early) as server:
        outcome = await sent(server.port, content=Content(payload=raw, content_type="message/rfc822"))
    assert type(outcome) is kind
    assert "." not in server.received


@pytest.mark.contract("CL6")
async def test_a_server_that_stops_reading_was_surely_not_sent_to() -> None:
    raw = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 3_000_000
    stuck = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await stuck.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        outcome = await sent(
            server.sockets[0].getsockname()[1],
            content=Content(payload=raw, content_type="message/rfc822"),
            block_timeout=SHORT,
        )
    finally:
        stuck.set()
        server.close()
    assert isinstance(outcome, Deferred)
    assert "no answer in time" in outcome.reason


@pytest.mark.contract("CL6")
async def test_the_dot_is_not_written_once_time_is_over() -> None:
    # As after a cancellation that Python 3.11 swallowed together with an answer.
    with contextlib.suppress(TimeoutError):
        async with Within(0, clock=SystemClock()) as over:
            await asyncio.Event().wait()
    me, ann = parse_address("me@example.org", field="sender"), parse_address("ann@example.net", field="to")
    mail = compose(Content(text="x"), sender=me, to=ann, token=TOKEN, created_ms=0)
    progress = Progress()
    route = Route(sender=me, to=ann, until_dot=over, final_seconds=SHORT, progress=progress)
    async with rude() as server:
        session = SmtpSession(
            Server(host="127.0.0.1", port=server.port), ssl.create_default_context(), clock=SystemClock()
        )
        await session.open()
        with pytest.raises(Stopped) as stopped:
            await session.transact(mail, route)
        session.close()
    assert isinstance(stopped.value.outcome, Deferred)
    assert not progress.written
    assert "." not in server.received


async def test_a_cancelled_send_leaves_no_connection_behind() -> None:
    async with rude(RCPT=None) as server, channel(server.port) as made:
        task = asyncio.ensure_future(made.send(an_attempt()))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.silent.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.hung_up[0].wait()


# --- encryption and login ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def cafile(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def certified(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_mail_goes_over_tls_and_logs_in(scheme: str, authority: trustme.CA, cafile: str) -> None:
    tls = certified(authority, "127.0.0.1")
    where: dict[str, Any] = {"starttls": tls} if scheme == "smtp" else {"implicit": tls}
    async with aiosmtpd(auth=True, **where) as server:
        outcome = await sent(server.port, scheme=scheme, credentials="me%40x:hunter22@", cafile=cafile)
        assert isinstance(outcome, Delivered)
    assert server.logins == [("me@x", "hunter22")]
    assert server.commands["EHLO"] == (2 if scheme == "smtp" else 1)


async def test_starttls_is_required_or_never_if_so_chosen(authority: trustme.CA, cafile: str) -> None:
    async with aiosmtpd() as server:
        outcome = await sent(server.port, starttls="required")
        assert isinstance(outcome, Unavailable)
        assert "does not offer it" in outcome.reason
        assert isinstance(await sent(server.port, starttls="auto"), Delivered)
    async with aiosmtpd(starttls=certified(authority, "127.0.0.1")) as server:
        assert isinstance(await sent(server.port, starttls="never"), Delivered)
        assert server.commands["EHLO"] == 1
        assert isinstance(await sent(server.port, starttls="required", cafile=cafile), Delivered)


@pytest.mark.contract("CL1", "CL6")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize(("name", "trusted"), [("127.0.0.1", False), ("elsewhere.example", True)])
async def test_a_certificate_that_does_not_fit_makes_the_channel_unavailable(
    scheme: str, name: str, trusted: bool, authority: trustme.CA, cafile: str
) -> None:
    tls = certified(authority, name)
    where: dict[str, Any] = {"starttls": tls} if scheme == "smtp" else {"implicit": tls}
    async with aiosmtpd(auth=True, **where) as server:
        options: dict[str, Any] = {"cafile": cafile} if trusted else {}
        outcome = await sent(server.port, scheme=scheme, credentials="me:hunter22@", **options)
    assert isinstance(outcome, Unavailable)
    assert "certificate refused" in outcome.reason
    assert server.logins == []


@pytest.mark.contract("CL6")
async def test_a_broken_handshake_was_surely_not_sent() -> None:
    async with rude() as server:
        assert isinstance(await sent(server.port, scheme="smtps"), Deferred)


@pytest.mark.contract("CL1", "EV3")
async def test_a_wrong_password_makes_the_channel_unavailable_after_one_try() -> None:
    async with aiosmtpd(auth=True) as server:
        outcome = await sent(server.port, credentials="me:wrong-one@")
    assert isinstance(outcome, Unavailable)
    assert outcome.reason.startswith("auth: 535 5.7.8")
    assert server.logins == [("me", "wrong-one")]
    assert "wrong-one" not in repr(outcome)


@pytest.mark.contract("CL1")
async def test_a_login_that_fails_for_now_is_tried_again() -> None:
    async with rude(EHLO=b"250-x\r\n250 AUTH PLAIN", AUTH=b"454 4.7.0 Temporary authentication failure") as server:
        assert isinstance(await sent(server.port, credentials="me:hunter22@"), Deferred)


async def test_another_mechanism_is_tried_only_where_the_first_is_not_taken() -> None:
    async with rude(EHLO=b"250-x\r\n250 AUTH CRAM-MD5 LOGIN PLAIN", AUTH=b"504 5.5.4 unrecognized") as server:
        assert isinstance(await sent(server.port, credentials="me:hunter22@"), Unavailable)
        assert server.received.count("AUTH") == 3
    async with rude(EHLO=b"250 AUTH XOAUTH2") as server:
        outcome = await sent(server.port, credentials="me:hunter22@")
        assert isinstance(outcome, Unavailable)
        assert "AUTH" not in server.received


async def test_a_password_never_goes_to_another_machine_in_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    # 127.0.0.1 stands in for another machine: the test has none, and the check is one method.
    monkeypatch.setattr(SmtpSession, "_is_loopback", lambda self: False)
    async with aiosmtpd(auth=True) as server:
        outcome = await sent(server.port, credentials="me:hunter22@")
    assert isinstance(outcome, Unavailable)
    assert "clear text" in outcome.reason
    assert server.logins == []


async def test_without_a_name_the_server_is_greeted_with_our_address() -> None:
    async with aiosmtpd() as server:
        await sent(server.port)
        await sent(server.port, helo="worker.example.org")
    async with rude(EHLO=b"502 5.5.1 what?") as old:
        assert isinstance(await sent(old.port), Delivered)
    assert old.received[:2] == ["EHLO", "HELO"]


# --- connections ------------------------------------------------------------------------------------------------


async def test_a_connection_is_used_again() -> None:
    async with aiosmtpd(RCPT=["550 5.1.1 unknown"]) as server, channel(server.port) as made:
        outcomes = [await made.send(an_attempt()) for _ in range(4)]
    assert [type(outcome).__name__ for outcome in outcomes] == ["Rejected", "Delivered", "Delivered", "Delivered"]
    assert server.commands["connections"] == 1
    assert server.commands["RSET"] == 3


async def test_no_more_connections_are_kept_than_may_send_at_once() -> None:
    async with aiosmtpd() as server, channel(server.port, concurrency=2) as made:
        assert made.concurrency == 2
        for _ in range(2):
            outcomes = await asyncio.gather(*(made.send(an_attempt()) for _ in range(4)))
            assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    # Four at once against the declaration; two of them are kept.
    assert server.commands["connections"] == 6


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    "replies", [{"RSET": b""}, {"RSET": b"421 idle"}, {"RSET": b"500 what?"}, {"RSET": b"nonsense"}], ids=repr
)
async def test_an_idle_connection_that_is_gone_is_no_error(replies: dict[str, bytes]) -> None:
    async with rude(**replies) as server, channel(server.port) as made:
        outcomes = [await made.send(an_attempt()) for _ in range(3)]
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 3
    assert len(server.hung_up) == 3


@pytest.mark.contract("CL6")
async def test_a_connection_lost_as_its_next_mail_begins_is_opened_again_once() -> None:
    async with rude() as server, channel(server.port) as made:
        assert isinstance(await made.send(an_attempt()), Delivered)
        server.replies["MAIL"] = b"421 4.4.2 idle for too long"
        # The fresh connection meets the same answer, and that one counts.
        assert isinstance(await made.send(an_attempt()), Deferred)
        assert len(server.hung_up) == 2
        server.replies["MAIL"] = b"250 ok"
        assert isinstance(await made.send(an_attempt()), Delivered)
    assert len(server.hung_up) == 3


async def test_a_connection_that_broke_is_not_kept() -> None:
    async with rude(dot=b"") as server, channel(server.port) as made:
        assert isinstance(await made.send(an_attempt()), Uncertain)
        server.replies["."] = b"250 ok"
        assert isinstance(await made.send(an_attempt()), Delivered)
    assert len(server.hung_up) == 2
    assert "RSET" not in server.received


async def test_a_connection_that_still_owes_an_answer_is_not_kept() -> None:
    clock = FakeClock()
    async with rude(dot=None) as server, channel(server.port, final_timeout=SHORT, clock=clock) as made:
        assert isinstance(await given_up(server, made, clock, an_attempt()), Uncertain)
        server.replies["."] = b"250 ok"
        assert isinstance(await made.send(an_attempt()), Delivered)
    assert len(server.hung_up) == 2
    assert "RSET" not in server.received


async def test_a_connection_idle_for_too_long_is_not_tried() -> None:
    clock = FakeClock()
    async with aiosmtpd() as server:
        made = SmtpChannel.from_url(f"smtp://127.0.0.1:{server.port}", sender="me@example.org", idle=30)
        await made.start(Seams(clock=clock))
        for later in (0, 30, 31):
            clock.advance(later)
            assert isinstance(await made.send(an_attempt()), Delivered)
        await made.close()
    assert (server.commands["connections"], server.commands["RSET"]) == (2, 1)


async def test_closing_says_goodbye_and_can_be_repeated() -> None:
    async with rude() as server, channel(server.port) as made:
        await made.send(an_attempt())
        await made.close()
        await made.close()
        assert server.received[-1] == "QUIT"


# --- Postfix's own server ---------------------------------------------------------------------------------------


@pytest.fixture
def smtp_sink() -> Iterator[SmtpSink]:
    with installed_smtp_sink() as sink:
        yield sink


@pytest.mark.contract("CL1", "CL2", "CL6")
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ([], Delivered),
        (["-r", "rcpt"], Deferred),
        (["-f", "rcpt"], Rejected),
        (["-r", "mail"], Deferred),
        (["-r", "."], Deferred),
        (["-f", "."], Rejected),
        (["-Q", "data"], Deferred),
        (["-q", "data"], Deferred),
        (["-q", "rcpt"], Deferred),
        (["-q", "connect"], Deferred),
        (["-Q", "connect"], Deferred),
        (["-q", "."], Uncertain),
        (["-f", "ehlo"], Delivered),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_postfix_is_understood(smtp_sink: SmtpSink, mode: list[str], expected: type) -> None:
    outcome = await sent(await smtp_sink.start(*mode))
    assert type(outcome) is expected
    if isinstance(outcome, Deferred) and mode == ["-r", "rcpt"]:
        assert outcome.after == 300.0


# --- the declaration, the URL and admission ---------------------------------------------------------------------


@pytest.mark.contract("RE7", "UN5", "LE3")
def test_what_the_channel_declares() -> None:
    made = SmtpChannel.from_url("smtp://mx.example.org?sender=me@example.org")
    assert (made.kind, made.policy, made.ordered, made.concurrency) == ("smtp", SMTP, False, 8)
    # RFC 5321 §4.5.3.2: ten minutes for the dot, and time for all that goes before.
    assert made.send_timeout_seconds == 1800
    assert made.describe() == "smtp://mx.example.org:587"
    assert SmtpChannel.from_url("smtps://[::1]?sender=me@x").describe() == "smtps://[::1]:465"


@pytest.mark.parametrize(
    ("url", "sender"),
    [
        ("smtp://me:pw@mail.example.org", "me@mail.example.org"),
        ("smtp://me%40example.org:pw@mail.example.com", "me@example.org"),
        ("smtp://me:pw@mail.example.org?sender=a+b@example.org", "a+b@example.org"),
        ("smtp://me%40example.org:pw@localhost", "me@example.org"),
        ("smtp://mail.example.org?sender=me%40b%C3%BCcher.example", "me@xn--bcher-kva.example"),
    ],
)
async def test_who_sends(url: str, sender: str) -> None:
    assert str(SmtpChannel.from_url(url)._sender) == sender


async def test_a_sender_has_a_name() -> None:
    async with aiosmtpd() as server:
        await sent(server.port, sender_name="Ops, Zürich")
    message = email.message_from_bytes(server.contents[0], policy=email.policy.SMTP)
    assert message["From"].addresses[0].display_name == "Ops, Zürich"


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("smtp://", {}, "url"),
    ("smtp:mail.example.org", {}, "url"),
    ("mail.example.org", {}, "url"),
    ("http://mail.example.org", {}, "url"),
    ("smtp://me:hunter22@mail.example.org:port", {}, "url"),
    ("smtp://me:hunter22@mail.example.org:0", {}, "url"),
    ("smtp://me:hunter22@mail.example.org:70000", {}, "url"),
    ("smtp://me:hunter22/x@mail.example.org", {}, "url"),
    ("smtp://me:hunter22#x@mail.example.org", {}, "url"),
    ("smtp://me:hunter22?x@mail.example.org", {}, "url"),
    ("smtp://me:hunter22%zz@mail.example.org", {}, "url"),
    ("smtp://me:hunter22%ff@mail.example.org", {}, "url"),
    ("smtp://me:hunter22@mail.exa mple.org", {}, "url"),
    ("smtp://me:hunter22@mail.example.org\r\n", {}, "url"),
    ("smtp://me:hunter22@mail_server", {}, "url"),
    ("smtp://me:hunter22@[::1", {}, "url"),
    ("smtp://me:hunter22@mail.example.org/inbox", {}, "url"),
    ("smtp://me@mail.example.org", {}, "url"),
    ("smtp://mail.example.org", {}, "sender"),
    ("smtp://me:hunter22@localhost", {}, "sender"),
    ("smtp://mail.example.org?sender=hunter22", {}, "sender"),
    ("smtp://mail.example.org?sender=me@example.org%0d%0aBcc:x", {}, "sender"),
    ("smtp://me:hunter22@mail.example.org?starttls=maybe", {}, "starttls"),
    ("smtp://me:hunter22@mail.example.org?starttls=never", {}, "starttls"),
    ("smtps://me:hunter22@mail.example.org?starttls=required", {}, "starttls"),
    ("smtp://me:hunter22@mail.example.org?sendr=x", {}, "sendr"),
    ("smtp://me:hunter22@mail.example.org?sender=a@b&sender=c@d", {}, "sender"),
    ("smtp://me:hunter22@mail.example.org", {"concurrency": 0}, "concurrency"),
    ("smtp://me:hunter22@mail.example.org", {"concurrency": True}, "concurrency"),
    ("smtp://me:hunter22@mail.example.org?concurrency=1.5", {}, "concurrency"),
    ("smtp://me:hunter22@mail.example.org", {"timeout": "soon"}, "timeout"),
    ("smtp://me:hunter22@mail.example.org", {"final_timeout": -1}, "final_timeout"),
    ("smtp://me:hunter22@mail.example.org?idle=nan", {}, "idle"),
    ("smtp://me:hunter22@mail.example.org", {"helo": "a b"}, "helo"),
    ("smtp://me:hunter22@mail.example.org", {"outcomes": {"550": "bounce"}}, "outcomes.550"),
    ("smtp://me:hunter22@mail.example.org?outcomes=x", {}, "outcomes"),
    ("smtp://me:hunter22@mail.example.org", {"sender_name": "a\r\nBcc: x"}, "sender_name"),
]


@pytest.mark.contract("CF2", "EV3")
@pytest.mark.parametrize(("url", "options", "field"), WRONG, ids=[row[0][:60] for row in WRONG])
def test_a_wrong_setting_is_named_and_no_secret_repeated(url: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        SmtpChannel.from_url(url, **options)
    assert refused.value.field == field
    assert "hunter22" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.contract("CF2")
def test_the_nearest_known_option_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sender'"):
        SmtpChannel.from_url("smtp://mail.example.org?sendr=x")


@pytest.mark.contract("CF2")
async def test_certificates_that_cannot_be_read_are_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        made = SmtpChannel.from_url("smtp://x.example?sender=a@b", cafile=str(tmp_path / name))
        with pytest.raises(ConfigError) as refused:
            await made.start(Seams())
        assert refused.value.field == "cafile"


@pytest.mark.contract("EV3")
def test_a_channel_shows_no_secret() -> None:
    made = SmtpChannel.from_url("smtp://operator:hunter22@mail.example.org:25")
    for shown in (repr(made), str(made), made.describe(), repr(made._server)):
        assert "hunter22" not in shown
        assert "operator" not in shown


@pytest.mark.contract("EN16")
def test_admission_spells_the_recipient() -> None:
    made = SmtpChannel.from_url("smtp://mail.example.org?sender=me@example.org")
    admission = made.admit(to="Ann@Bücher.Example", content=Content(text="x"), thread="topic 7")
    assert admission.recipient == "Ann@xn--bcher-kva.example"
    assert admission.parts == ()


@pytest.mark.contract("EN13", "EN16")
@pytest.mark.parametrize(
    ("to", "content", "field"),
    [
        ("Ann <ann@example.net>", Content(text="x"), "to"),
        ("ann@example.net,bob@example.net", Content(text="x"), "to"),
        ("ann@example.net\r\nRCPT TO:<eve@example.net>", Content(text="x"), "to"),
        ("ann@example.net", Content(text="x", subject="a\nb"), "subject"),
    ],
)
async def test_what_is_not_admitted_is_not_sent_either(to: str, content: Content, field: str) -> None:
    made = SmtpChannel.from_url("smtp://127.0.0.1:9", sender="me@example.org")
    with pytest.raises(InvalidMessage) as refused:
        made.admit(to=to, content=content)
    assert refused.value.field == field
    # A row written by other hands may not have been admitted.
    outcome = await made.send(an_attempt(to, content=content))
    assert isinstance(outcome, Rejected)
    assert outcome.about == ("recipient" if field == "to" else "message")
