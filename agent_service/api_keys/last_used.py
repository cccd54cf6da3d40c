"""When API keys were last used: remembered, and written about once a second for all of them.

An exchange does not wait for it. A process that is killed loses what it has not written.
"""

import asyncio
import contextlib
from contextvars import Context
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from agent_service.api_keys import queries
from shared.database.transaction import Database
from shared.errors import Refusal

log = structlog.get_logger()

FLUSH_SECONDS = 1.0
# Keys beyond these, used while the database takes nothing, are not remembered.
KEYS = 100_000


class LastUsedWriter:
    """The uses that are not written yet, and the task that writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._latest: dict[UUID, datetime] = {}
        self._closing = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None

    def note(self, api_key_id: UUID, at: datetime) -> None:
        """Remember a use, by the database's clock."""
        self._remember(api_key_id, at)
        if self._flusher is None or self._flusher.done():
            # Not the call's context: it is no part of the call that begins it.
            self._flusher = asyncio.create_task(self._flush_while_any(), context=Context())

    async def close(self) -> None:
        """Write what is left, if the database takes it."""
        self._closing.set()
        if self._flusher is not None:
            await self._flusher

    def _remember(self, api_key_id: UUID, at: datetime) -> None:
        known = self._latest.get(api_key_id)
        if known is None and len(self._latest) >= KEYS:
            return
        self._latest[api_key_id] = at if known is None else max(known, at)

    async def _flush_while_any(self) -> None:
        while self._latest:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), FLUSH_SECONDS)
            await self._flush()
            if self._closing.is_set():
                return

    async def _flush(self) -> None:
        written, self._latest = self._latest, {}
        ids, times = list(written), list(written.values())
        try:
            await self._database.single(
                lambda c: queries.WRITE_LAST_USED.run(c, ids=ids, times=times)
            )
        except (Refusal, asyncpg.PostgresError) as error:
            log.warning("uses of API keys not written yet", keys=len(ids), cause=repr(error))
            for api_key_id, at in written.items():
                self._remember(api_key_id, at)
