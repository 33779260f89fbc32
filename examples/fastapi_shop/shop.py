"""A service that takes orders and tells of them; each worker process of the server opens the outbox for itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException

from pillarbox import Attempt, Outbox, QueueFull

box = Outbox("outbox.db")


@box.channel("mail")
async def mail(attempt: Attempt) -> None:
    """Stand for a mail server."""
    print("to", attempt.to, attempt.text, flush=True)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Open the outbox while the service runs."""
    async with box:
        yield


app = FastAPI(lifespan=lifespan)


def outbox() -> Outbox:
    """Return the outbox of this process; a test puts another in its place."""
    return box


Box = Annotated[Outbox, Depends(outbox)]


@app.post("/orders/{number}", status_code=202)
async def order(number: str, to: str, box: Box) -> dict[str, object]:
    """Take an order; asked again, with the same number, it is the same order."""
    try:
        message = await box.send("mail", to=to, text=f"Order {number} is on its way", key=f"order-{number}")
    except QueueFull:
        raise HTTPException(503, headers={"Retry-After": "60"}) from None
    return {"id": message.id, "new": message.created}


@app.get("/health")
async def health(box: Box) -> dict[str, object]:
    """Return what is wrong, if anything is."""
    found = await box.health()
    return {"ok": found.ok, "problems": found.problems}
