from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.channels.mail.addresses import parse_address
from pillarbox.channels.mail.compose import Mail, compose, default_subject
from pillarbox.channels.mail.fields import check_content
from pillarbox.channels.text.html import html_to_text
from pillarbox.domain.message import Content, File, Format
from pillarbox.errors import InvalidMessage

TOKEN = "AZq0fV9xcRKaW3bQ0pYl2A000"
SENDER = parse_address("me@example.org", field="sender")
CREATED_MS = 1_767_323_045_678


def composed(content: Content, *, to: str = "ann@example.net", **options: Any) -> Mail:
    check_content(content, thread=options.get("thread"))
    return compose(
        content,
        sender=options.pop("sender", SENDER),
        to=parse_address(to, field="to"),
        token=TOKEN,
        created_ms=CREATED_MS,
        **options,
    )


def read(mail: Mail) -> EmailMessage:
    message = email.message_from_bytes(mail.content, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: EmailMessage) -> str:
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def lines_of(mail: Mail) -> list[bytes]:
    assert mail.content.endswith(b"\r\n")
    assert b"\n" not in mail.content.replace(b"\r\n", b"")
    assert b"\r" not in mail.content.replace(b"\r\n", b"")
    return mail.content.split(b"\r\n")


@pytest.mark.contract("UN2")
def test_every_attempt_sends_the_same_bytes() -> None:
    for content in (Content(text="Hi"), Content(text="<b>Hi</b>", format=Format.HTML), Content(text="é" * 200)):
        assert composed(content) == composed(content)


@pytest.mark.contract("UN2")
def test_the_message_id_is_made_of_the_token_and_the_date_of_the_acceptance() -> None:
    mail = composed(Content(text="Hi"))
    assert mail.message_id == f"<{TOKEN}@example.org>"
    message = read(mail)
    assert message["Message-ID"] == mail.message_id
    assert message["Date"] == "Fri, 02 Jan 2026 03:04:05 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert (message["From"], message["To"]) == ("me@example.org", "ann@example.net")
    assert message["MIME-Version"] == "1.0"


@pytest.mark.contract("CO1")
def test_a_subject_is_kept_and_a_missing_one_is_the_texts_first_line() -> None:
    assert read(composed(Content(text="a\nb", subject="Paid")))["Subject"] == "Paid"
    assert read(composed(Content(text="\n \n  First\tline  \nSecond")))["Subject"] == "First line"
    assert read(composed(Content(text="a", subject="")))["Subject"] == ""
    assert default_subject("x" * 78) == "x" * 78
    assert default_subject("x" * 79) == "x" * 77 + "…"
    html = Content(text="<html><head><title>T</title></head><p>First <b>line</b><p>Second", format=Format.HTML)
    assert read(composed(html))["Subject"] == "First line"
    assert "Subject" not in read(composed(Content(payload=b"x", content_type="text/csv")))


@pytest.mark.contract("CO1", "EN2")
@given(
    text=st.text(max_size=300),
    subject=st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"]), min_size=1, max_size=200),
)
def test_text_and_subject_come_back_and_no_line_is_too_long(text: str, subject: str) -> None:
    mail = composed(Content(text=text, subject=subject))
    assert max(len(line) for line in lines_of(mail)) <= 78
    message = read(mail)
    assert message["Subject"] == subject
    wanted = text.replace("\r\n", "\n").replace("\r", "\n")
    got = text_of(message).replace("\r\n", "\n")
    # A body ends in a line end; a text that has none gets one.
    assert got in {wanted, f"{wanted}\n"}


