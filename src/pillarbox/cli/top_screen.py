"""
The screen of `pillarbox top`, drawn with Textual. It reads, and writes nothing but what somebody asks and confirms.

Only `pillarbox.cli.top` loads it, because Textual is an extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Label, Static

from pillarbox.cli.command_context import actor
from pillarbox.cli.top_view import (
    CHANNEL_COLUMNS,
    LETTER_COLUMNS,
    WORKER_COLUMNS,
    Look,
    Rates,
    channel_rows,
    heading,
    letter_rows,
    worker_rows,
)
from pillarbox.clock import SystemClock
from pillarbox.domain.message import State
from pillarbox.domain.plain_characters import visible
from pillarbox.errors import PillarboxError
from pillarbox.outbox.outbox import inside
from pillarbox.settings.derived import databases
from pillarbox.settings.explain import mask_dsn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pillarbox.outbox.message import Message
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.store.base import Flow

K = TypeVar("K", str, int, tuple[str, str])

_LETTERS_MAX: Final = 50
# Which messages the lowest table shows, in the order in which a key goes through them.
_SHOWN: Final = (State.DEAD, State.HELD, State.SCHEDULED)
_DEAD, _HELD, _SCHEDULED = _SHOWN


class Question(ModalScreen[bool]):
    """Asks before something is written: ``y`` does it, anything else does not."""

    DEFAULT_CSS = """
    Question { align: center middle; }
    Question Vertical {
        width: auto; max-width: 90%; height: auto; padding: 1 2; border: round $accent; background: $surface;
    }
    Question Label { width: auto; max-width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
    ]

    def __init__(self, asked: str) -> None:
        super().__init__()
        self._asked = asked

    def compose(self) -> ComposeResult:
        """See Textual."""
        with Vertical():
            yield Label(Text(visible(self._asked)))
            yield Label(Text("y: yes    n: no"))

    def action_answer(self, answer: bool) -> None:
        """End with an answer."""
        self.dismiss(answer)


