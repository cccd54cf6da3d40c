"""Turns of the event loop that others get while something is done."""

import asyncio


class Turns:
    """Counts them."""

    def __init__(self) -> None:
        self.taken = 0
        self._task = asyncio.create_task(self._count())

    async def _count(self) -> None:
        while True:
            self.taken += 1
            await asyncio.sleep(0)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
