"""What a call was given is given back if its client has gone before it could be answered.

From the moment of the answer gRPC does not tell whether the client has taken it: then the lease
expires, or the client asks again by the same request id.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import structlog

from shared.auth.caller import Caller, offered
from shared.database.pool import Connection
from shared.database.transaction import Database
from shared.dependents.rules import follow_all
from shared.errors import Refusal
from shared.events.news import committed
from shared.events.recording import Log, recorded
from shared.resources import leases
from task_service.claims.claim import Claimed

T = TypeVar("T")

log = structlog.get_logger()
# What goes on although its call has ended: asyncio itself does not hold it.
_giving_back: set[asyncio.Task[None]] = set()


class HandOut:
    """The tasks that a call gets."""

    def __init__(self, database: Database, caller: Caller, *, is_repeatable: bool) -> None:
        """What is `is_repeatable` is kept: the client can ask for it again."""
        self.claimed: Claimed | None = None
        self._database = database
        self._caller = caller
        self._is_repeatable = is_repeatable

    async def awaited(self, attempt: Awaitable[T]) -> T:
        """The outcome of a claim, which goes on if the call is cancelled."""
        task = asyncio.ensure_future(attempt)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._is_repeatable:
                giving_back = asyncio.create_task(self._give_back(task))
                _giving_back.add(giving_back)
                giving_back.add_done_callback(_giving_back.discard)
            raise

    async def _give_back(self, attempt: "asyncio.Future[Any]") -> None:
        await asyncio.wait([attempt])
        if attempt.cancelled() or attempt.exception() or self.claimed is None:
            return
        try:
            end = recorded(self._end_leases, offered(self._caller))
            await self._database.transaction(end)
        except Refusal:
            return  # the leases expire
        except Exception as error:
            log.error("fault", exc_info=error)
            return
        committed()

    async def _end_leases(self, connection: Connection, events: Log) -> None:
        assert self.claimed is not None
        rows = await leases.GIVE_BACK.rows(connection, **self.claimed.leases)
        await follow_all(connection, events, rows)