@pytest.mark.contract("CO1")
@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello", "7bit"),
        ("Hello \n", "quoted-printable"),
        ("x" * 79, "quoted-printable"),
        ("x" * 5000, "quoted-printable"),
        ("Käse for everybody", "quoted-printable"),
        ("日本語" * 400, "base64"),
        ("a\x00b\x1bc", "quoted-printable"),
        (".\n..\n.", "7bit"),
    ],
)
def test_a_body_is_encoded_only_where_it_has_to_be(text: str, encoding: str) -> None:
    mail = composed(Content(text=text))
    message = read(mail)
    assert message["Content-Transfer-Encoding"] == encoding
    assert message["Content-Type"] == 'text/plain; charset="utf-8"'
    assert text_of(message).replace("\r\n", "\n").removesuffix("\n") == text.removesuffix("\n")
    assert max(len(line) for line in lines_of(mail)) <= 78
    assert not mail.needs_8bit
    assert not mail.needs_smtputf8


@pytest.mark.contract("CO1")
def test_html_goes_with_a_plain_copy_of_itself() -> None:
    html = (
        '<style>p {}</style><p>Hi&nbsp;<b>Ann</b>,</p><p>see <a href="https://example.org/a">this</a></p><li>one<li>two'
    )
    message = read(composed(Content(text=html, format=Format.HTML)))
    assert message.get_content_type() == "multipart/alternative"
    plain, rich = message.iter_parts()
    assert isinstance(plain, EmailMessage)
    assert isinstance(rich, EmailMessage)
    assert (plain.get_content_type(), rich.get_content_type()) == ("text/plain", "text/html")
    assert text_of(rich) == html
    assert text_of(plain).splitlines() == ["Hi Ann,", "", "see this <https://example.org/a>", "", "- one", "- two"]


@given(st.text(max_size=200))
def test_any_html_has_some_plain_text(html: str) -> None:
    assert isinstance(html_to_text(html), str)


@pytest.mark.contract("CO1")
def test_markdown_goes_as_plain_text() -> None:
    message = read(composed(Content(text="**Hi**", format=Format.MARKDOWN)))
    assert message.get_content_type() == "text/plain"
    assert text_of(message) == "**Hi**\r\n"


@pytest.mark.contract("EN2", "CO1")
def test_a_composed_mail_goes_out_as_it_is() -> None:
    raw = b"From: a@example.org\nMessage-ID:\n <x@example.org>\nSubject: =?utf-8?q?=C3=A9?=\n\nbody\r.\n"
    mail = composed(Content(payload=raw, content_type="message/rfc822"))
    assert mail.content == raw.replace(b"\n", b"\r\n").replace(b"body\r.", b"body\r\n.")
    assert mail.message_id == "<x@example.org>"
    assert not mail.needs_8bit
    assert not mail.needs_smtputf8
    bare = composed(Content(payload=b"Subject: \xc3\xa9\r\n\r\n\xff", content_type="Message/RFC822; x=y"))
    assert (bare.message_id, bare.needs_smtputf8, bare.needs_8bit) == (None, True, True)


BLIND = [
    b"Bcc: secret@example.net\r\n",
    b"BCC: secret@example.net, Secret <secret2@example.net>\r\n",
    b"bcc:secret@example.net\r\n",
    b"bCc :secret@example.net\r\n",
    b"Bcc \t : secret@example.net\r\n",
    b"Resent-Bcc: secret@example.net\r\n",
    b"RESENT-bcc\t: secret@example.net\r\n",
    b"Bcc: a@example.net,\r\n secret@example.net,\r\n\tsecret2@example.net\r\n",
    b"Bcc:\r\n\tsecret@example.net\r\n",
    b"Bcc: a@example.net,\r\n \r\n\t \r\n secret@example.net\r\n",
    b"Bcc:\r\n",
    b"Bcc: secret@example.net\r\nBcc: secret2@example.net\r\nResent-Bcc: secret3@example.net\r\n",
    b"Bcc: =?utf-8?q?secret?= <secret@example.net>\r\n",
    b"Bcc: s\xc3\xa9cret <secret@example.net>\r\n",
]


def raw_mail(payload: bytes) -> Mail:
    return composed(Content(payload=payload, content_type="message/rfc822"))


