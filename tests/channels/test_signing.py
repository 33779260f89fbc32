from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.channels.http.signing import Secret, parse_secret, signature_headers, verify
from pillarbox.errors import ConfigError, InvalidMessage

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(bytes(range(24))).decode()
ID = "AZq0fV9xcRKaW3bQ0pYl2A"
BODY = '{"text": "Zażółć"}'.encode()
NOW = 1_767_323_045

VERIFIERS = pytest.mark.parametrize("verifier", [standardwebhooks.Webhook, svix.webhooks.Webhook])
REFUSED = (standardwebhooks.WebhookVerificationError, svix.webhooks.WebhookVerificationError)


def secrets(*texts: str) -> list[Secret]:
    return [parse_secret(text, field="secret") for text in texts]


def signed(*texts: str, body: bytes = BODY, at: float | None = None) -> dict[str, str]:
    return signature_headers(ID, body, secrets(*texts), timestamp_seconds=int(time.time() if at is None else at))


@VERIFIERS
def test_others_recognise_our_signature(verifier: Any) -> None:
    verifier(NEW).verify(BODY, signed(NEW))


@VERIFIERS
def test_while_rotating_a_receiver_with_either_secret_recognises_it(verifier: Any) -> None:
    headers = signed(NEW, OLD)
    verifier(NEW).verify(BODY, headers)
    verifier(OLD).verify(BODY, headers)


@VERIFIERS
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("webhook-id", lambda value: value[:-1] + "Q"),
        ("webhook-timestamp", lambda value: str(int(value) + 1)),
        ("webhook-timestamp", lambda value: str(int(value) - 301)),
        ("webhook-timestamp", lambda value: str(int(value) + 302)),
        ("webhook-signature", lambda value: "v1," + base64.b64encode(b"x" * 32).decode()),
        ("webhook-signature", lambda value: value.replace("v1,", "v2,")),
    ],
)
def test_others_refuse_what_was_tampered_with(verifier: Any, name: str, change: Any) -> None:
    headers = signed(NEW)
    headers[name] = change(headers[name])
    with pytest.raises(REFUSED):
        verifier(NEW).verify(BODY, headers)
    with pytest.raises(InvalidMessage) as refused:
        verify(BODY, headers, secrets(NEW), now_seconds=time.time())
    assert refused.value.field.startswith("webhook-")


@VERIFIERS
def test_others_refuse_another_body_and_another_secret(verifier: Any) -> None:
    for wrong_body, wrong_secret in ((BODY + b" ", NEW), (BODY[:-1], NEW), (BODY, OLD)):
        with pytest.raises(REFUSED):
            verifier(wrong_secret).verify(wrong_body, signed(NEW))
        with pytest.raises(InvalidMessage):
            verify(wrong_body, signed(NEW), secrets(wrong_secret), now_seconds=time.time())


@VERIFIERS
def test_we_recognise_the_signature_of_others(verifier: Any) -> None:
    at = datetime.now(UTC).replace(microsecond=0)
    headers = {
        "Webhook-Id": ID,
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": verifier(NEW).sign(ID, at, BODY.decode()),
    }
    assert verify(BODY, headers, secrets(OLD, NEW), now_seconds=at.timestamp()) == ID


def test_the_id_stays_and_the_timestamp_is_the_attempts() -> None:
    first, second = signed(NEW, at=NOW), signed(NEW, at=NOW + 300)
    assert first["webhook-id"] == second["webhook-id"] == ID
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == (str(NOW), str(NOW + 300))
    assert first["webhook-signature"] != second["webhook-signature"]


def test_without_a_secret_id_and_timestamp_still_go_out() -> None:
    assert signed(at=NOW) == {"webhook-id": ID, "webhook-timestamp": str(NOW)}


@pytest.mark.parametrize(("age", "fresh"), [(300, True), (301, False), (-300, True), (-301, False), (0.5, True)])
def test_a_signature_is_good_for_five_minutes_either_way(age: float, fresh: bool) -> None:
    headers = signed(NEW, at=NOW)
    if fresh:
        assert verify(BODY, headers, secrets(NEW), now_seconds=NOW + age) == ID
        return
    with pytest.raises(InvalidMessage, match="webhook-timestamp: expected a time within 300 s"):
        verify(BODY, headers, secrets(NEW), now_seconds=NOW + age)


