"""What a process says of itself: its version, and how late its event loop is."""

import asyncio
import platform
from importlib.metadata import PackageNotFoundError, version
from time import monotonic

from shared.metrics.catalog import BUILD, LAG_SECONDS, LOOP_LAG
from shared.metrics.instruments import Histogram, Sample
from shared.schema.revision import REVISION

LOOK_SECONDS = 0.1


class LoopLag:
    """Looks ten times a second how late the event loop is."""

    def __init__(self) -> None:
        self._seconds = Histogram(LAG_SECONDS)
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look, until `close`."""
        self._due = monotonic() + LOOK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    async def samples(self) -> list[Sample]:
        """How late it has been."""
        return [Sample(LOOP_LAG, self._seconds)]

    def _look(self) -> None:
        self._seconds.observe(max(0.0, monotonic() - self._due))
        self.start()


class Build:
    """What runs here."""

    def __init__(self, service: str) -> None:
        labels = (service, _version(), platform.python_version(), REVISION)
        self._sample = Sample(BUILD, 1, labels)

    async def samples(self) -> list[Sample]:
        """Its versions, as labels."""
        return [self._sample]


def _version() -> str:
    try:
        return version("tandem")
    except PackageNotFoundError:  # run from a folder, without being installed
        return "unknown"