@pytest.mark.contract("EN2", "CO1")
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"], ids=["crlf", "lf", "cr"])
@pytest.mark.parametrize("blind", BLIND, ids=ascii)
def test_a_blind_copy_is_not_named_on_the_wire_wherever_it_stands(blind: bytes, end: bytes) -> None:
    others = [b"From: a@example.org\r\n", b"To: ann@example.net,\r\n bob@example.net\r\n", b"Subject: x\r\n"]
    for body in (b"", b"\r\n", b"\r\nBcc: in the body\r\n\r\nResent-Bcc: there too\r\n"):
        for place in range(len(others) + 1):
            given = b"".join([*others[:place], blind, *others[place:], body])
            mail = raw_mail(given.replace(b"\r\n", end))
            assert mail.content == b"".join(others) + body
            assert not mail.needs_smtputf8


@pytest.mark.contract("EN2", "CO1")
@pytest.mark.parametrize(
    "given",
    [
        b"\r\nBcc: in the body\r\n\r\nof a mail without a header\r\n",
        b"Subject: x\r\n\r\nBcc: in the body\r\n",
        b"Subject: Bcc: nobody\r\n Bcc: a folded line\r\n\tBcc: another\r\n\r\nbody\r\n",
        b"Bcc-Note: x\r\nX-Bcc: x\r\nAbcc: x\r\nResent-Cc: x\r\nBcc x: y\r\n\r\nbody\r\n",
        (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
            b"From: a@example.org\r\nBcc: attached@example.net\r\n\r\nhi\r\n--b--\r\n"
        ),
        b"Content-Type: message/rfc822\r\n\r\nBcc: attached@example.net\r\nResent-Bcc: b\r\n\r\nhi\r\n",
    ],
    ids=ascii,
)
def test_what_only_looks_like_a_blind_copy_is_not_touched(given: bytes) -> None:
    assert raw_mail(given).content == given


@pytest.mark.contract("EN2", "CO1")
def test_a_mail_of_blind_copies_only_is_still_a_mail() -> None:
    assert raw_mail(b"Bcc: secret@example.net").content == b""
    assert raw_mail(b"\xef\xbb\xbfBcc: secret@example.net\n\nhi").content == b"\r\nhi\r\n"
    assert raw_mail(b"Bcc: secret@example.net\n b\n\nhi").content == b"\r\nhi\r\n"
    # A line that is no field ends a header for some readers only.
    assert raw_mail(b"From: a@example.org\nnonsense\nBcc: secret\n\nhi").content.count(b"secret") == 0


@pytest.mark.contract("EN2", "CO1")
@given(
    st.lists(st.sampled_from([b"Subject: x", b" folded", b"Bcc: s", b"BCC:s", b"\ts", b"Resent-Bcc:", b"To: t"])),
    st.binary(max_size=40).filter(lambda body: b"\0" not in body),
    st.sampled_from([b"\r\n", b"\n", b"\r"]),
)
def test_a_library_finds_no_blind_copy_and_the_same_body(lines: list[bytes], body: bytes, end: bytes) -> None:
    given = b"From: a@example.org" + end + b"".join(line + end for line in lines) + end + body
    mail = raw_mail(given)
    sent, meant = email.message_from_bytes(mail.content), email.message_from_bytes(given)
    assert (sent["Bcc"], sent["Resent-Bcc"]) == (None, None)
    assert (sent.get_all("Subject"), sent.get_all("To")) == (
        [value.replace(end.decode(), "\r\n") for value in meant.get_all("Subject", [])] or None,
        [value.replace(end.decode(), "\r\n") for value in meant.get_all("To", [])] or None,
    )
    as_sent = re.sub(rb"\r\n|\r|\n", b"\r\n", end + body)
    assert mail.content.endswith(as_sent if as_sent.endswith(b"\r\n") else as_sent + b"\r\n")


@pytest.mark.contract("CO1", "EN13")
@pytest.mark.parametrize("name", ["Bcc", "BCC", "bcc", "Resent-Bcc", "resent-bcc", "Bcc ", "Bcc\t", "Bcc:", " Bcc"])
def test_no_other_way_leads_to_a_blind_copy(name: str) -> None:
    with pytest.raises(InvalidMessage, match=r"^extra\.headers"):
        composed(Content(text="x", extra={"headers": {name: "secret@example.net"}}))
    mail = composed(
        Content(text="Bcc: x", subject="Bcc: x", extra={"headers": {"X-Note": "Bcc: x"}}), sender_name="Bcc"
    )
    assert read(mail)["Bcc"] is None
    assert text_of(read(mail)) == "Bcc: x\r\n"


