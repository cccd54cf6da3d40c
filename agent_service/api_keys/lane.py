"""The lane for keys from addresses that fail often: one look-up after the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from shared.errors import Reason, Refusal

# Between two look-ups, and how many calls may wait for theirs.
PAUSE_SECONDS = 0.02
CALLS = 100


class Lane:
    """Bounds the work that wrong keys make for the database, whatever their number."""

    def __init__(self, pause: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._pause = pause
        self._turn = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn. Raises Refusal(LIMIT_EXCEEDED) if too many calls do so."""
        if self._waiting >= CALLS:
            raise too_many(CALLS * PAUSE_SECONDS)
        self._waiting += 1
        try:
            async with self._turn:
                await self._pause(PAUSE_SECONDS)
                yield
        finally:
            self._waiting -= 1


def too_many(seconds: float) -> Refusal:
    """Too many keys failed; `seconds` to wait."""
    message = "Too many API keys were refused; try again later, with the right one."
    return Refusal(Reason.LIMIT_EXCEEDED, message, retry_after=seconds, limit="api_keys")
