"""What a service in this process logs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs
from structlog.typing import EventDict

from shared.grpc_server.admission import CALL_OWNER
from tests.waiting import until


@asynccontextmanager
async def logged(count: int, *, at_rest: bool = True) -> AsyncIterator[list[EventDict]]:
    """The lines of what is called in the block, of which there have to be `count`.

    The line of a call may come a moment after its answer: it is waited for. So are calls of before
    whose clients are gone, unless some are under way (not `at_rest`).
    """
    await until(lambda: not at_rest or not owners())
    with capture_logs() as lines:
        yield lines
        await until(lambda: len(lines) >= count)
    assert len(lines) == count


def owners() -> "set[asyncio.Task[Any]]":
    """The tasks of gRPC that keep a call, in this process."""
    tasks = asyncio.all_tasks()
    return {task for task in tasks if getattr(task.get_coro(), "__name__", "") == CALL_OWNER}
