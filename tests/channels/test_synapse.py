"""
The Matrix channel against a homeserver that nobody here wrote: Synapse.

It is not installed with our tools: it brings a hundred packages, and pins some. In an environment of its own::

    make synapse

A variable may name another Python that has it: PILLARBOX_TEST_SYNAPSE=/path/to/bin/python. Another says how many
messages go through killed workers, PILLARBOX_TEST_SYNAPSE_MESSAGES; with 200 of them (``make proof-platforms``) the
server is killed between, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest

from pillarbox import Outbox
from pillarbox.channels.base import Attempt, KeptInMemory, Seams
from pillarbox.channels.matrix import MatrixChannel
from pillarbox.clock import SystemClock
from pillarbox.domain.message import Content, Format
from pillarbox.domain.outcome import Delivered, RateLimited, Rejected, Unavailable, Uncertain
from tests.acceptance.processes import Accepting, WorkerProcess
from tests.channels.attempts import TOKEN, an_attempt
from tests.kept_port import kept_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = Path(os.environ.get("PILLARBOX_TEST_SYNAPSE", ROOT / ".venv-synapse/bin/python"))
MESSAGES: Final = int(os.environ.get("PILLARBOX_TEST_SYNAPSE_MESSAGES", "20"))
SECONDS_TO_START: Final = 240
"""How long one command of Synapse may take, its start too: on a machine with much else to do, more than a minute."""

SETTINGS: Final = """
suppress_key_server_warning: true
registration_shared_secret: "devsecret"
rc_message: {per_second: 3, burst_count: 8}
rc_room_creation: {per_second: 100, burst_count: 100}
rc_login: {address: {per_second: 100, burst_count: 100}, account: {per_second: 100, burst_count: 100}}
refreshable_access_token_lifetime: 1h
"""

pytestmark = [
    pytest.mark.skipif(
        not PYTHON.exists(), reason=f"NOT RUN AGAINST SYNAPSE: there is no {PYTHON}; see the top of this file"
    ),
    # The fixture counts for the first test of a run: that is four such commands before its own work.
    pytest.mark.timeout(5 * SECONDS_TO_START),
]


class Synapse:
    """One homeserver in a directory of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._said = home / "said.txt"
        self._port = port
        self.url = f"http://127.0.0.1:{port}"

    def prepare(self) -> None:
        given = ["--server-name", "test.local", "--generate-config", "--report-stats=no"]
        self._run("synapse.app.homeserver", *given, "--config-path", "homeserver.yaml")
        settings = (self._home / "homeserver.yaml").read_text("utf-8").replace("port: 8008", f"port: {self._port}")
        (self._home / "homeserver.yaml").write_text(settings + SETTINGS, "utf-8")

    def register(self, user: str) -> None:
        self._run(
            "synapse._scripts.register_new_matrix_user", "-u", user, "-p", "pw", "-a", "-k", "devsecret", self.url
        )

    def _run(self, module: str, *arguments: str) -> None:
        command = [str(PYTHON), "-m", module, *arguments]
        with self._said.open("ab") as said:
            try:
                subprocess.run(command, cwd=self._home, stdout=said, stderr=said, timeout=SECONDS_TO_START, check=True)
            except subprocess.SubprocessError as exc:
                exc.add_note(self._last_words())
                raise

    def start(self) -> None:
        command = [str(PYTHON), "-m", "synapse.app.homeserver", "-c", "homeserver.yaml"]
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(command, cwd=self._home, stdout=said, stderr=said, start_new_session=True)
        clock = SystemClock()
        until = clock.wall_ms() + SECONDS_TO_START * 1000
        while clock.wall_ms() < until:
            assert self._process.poll() is None, self._last_words()
            with contextlib.suppress(OSError), self._open("health"):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
        raise TimeoutError(f"Synapse does not answer\n{self._last_words()}")

    def _last_words(self) -> str:
        return self._said.read_text("utf-8", "replace")[-4000:]

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        data = None if body is None else json.dumps(body).encode()
        with self._open(f"_matrix/client/v3/{path}", method=method, data=data, token=token) as answer:
            return json.load(answer)

    def _open(self, path: str, *, method: str = "GET", data: bytes | None = None, token: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{self.url}/{path}", data=data, method=method, headers=headers)  # noqa: S310 — ours
        return urllib.request.urlopen(request, timeout=SECONDS_TO_START)  # noqa: S310 — it is http:

    def token(self, user: str = "alice") -> str:
        return str(self.login(user, "READER")["access_token"])

    def login(self, user: str, device: str, **fields: Any) -> Any:
        identifier = {"type": "m.id.user", "user": user}
        login = {"type": "m.login.password", "identifier": identifier, "password": "pw", "device_id": device}
        return self.call("POST", "login", {**login, **fields})

    def room(self, token: str, **fields: Any) -> str:
        # Rooms count against the limit of messages, which is what the tests are about.
        for _ in range(50):
            try:
                return str(self.call("POST", "createRoom", fields, token)["room_id"])
            except urllib.error.HTTPError as exc:
                if exc.code != 429 or self._process is None:
                    raise
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.5)
        raise TimeoutError("Synapse makes no room")

    def bodies(self, room: str, token: str) -> list[str]:
        found = self.call("GET", f"rooms/{quote(room, safe='')}/messages?dir=f&limit=1000", token=token)
        return [event["content"]["body"] for event in found["chunk"] if event["type"] == "m.room.message"]


