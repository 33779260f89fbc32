"""Ask the service in its own process, without a server."""

import asyncio

import httpx
from shop import app, box, lifespan


async def main() -> None:
    """Order twice, as a client does that got no answer."""
    asgi = httpx.ASGITransport(app)
    async with lifespan(app), httpx.AsyncClient(transport=asgi, base_url="http://shop") as client:
        first = (await client.post("/orders/812", params={"to": "ann@example.org"})).json()
        again = (await client.post("/orders/812", params={"to": "ann@example.org"})).json()
        await box.drain(30)
        print(first["new"], again["new"], first["id"] == again["id"])
        print((await client.get("/health")).json())


asyncio.run(main())
