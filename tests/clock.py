"""A clock that a test moves on, for what takes minutes."""

import asyncio
import time

import pytest


class Clock:
    """`time.monotonic` and with it the timers of a running event loop, ahead by what has passed.

    Time goes back at the end of the test: its loop must be its own, and end with it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._passed = 0.0
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + self._passed)

    async def advance(self, seconds: float) -> None:
        """Let time pass for those who wait already, and let them act on it."""
        await settled()
        self._passed += seconds
        await settled()


async def settled() -> None:
    """Let every task go on until it waits for something from outside of this event loop."""
    for _ in range(20):
        await asyncio.sleep(0)