@pytest.fixture(scope="module")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    with kept_port() as port:
        synapse = Synapse(tmp_path_factory.mktemp("synapse"), port)
        try:
            synapse.prepare()
            synapse.start()
            for user in ("alice", "bob"):
                synapse.register(user)
            yield synapse
        finally:
            synapse.kill()


def url_of(synapse: Synapse) -> str:
    return f"matrix://alice:pw@test.local?base_url={synapse.url}&device_id=OUTBOX"


def attempt(room: str, number: int, text: str = "Hello", **fields: Any) -> Attempt:
    content = Content(text=text, format=Format(fields.pop("written", "plain")))
    return an_attempt(room, content=content, token=f"{TOKEN[:-4]}{number:04}", **fields)


async def started(synapse: Synapse) -> MatrixChannel:
    channel = MatrixChannel.from_url(url_of(synapse))
    await channel.start(Seams())
    return channel


@pytest.mark.contract("UN2", "UN5")
async def test_a_second_copy_is_the_first_event_through_logins_and_a_server_that_is_killed(synapse: Synapse) -> None:
    token = await asyncio.to_thread(synapse.token)
    room = await asyncio.to_thread(synapse.room, token)
    receipts = []
    for killed in (False, False, True):
        if killed:
            await asyncio.to_thread(synapse.kill)
            await asyncio.to_thread(synapse.start)
        channel = await started(synapse)
        for _ in range(2):
            outcome = await channel.send(attempt(room, 1, "**Once** & only", written="markdown"))
            assert isinstance(outcome, Delivered), outcome
            receipts.append(outcome.receipt)
        assert channel.covered is True
        await channel.close()
    assert len(set(receipts)) == 1
    assert await asyncio.to_thread(synapse.bodies, room, token) == ["Once & only"]


class Lasting(KeptInMemory):
    """What is kept, as a store keeps it."""

    lasts = True


@pytest.mark.contract("UN5")
async def test_a_refresh_token_that_was_used_locks_nobody_out(synapse: Synapse) -> None:
    room = await asyncio.to_thread(synapse.room, await asyncio.to_thread(synapse.token))
    given = await asyncio.to_thread(synapse.login, "alice", "REFRESHED", refresh_token=True)
    keep = Lasting()
    for number in range(3):
        # A restart each time, with an access token that is over and the refresh token that the first start used.
        channel = MatrixChannel(
            access_token="syt_over", refresh_token=given["refresh_token"], base_url=synapse.url, timeout_seconds=60
        )
        await channel.start(Seams(keep=keep))
        for _ in range(2):
            outcome = await channel.send(attempt(room, 9000 + number))
            assert isinstance(outcome, Delivered), outcome
        assert channel.covered
        await channel.close()
        kept = json.loads(await keep.read() or "")
        # The last one finds that its access token is over, and refreshes again.
        if number == 1:
            assert await keep.replace(json.dumps(kept, separators=(",", ":")), json.dumps({**kept, "access": "syt_no"}))
    with pytest.raises(urllib.error.HTTPError):
        await asyncio.to_thread(synapse.call, "POST", "refresh", {"refresh_token": given["refresh_token"]})
    assert len(await asyncio.to_thread(synapse.bodies, room, await asyncio.to_thread(synapse.token))) == 3