def test_a_time_that_is_no_number_is_no_reason_to_accept() -> None:
    with pytest.raises(InvalidMessage, match="webhook-timestamp"):
        verify(BODY, signed(NEW, at=NOW), secrets(NEW), now_seconds=float("nan"))


@pytest.mark.parametrize("length", [0, 1, 16, 31, 33, 64])
def test_a_signature_of_another_length_never_matches(length: int) -> None:
    # CVE-2024-21491: a library compared only as many bytes as the shorter of the two had.
    headers = signed(NEW, at=NOW)
    digest = base64.b64decode(headers["webhook-signature"].removeprefix("v1,"))
    headers["webhook-signature"] = "v1," + base64.b64encode((digest + digest)[:length]).decode()
    with pytest.raises(InvalidMessage, match="webhook-signature"):
        verify(BODY, headers, secrets(NEW), now_seconds=NOW)


def test_the_right_signature_is_found_among_others() -> None:
    headers = signed(NEW, at=NOW)
    headers["webhook-signature"] = f"v1a,AAAA v1,!!! v1, , {headers['webhook-signature']} v9"
    assert verify(BODY, headers, secrets(OLD, NEW), now_seconds=NOW) == ID


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(missing: str) -> None:
    headers = signed(NEW, at=NOW)
    del headers[missing]
    with pytest.raises(InvalidMessage) as refused:
        verify(BODY, headers, secrets(NEW), now_seconds=NOW)
    assert refused.value.field == missing


def test_an_id_with_a_full_stop_could_mean_two_things_and_is_refused() -> None:
    # "a.1" + "2" and "a" + "1.2" would be signed alike.
    headers = signature_headers("a.1", BODY, secrets(NEW), timestamp_seconds=NOW)
    with pytest.raises(InvalidMessage, match="webhook-id"):
        verify(BODY, headers, secrets(NEW), now_seconds=NOW)


def test_without_any_secret_nothing_is_recognised() -> None:
    with pytest.raises(InvalidMessage):
        verify(BODY, signed(NEW, at=NOW), [], now_seconds=NOW)


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_no_headers_raise_anything_but_a_refusal(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidMessage):
        verify(BODY, headers, secrets(NEW), now_seconds=NOW)


BAD_SECRETS: list[Any] = [
    "",
    "whsec_",
    "hunter2",
    NEW.removeprefix("whsec_"),
    "whsk_" + NEW.removeprefix("whsec_"),
    "WHSEC_" + NEW.removeprefix("whsec_"),
    "whsec_not base64 at all but long enough to be",
    "whsec_" + base64.b64encode(b"x" * 23).decode(),
    "whsec_" + base64.b64encode(b"x" * 65).decode(),
    NEW + "\n",
    NEW + " ",
    "whsec_" + "é" * 40,
    None,
    b"whsec_",
    42,
]


@pytest.mark.parametrize("text", BAD_SECRETS)
def test_a_bad_secret_is_refused_by_its_setting_and_not_shown(text: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_secret(text, field="channels.ops.secret")
    assert refused.value.field == "channels.ops.secret"
    assert "expected whsec_ followed by base64" in str(refused.value)
    inside = str(text).strip().removeprefix("whsec_")
    assert not inside or inside not in str(refused.value)


def test_a_secret_without_padding_is_the_same_secret() -> None:
    padded = "whsec_" + base64.b64encode(b"k" * 25).decode()
    assert padded.endswith("==")
    headers = signed(padded.rstrip("="), at=NOW)
    assert verify(BODY, headers, secrets(padded), now_seconds=NOW) == ID


@pytest.mark.contract("EV3")
def test_a_secret_shows_itself_nowhere() -> None:
    [secret] = secrets(NEW)
    assert repr(secret) == str(secret) == f"{secret}" == "Secret(***)"


def test_a_secret_signs_many_times_alike() -> None:
    [secret] = secrets(NEW)
    assert {secret.digest(BODY) for _ in range(3)} == {secret.digest(BODY)}
    assert secret.digest(BODY) != secret.digest(BODY + b"x")


@VERIFIERS
def test_others_refuse_an_old_attempt_so_every_attempt_is_signed_anew(verifier: Any) -> None:
    old = signed(NEW, at=(datetime.now(UTC) - timedelta(minutes=6)).timestamp())
    with pytest.raises(REFUSED):
        verifier(NEW).verify(BODY, old)
    verifier(NEW).verify(BODY, signed(NEW))
