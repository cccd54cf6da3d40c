"""Puts the page of a process together, and serves it."""

from collections.abc import Sequence

from shared.exposition.endpoint import Endpoint
from shared.exposition.page import FRESH_SECONDS, Page
from shared.exposition.process import Build, LoopLag
from shared.metrics.instruments import Source


class Publisher:
    """Serves what the sources of a process say, and how its event loop is."""

    def __init__(
        self, service: str, sources: Sequence[Source], fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        """A page is given again for `fresh_seconds`."""
        self._lag = LoopLag()
        page = Page([Build(service).samples, self._lag.samples, *sources], fresh_seconds)
        self._endpoint = Endpoint(page)

    async def start(self, address: str) -> int:
        """Serve at `address` ("host:port"; port 0: any free one); the port. Raises OSError."""
        port = await self._endpoint.start(address)
        self._lag.start()
        return port

    async def close(self) -> None:
        """Serve no more."""
        self._lag.close()
        await self._endpoint.close()