@pytest.mark.contract("UN1")
async def test_synapse_is_asked_whether_it_has_a_message(synapse: Synapse) -> None:
    token = await asyncio.to_thread(synapse.token)
    room = await asyncio.to_thread(synapse.room, token)
    since_ms = SystemClock().wall_ms()
    channel, later = await started(synapse), MatrixChannel.from_url(url_of(synapse).replace("OUTBOX", "LATER"))
    await later.start(Seams())
    receipts = []
    for number in range(3):
        outcome = await channel.send(attempt(room, 5000 + number, reconciles=number != 1))
        assert isinstance(outcome, Delivered), outcome
        receipts.append(outcome.receipt)
    for asking in (channel, later):
        found = await asking.look_up(attempt(room, 5000), since_ms=since_ms)
        assert isinstance(found, Delivered)
        assert found.receipt == receipts[0]
        assert await asking.look_up(attempt(room, 5999), since_ms=since_ms) is None
    # What carries no token in its content is known by its transaction id, to the device that sent it.
    found = await channel.look_up(attempt(room, 5001), since_ms=since_ms)
    assert isinstance(found, Delivered)
    assert found.receipt == receipts[1]
    assert await later.look_up(attempt(room, 5001), since_ms=since_ms) is None
    assert isinstance(await channel.look_up(attempt("!nobody:test.local", 1), since_ms=since_ms), Uncertain)
    await channel.close()
    await later.close()


@pytest.mark.contract("CH2")
async def test_what_synapse_answers_means_what_our_table_says(synapse: Synapse) -> None:
    token = await asyncio.to_thread(synapse.token)
    room = await asyncio.to_thread(synapse.room, token, room_alias_name="ops")
    bobs = await asyncio.to_thread(synapse.token, "bob")
    foreign = await asyncio.to_thread(synapse.room, bobs)
    channel = await started(synapse)
    assert isinstance(await channel.send(attempt("#ops:test.local", 1)), Delivered)
    for to in (foreign, "!nowhere:test.local", "#nowhere:test.local"):
        outcome = await channel.send(attempt(to, 2))
        assert isinstance(outcome, Rejected), (to, outcome)
        assert outcome.about == "recipient"
    outcome = await channel.send(attempt(room, 3, "x" * 70_000))
    assert isinstance(outcome, Rejected), outcome
    assert outcome.about == "message"
    answers = await asyncio.gather(*(channel.send(attempt(room, number)) for number in range(4, 24)))
    limited = [outcome for outcome in answers if isinstance(outcome, RateLimited)]
    assert limited
    assert all(
        outcome.scope == "channel" and outcome.after is not None and 0 < outcome.after < 10 for outcome in limited
    )
    await channel.close()
    for stranger in (
        MatrixChannel(user="alice", password="wrong", base_url=synapse.url),
        MatrixChannel(access_token="syt_nobody", base_url=synapse.url),
    ):
        await stranger.start(Seams())
        assert isinstance(await stranger.send(attempt(room, 30)), Unavailable)
        await stranger.close()


