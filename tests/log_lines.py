"""What a service in this process logs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.testing import capture_logs
from structlog.typing import EventDict

SECONDS = 10


@asynccontextmanager
async def logged(count: int) -> AsyncIterator[list[EventDict]]:
    """The lines of what is called in the block, of which there have to be `count`.

    The line of a call may come a moment after its answer: it is waited for.
    """
    with capture_logs() as lines:
        yield lines
        async with asyncio.timeout(SECONDS):
            while len(lines) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert len(lines) == count
