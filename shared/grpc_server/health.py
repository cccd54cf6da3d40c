"""The gRPC health protocol: whether a process and its services are ready, and whether it lives.

grpc_health's own servicer writes to a watcher under a lock that all watchers and the end of the
server share. A client that watches without reading, which needs no authentication, would block all.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

from shared.grpc_server.interceptor import Context

LIVENESS = "liveness"
"""The name whose status does not depend on the database: only a new process would change it."""


class Health(HealthServicer):
    """Holds the status of each service, of the process (the name ""), and of LIVENESS."""

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {}
        self._changed = asyncio.Condition()

    async def set(self, services: Iterable[str], status: Any) -> None:
        """Set the status of these services."""
        async with self._changed:
            self._statuses.update(dict.fromkeys(services, status))
            self._changed.notify_all()

    async def Check(self, request: HealthCheckRequest, context: Context) -> Any:  # noqa: N802
        """The status of a service; NOT_FOUND if it does not exist."""
        if request.service not in self._statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return HealthCheckResponse(status=self._statuses[request.service])

    async def Watch(  # noqa: N802
        self, request: HealthCheckRequest, _context: Context
    ) -> AsyncIterator[Any]:
        """The status of a service, then each change of it, until the client ends the stream."""
        told = None
        while True:
            async with self._changed:
                while (status := self._now(request.service)) == told:
                    await self._changed.wait()
            told = status
            yield HealthCheckResponse(status=status)

    def _now(self, service: str) -> Any:
        return self._statuses.get(service, HealthCheckResponse.SERVICE_UNKNOWN)