@pytest.mark.contract("EN2", "CO1")
def test_another_payload_is_the_body_in_its_own_type() -> None:
    raw = bytes(range(256)) * 20
    mail = composed(Content(payload=raw, content_type='application/x-thing; name="a b"', subject="S"))
    message = read(mail)
    assert message["Content-Type"] == 'application/x-thing; name="a b"'
    assert message.get_payload(decode=True) == raw
    assert max(len(line) for line in lines_of(mail)) <= 78


@pytest.mark.contract("CO3")
def test_a_reply_names_what_it_answers() -> None:
    receipt = "<abc@example.org>"
    message = read(composed(Content(text="x", reply_to=receipt)))
    assert (message["In-Reply-To"], message["References"]) == (receipt, receipt)
    message = read(composed(Content(text="x", reply_to=receipt), thread="<root@example.org>"))
    assert message["References"].split() == ["<root@example.org>", receipt]
    message = read(composed(Content(text="x"), thread="<root@example.org>"))
    assert (message["In-Reply-To"], message["References"]) == (None, "<root@example.org>")


@pytest.mark.contract("CO3")
@pytest.mark.parametrize("reply_to", ["-100123", "abc@example.org", "<a b@c>", "<a@b> <c@d>", "<>", ""])
def test_a_reply_to_what_is_no_message_id_goes_without(reply_to: str) -> None:
    message = read(composed(Content(text="x", reply_to=reply_to), thread="topic 7"))
    assert message["In-Reply-To"] is None
    assert message["References"] is None


@pytest.mark.contract("CO1")
def test_extra_headers_are_written() -> None:
    link = f"<https://example.org/{'u' * 300}>"
    headers = {"List-Unsubscribe": link, "X-Note": "zażółć", "Reply-To": "help@example.org"}
    mail = composed(Content(text="x", extra={"headers": headers}))
    message = email.message_from_bytes(mail.content, policy=email.policy.SMTP.clone(max_line_length=998))
    assert {name: message[name] for name in headers} == headers


@pytest.mark.contract("CO1")
@pytest.mark.parametrize("name", ["Ops", 'Say "hi"', "Ann, Bob; <x@y>", "Zażółć, gęślą", "日本" * 5])
def test_a_senders_name_stays_one_name(name: str) -> None:
    mail = composed(Content(text="x"), sender_name=name)
    assert max(len(line) for line in lines_of(mail)) <= 78
    (mailbox,) = read(mail)["From"].addresses
    assert (mailbox.display_name, mailbox.addr_spec) == (name, "me@example.org")


@pytest.mark.contract("CO1")
def test_an_address_that_is_not_ascii_needs_smtputf8() -> None:
    mail = composed(Content(text="x"), to="zoë@bücher.example")
    assert mail.needs_smtputf8
    assert "To: zoë@xn--bcher-kva.example\r\n".encode() in mail.content
    assert not composed(Content(text="x"), to="zoe@bücher.example").needs_smtputf8