class Top(App[None]):
    """
    The queue as it is now, looked at again and again.

    Args:
        box: Open; it delivers nothing.
        seconds: From one look to the next.
    """

    TITLE = "pillarbox top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #heading { height: auto; padding: 0 1; text-style: bold; }
    #trouble { height: auto; padding: 0 1; color: $error; display: none; }
    .title { height: 1; padding: 0 1; color: $text-muted; margin-top: 1; }
    DataTable { height: auto; max-height: 40%; }
    #letters { height: 1fr; max-height: 100%; min-height: 4; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("tab", "app.focus_next", "Next table", show=False),
        Binding("p", "pause", "Pause or resume"),
        Binding("r", "again", "Retry or replay"),
        Binding("c", "cancel", "Cancel"),
        Binding("s", "show_others", "Dead, held, waiting"),
    ]

    def __init__(self, box: Outbox, *, seconds: float) -> None:
        super().__init__()
        self._box = box
        self._shards = inside(box).shards
        self._seconds = seconds
        self._clock = SystemClock()
        self._rates = Rates()
        self._look: Look | None = None
        self._state = _DEAD
        self._looking = False

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield Static(id="heading")
        yield Static(id="trouble")
        yield Label("Channels", classes="title")
        yield DataTable[Text](id="channels", cursor_type="row")
        yield Label("Workers", classes="title")
        yield DataTable[Text](id="workers", cursor_type="row", show_cursor=False)
        yield Label(id="shown", classes="title")
        yield DataTable[Text](id="letters", cursor_type="row")
        yield Footer()

    async def on_mount(self) -> None:
        """See Textual."""
        for name, columns in (("channels", CHANNEL_COLUMNS), ("workers", WORKER_COLUMNS), ("letters", LETTER_COLUMNS)):
            for column in columns:
                self._table(name).add_column(column, key=column)
        self._table("channels").focus()
        await self.look()
        self.set_interval(self._seconds, self.look)

    # Look

    async def look(self) -> None:
        """Read the queue once and show it; where it cannot be read, say why, and keep what was seen before."""
        if self._looking:
            return
        self._looking = True
        trouble = self.query_one("#trouble", Static)
        silent = {} if self._shards is None else self._shards.unanswered
        silent.clear()
        try:
            look = await self._read()
        except PillarboxError as exc:
            trouble.update(Text(visible(f"it cannot be read now: {exc}")))
            trouble.display = True
            return
        finally:
            self._looking = False
        # What the others say is shown, and that it is not all.
        trouble.update(Text(visible("\n".join(f"{name} did not answer: {why}" for name, why in silent.items()))))
        trouble.display = bool(silent)
        self._look = look
        self._rates.add(look)
        self._show(look)

    async def _read(self) -> Look:
        box = self._box
        letters = await box.list(states=(self._state,), limit=_LETTERS_MAX)
        return Look(
            at_ms=self._clock.wall_ms(),
            tallies=await box.stats(),
            flow=await box.flow(),
            workers=await box.workers(),
            letters=[letter.view for letter in letters if letter.view is not None],
        )

    def _show(self, look: Look) -> None:
        lines = ", ".join(map(mask_dsn, databases(self._box.settings))), heading(look, self._rates)
        self.query_one("#heading", Static).update(Text("\n".join(map(visible, lines))))
        names = {_DEAD: "Newest dead letters", _HELD: "Held, until somebody decides", _SCHEDULED: "Newest waiting"}
        self.query_one("#shown", Label).update(names[self._state])
        _fill(self._table("channels"), channel_rows(look, self._rates))
        _fill(self._table("workers"), worker_rows(look))
        _fill(self._table("letters"), letter_rows(look))

    async def action_show_others(self) -> None:
        """Show the messages of another state."""
        self._state = _SHOWN[(_SHOWN.index(self._state) + 1) % len(_SHOWN)]
        await self.look()
        self._table("letters").focus()

    # Act

    def action_pause(self) -> None:
        """Pause the chosen channel, or resume it."""
        flow = self._chosen_channel()
        if flow is None:
            self.notify("No channel is chosen.")
            return
        name, tenant = flow.channel, flow.tenant or None
        whose = f" of tenant {tenant}" if tenant else ""
        if flow.paused:
            self._order(
                f"Resume {name}{whose}?", lambda: self._box.resume(name, tenant=tenant, actor=actor()), "resumed"
            )
        else:
            self._order(
                f"Pause {name}{whose}? Its messages wait, and expire as ever.",
                lambda: self._box.pause(name, tenant=tenant, actor=actor(), reason="pillarbox top"),
                "paused",
            )

    def action_again(self) -> None:
        """Let the chosen message go now; replay it, where it is dead."""
        identity = self._chosen_message()
        if identity is None:
            return
        if self._state is _DEAD:
            self._order(
                f"Replay {identity}? A new message takes its place.",
                lambda: self._box.replay(identity, actor=actor()),
                "replayed",
            )
        else:
            self._order(f"Send {identity} now?", lambda: self._box.retry(identity, actor=actor()), "due now")

    def action_cancel(self) -> None:
        """Withdraw the chosen message."""
        identity = self._chosen_message()
        if identity is None:
            return
        if self._state is _DEAD:
            self.notify("It is dead: nothing is left to cancel. `s` shows what is held, and what waits.")
        else:
            self._order(f"Cancel {identity}?", lambda: self._box.cancel(identity, actor=actor()), "cancelled")

    def _order(self, question: str, order: Callable[[], Awaitable[bool | Message | None]], done: str) -> None:
        """Ask, and do it where the answer is yes; then say what came of it."""

        async def act() -> None:
            if not await self.push_screen_wait(Question(question)):
                return
            try:
                came = await order()
            except PillarboxError as exc:
                self.notify(visible(str(exc)), severity="error", markup=False)
                return
            said = done if came is not False else "nothing was changed: it is something else by now"
            self.notify(said, markup=False)
            await self.look()

        self.run_worker(act(), exclusive=True, group="orders")

    def _chosen_channel(self) -> Flow | None:
        look, table = self._look, self._table("channels")
        if look is None or not table.row_count:
            return None
        chosen = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        return next((flow for flow in look.flow if _key((flow.channel, flow.tenant)) == chosen), None)

    def _chosen_message(self) -> str | None:
        table = self._table("letters")
        if not table.row_count:
            self.notify("No message is chosen: none is shown.")
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def _table(self, name: str) -> DataTable[Text]:
        found: DataTable[Text] = self.query_one(f"#{name}", DataTable)
        return found


def _key(key: str | int | tuple[str, str]) -> str:
    return "\0".join(key) if isinstance(key, tuple) else str(key)


def _fill(table: DataTable[Text], rows: Mapping[K, Sequence[str]]) -> None:
    """Show *rows*. The cursor stays on its row, whatever comes before it, as long as that is there."""
    chosen = None
    if table.row_count:
        chosen = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
    keys = [_key(key) for key in rows]
    if [row.value for row in table.rows] == keys:
        for key, cells in zip(keys, rows.values(), strict=True):
            for column, cell in zip(table.columns, cells, strict=True):
                table.update_cell(key, column, Text(visible(cell)), update_width=True)
        return
    table.clear()
    for key, cells in zip(keys, rows.values(), strict=True):
        table.add_row(*(Text(visible(cell)) for cell in cells), key=key)
    if chosen in keys:
        table.move_cursor(row=keys.index(chosen))
