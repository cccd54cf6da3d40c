"""Waiting for what has to happen, on the slowest of machines too."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

SECONDS = 60.0
"""Long enough for a machine that is slow and busy: to wait longer than needed costs nothing."""


async def until(happened: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return once it has happened. Raises AssertionError if it does not within SECONDS."""
    end = time.perf_counter() + SECONDS  # which no Clock moves
    while True:
        answer = happened()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        assert time.perf_counter() < end, "it does not happen"
        await asyncio.sleep(0.01)