# What must not reach a header, alone or amidst of something.
CONTROLS = [
    "\r\nBcc: eve@example.org", "\n", "\r", "\r\n", "\n\n", "\0", "\x01", "\x07", "\x08", "\t", "\x0b", "\x0c",
    "\x1b[2J", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\u2028", "\u2029", "\ud800",
]  # fmt: skip
FIELDS = {
    "subject": lambda bad: Content(text="x", subject=f"a{bad}b"),
    "reply_to": lambda bad: Content(text="x", reply_to=f"<a{bad}@b>"),
    "extra.headers.X-A": lambda bad: Content(text="x", extra={"headers": {"X-A": f"a{bad}b"}}),
    "extra.headers": lambda bad: Content(text="x", extra={"headers": {f"X{bad}A": "b"}}),
    "content_type": lambda bad: Content(payload=b"x", content_type=f"text/{bad}plain"),
}


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("bad", CONTROLS, ids=ascii)
@pytest.mark.parametrize("field", FIELDS)
def test_a_control_character_is_refused_with_its_field(field: str, bad: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        check_content(FIELDS[field](bad), thread=None)
    assert refused.value.field == field
    assert bad not in refused.value.expected


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("bad", CONTROLS, ids=ascii)
def test_a_control_character_in_an_address_or_a_thread_is_refused(bad: str) -> None:
    for address in (f"a{bad}n@example.org", f"ann@exam{bad}ple.org", f"{bad}a@example.org", f"a@example.org{bad}"):
        with pytest.raises(InvalidMessage) as refused:
            parse_address(address, field="to")
        assert refused.value.field == "to"
    with pytest.raises(InvalidMessage) as refused:
        check_content(Content(text="x"), thread=f"a{bad}b")
    assert refused.value.field == "thread"


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("bad", [*CONTROLS[:-1], "=?utf-8?q?x?=", "Ünï"], ids=ascii)
def test_a_text_may_hold_anything_and_adds_no_header(bad: str) -> None:
    mail = composed(Content(text=f"{bad}\r\nBcc: eve@example.org\r\n\r\n.\r\n"))
    assert set(read(mail).keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
        "Content-Transfer-Encoding",
    }  # fmt: skip


@pytest.mark.contract("EN13", "CO1")
@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Content(text="x", extra={"buttons": []}), "extra.buttons"),
        (Content(text="x", extra={"headers": ["a"]}), "extra.headers"),
        (Content(text="x", extra={"headers": {"X-A": 7}}), "extra.headers.X-A"),
        (Content(text="x", extra={"headers": {"X-A": "y" * 901}}), "extra.headers.X-A"),
        (Content(text="x", extra={"headers": {"X A": "y"}}), "extra.headers"),
        (Content(text="x", extra={"headers": {"X:A": "y"}}), "extra.headers"),
        (Content(text="x", extra={"headers": {"": "y"}}), "extra.headers"),
        (Content(text="x", extra={"headers": {"Bcc": "eve@example.org"}}), "extra.headers.Bcc"),
        (Content(text="x", extra={"headers": {"message-id": "<a@b>"}}), "extra.headers.message-id"),
        (Content(text="x", extra={"headers": {"Content-Type": "a/b"}}), "extra.headers.Content-Type"),
        (Content(text="x", extra={"headers": {"Reply-To": "a, b"}}), "extra.headers.Reply-To"),
        (Content(text="x", extra={"headers": {f"X-{n}": "y" for n in range(51)}}), "extra.headers"),
        (Content(text="x", subject="s" * 1001), "subject"),
        (Content(text="\ud800"), "text"),
        (Content(payload=b"x"), "content_type"),
        (Content(payload=b"x", content_type="text"), "content_type"),
        (Content(payload=b"x", content_type="multipart/mixed; boundary=a"), "content_type"),
        (Content(payload=b"x", content_type="message/partial"), "content_type"),
        (Content(payload=b"a: b\r\n\r\n\0", content_type="message/rfc822"), "payload"),
        (Content(payload=b"x" * 999, content_type="message/rfc822"), "payload"),
    ],
)
def test_what_a_mail_cannot_carry_is_refused_with_its_field(content: Content, field: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        check_content(content, thread=None)
    assert refused.value.field == field


@pytest.mark.contract("EN13", "EN16")
@pytest.mark.parametrize(
    ("address", "spelt"),
    [
        ("ann@example.org", "ann@example.org"),
        ("Ann.Lee+tag@Example.ORG", "Ann.Lee+tag@example.org"),
        ("o'neil!#$%&*/=?^_`{|}~@x-y.example", "o'neil!#$%&*/=?^_`{|}~@x-y.example"),
        ('"a b"@example.org', '"a b"@example.org'),
        ('"a@b,c\\""@example.org', '"a@b,c\\""@example.org'),
        ("root@localhost", "root@localhost"),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
        ("ann@[ipv6:2001:DB8::1]", "ann@[IPv6:2001:db8::1]"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@faß.example", "ann@xn--fa-hia.example"),
        ("ann@日本。example", "ann@xn--wgv71a.example"),
        ("δοκιμή@example.org", "δοκιμή@example.org"),
        (f"{'a' * 64}@example.org", f"{'a' * 64}@example.org"),
    ],
)
def test_a_well_formed_address_is_spelt_for_the_wire(address: str, spelt: str) -> None:
    assert str(parse_address(address, field="to")) == spelt


@pytest.mark.contract("EN13", "EN16")
@pytest.mark.parametrize(
    "address",
    [
"", "@", "ann", "ann@", "@example.org", "Ann <ann@example.org>", "<ann@example.org>",
        "ann@example.org, bob@example.org", "ann,bob@example.org", "ann@example.org;bob@example.org",
        "ann @example.org", " ann@example.org", "ann@example.org ", "ann@exam ple.org", ".ann@example.org",
        "ann.@example.org", "a..b@example.org", "ann@@example.org", "a@b@example.org", 'a"b@example.org',
        '"a@example.org', '"a"b"@example.org', '"a\\"@example.org', "(c)ann@example.org", "ann@example..org",
        "ann@.example.org", "ann@example.org.", "ann@-example.org", "ann@example-.org", "ann@exa_mple.org",
        "ann@192.0.2.1", "ann@[192.0.2.256]", "ann@[192.0.2.1", "ann@192.0.2.1]", "ann@[example.org]",
        "ann@[IPv6:fe80::1%eth0]", "ann@[2001:db8::1]", "a\u200bnn@example.org", "a\u202enn@example.org",
        "a\u00a0nn@example.org", "ann@exa\u200bmple.org\u0378", f"{'a' * 65}@example.org",
        f"{'é' * 33}@example.org", f"ann@{'a' * 64}.org", f"ann@{'a.' * 126}org",
        f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 61}.org", "mailto:ann@example.org", "ann@example.org>x",
        "ann@example.org\\",
    ],
)  # fmt: skip
def test_a_malformed_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        parse_address(address, field="to")
    assert refused.value.field == "to"
    assert len(address) < 4 or address not in str(refused.value)


NAMES = ["a.pdf", 'q"\\.txt', "Grüße aus Köln.txt", "漢" * 255, "x" * 255, "a%20b'c.txt"]


@pytest.mark.contract("CO4", "UN2")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content", [Content(text="Hi --=_m_"), Content(text="<b>Hi</b>", format=Format.HTML), Content()]
)
def test_files_are_attachments(content: Content, name: str) -> None:
    data = bytes(range(256)) * 3
    files = (File(name=name, media_type="image/png", data=data), File(media_type="message/rfc822", data=b"--=_m_"))
    mail = composed(msgspec.structs.replace(content, files=files))
    assert max(map(len, lines_of(mail))) <= 100
    message = read(mail)
    assert message.get_content_type() == "multipart/mixed"
    found = [(one.get_filename(), one.get_content_type(), one.get_content()) for one in message.iter_attachments()]
    assert found == [(name, "image/png", data), ("file", "application/octet-stream", b"--=_m_")]
    body = message.get_body()
    assert body is not None
    assert ("Hi" in body.get_content()) == (content.text is not None)


@pytest.mark.contract("CO4")
def test_the_urls_of_files_are_lines_of_the_text() -> None:
    link = File(url="https://example.org/?a=1&b=2")
    assert text_of(read(composed(Content(text="Hi", files=(link,))))) == "Hi\r\nhttps://example.org/?a=1&b=2\r\n"
    html = read(composed(Content(text="<b>Hi</b>", format=Format.HTML, files=(link,)))).get_body(("html",))
    assert html is not None
    assert '<a href="https://example.org/?a=1&amp;b=2">' in html.get_content()