@pytest.mark.contract("LA1", "FL1")
async def test_an_outbox_sends_each_message_once_in_order_and_waits_when_it_is_told(
    synapse: Synapse, tmp_path: Path
) -> None:
    token = await asyncio.to_thread(synapse.token)
    rooms = [await asyncio.to_thread(synapse.room, token) for _ in range(3)]
    async with Outbox(tmp_path / "outbox.db", channels={"chat": url_of(synapse)}) as box:
        messages = [await box.send("chat", to=room, text=f"{number}") for number in range(8) for room in rooms]
        for message in messages:
            await message.wait(timeout=100)
        assert {message.state for message in messages} == {"delivered"}
    for room in rooms:
        assert await asyncio.to_thread(synapse.bodies, room, token) == [f"{number}" for number in range(8)]


class Way:
    """
    The way to the homeserver, on which every seventh answer to a send gets lost.

    Attributes:
        sent: How many sends went by.
        limited: How many of them were answered with 429.
        lost: How many answers were not passed on.
    """

    def __init__(self, synapse: Synapse) -> None:
        self._port = int(synapse.url.rpartition(":")[2])
        self._changed = asyncio.Event()
        self.sent = self.limited = self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                while True:
                    request = await self._message(reader)
                    is_send = request.startswith(b"PUT ") and b"/send/" in request.partition(b"\r\n")[0]
                    back.write(request)
                    answer = await self._message(there)
                    if is_send:
                        self._count(answer)
                        if self.sent % 7 == 0:
                            self.lost += 1
                            break
                    writer.write(answer)
            finally:
                back.close()
        writer.transport.abort()

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
        if length is not None:
            return head + await reader.readexactly(int(length[1]))
        chunks = [head]
        while b"chunked" in head.lower():
            size = await reader.readline()
            chunks += [size, await reader.readexactly(int(size, 16) + 2)]
            if int(size, 16) == 0:
                break
        return b"".join(chunks)

    def _count(self, answer: bytes) -> None:
        self.sent += 1
        self.limited += b" 429 " in answer.partition(b"\r\n")[0]
        self._changed.set()
        self._changed = asyncio.Event()

    async def more(self, count: int) -> None:
        """Wait until so many more sends went by."""
        wanted = self.sent + count
        while self.sent < wanted:
            await self._changed.wait()


@contextlib.asynccontextmanager
async def way_to(synapse: Synapse) -> AsyncIterator[tuple[Way, str]]:
    way = Way(synapse)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield way, url_of(synapse).replace(synapse.url, f"http://127.0.0.1:{port}")
    finally:
        server.close()


@pytest.mark.contract("EN1", "LA1", "UN2", "RE4", "LE4")
async def test_killed_workers_and_lost_answers_cost_no_copy_and_no_turn(synapse: Synapse, tmp_path: Path) -> None:
    token = await asyncio.to_thread(synapse.token)
    is_long = MESSAGES >= 200
    rooms = [await asyncio.to_thread(synapse.room, token) for _ in range(10 if is_long else 4)]
    kills = 10 if is_long else 2
    db = tmp_path / "outbox.db"
    policy = {"schedule": "100ms", "max_attempts": 30}
    async with way_to(synapse) as (way, url), Accepting(db) as box:
        messages = [
            await box.send(rooms[number % len(rooms)], text=f"{number}", **policy) for number in range(MESSAGES)
        ]
        for number in range(kills):
            async with WorkerProcess(db, url, channel=policy):
                async with asyncio.timeout(300):
                    await way.more(MESSAGES // (2 * kills))
            if is_long and number == kills // 2:
                await asyncio.to_thread(synapse.kill)
                await asyncio.to_thread(synapse.start)
        async with WorkerProcess(db, url, channel=policy), asyncio.timeout(300):
            ends = [await message.wait() for message in messages]
        assert {message.state for message in ends} == {"delivered"}
    for place, room in enumerate(rooms):
        expected = [f"{number}" for number in range(place, MESSAGES, len(rooms))]
        assert await asyncio.to_thread(synapse.bodies, room, token) == expected
    print(f"\n{MESSAGES} messages, {kills} kills, {way.sent} sends, {way.limited} limited, {way.lost} answers lost")  # noqa: T201 — the figures of the long form
    assert way.lost
    assert way.sent <= MESSAGES + kills * len(rooms) + way.lost + way.limited
