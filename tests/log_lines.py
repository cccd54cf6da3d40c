"""What a service in this process logs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.waiting import until


@asynccontextmanager
async def logged(count: int) -> AsyncIterator[list[EventDict]]:
    """The lines of what is called in the block, of which there have to be `count`.

    The line of a call may come a moment after its answer: it is waited for.
    """
    with capture_logs() as lines:
        yield lines
        await until(lambda: len(lines) >= count)
    assert len(lines) == count
