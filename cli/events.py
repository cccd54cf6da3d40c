"""Prints the events of a project, and follows its log, on the database itself."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from cli import queries
from cli.console import CommandError, say, show
from cli.database import CONNECT_SECONDS, run
from shared.events.vocabulary import EVENT_TYPES

BATCH_SIZE = 500
LOOK_SECONDS = 0.2
RECONNECT_SECONDS = 1.0
LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
)


@dataclass(frozen=True)
class Wanted:
    """Which events: of these `types`, and of this `resource`, None for all.

    The latest `limit` of them, or the first behind the number `after`, with None all of those.
    """

    types: list[str] | None
    resource: UUID | None
    after: int | None
    limit: int | None


def unknown_types(types: Sequence[str]) -> list[str]:
    """Those that no event has."""
    return [each for each in types if each not in EVENT_TYPES]


def print_events(
    url: str, project: str, wanted: Wanted, line: Callable[[Any], str], *, follow: bool
) -> None:
    """Print a `line` for each event, and for those to come as well if it is to `follow`.

    Raises CommandError if there is no such project, and if its log cannot be read on.
    """
    printer = _Printer(project, wanted, line)
    run(url, printer.begin)
    if follow:
        asyncio.run(_follow(url, printer))


async def _follow(url: str, printer: "_Printer") -> None:
    """Go on until the log has an end, also after the database was away."""
    is_away = False
    while not printer.is_over:
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
            is_away = False
            try:
                await printer.go_on(connection)
            finally:
                with suppress(*LOST):
                    await connection.close(timeout=1)
        except LOST:
            if not is_away:
                say("The database does not answer; waiting for it.")
            is_away = True
            await asyncio.sleep(RECONNECT_SECONDS)


class _Printer:
    """Prints a log, and knows how far. It is over when the project is deleted, or no one reads."""

    def __init__(self, project: str, wanted: Wanted, line: Callable[[Any], str]) -> None:
        self._project = project
        self._wanted = wanted
        self._line = line
        self._left = wanted.limit if wanted.after is not None else None
        self._through = wanted.after or 0
        self.is_over = False

    async def begin(self, connection: Any) -> None:
        """Print what has happened until now."""
        head = await connection.fetchrow(queries.LOG_OF_PROJECT, self._project)
        if head is None:
            raise CommandError(f"There is no log of a project {self._project}.")
        self._project_id, self._log_id = head["project_id"], head["log_id"]
        if self._wanted.after is not None:
            await self._print_rest(connection)
        else:
            rows = await self._rows(connection, queries.LATEST_EVENTS, self._wanted.limit)
            self._print(rows)
            self._through = rows[0]["last"]

    async def go_on(self, connection: Any) -> None:
        """Print what happens from now on. Between two looks nothing is open but the connection."""
        while not self.is_over:
            head = await connection.fetchrow(queries.HEAD_OF_LOG, self._project_id)
            if head is None or (head["log_id"], head["last"]) != (self._log_id, self._through):
                await self._print_rest(connection)
            else:
                await asyncio.sleep(LOOK_SECONDS)

    async def _print_rest(self, connection: Any) -> None:
        is_full = True
        while is_full and not self.is_over:
            limit = BATCH_SIZE if self._left is None else min(BATCH_SIZE, self._left)
            rows = await self._rows(connection, queries.EVENTS, limit)
            self._require_readable(rows[0] if rows else None)
            is_full = self._print(rows) == limit
            self._through = rows[-1]["sequence"] if is_full else rows[0]["last"]

    async def _rows(self, connection: Any, statement: str, limit: int | None) -> list[Any]:
        rows: list[Any] = await connection.fetch(
            statement,
            self._project_id,
            self._through,
            self._wanted.types,
            self._wanted.resource,
            limit,
        )
        return rows

    def _require_readable(self, head: Any) -> None:
        after = self._through
        if head is None or head["log_id"] != self._log_id:
            raise CommandError("The log is another one now: a backup was restored. Begin again.")
        if after > head["last"]:
            raise CommandError(f"The log has no event {after} yet, only up to {head['last']}.")
        if after and after + 1 < head["first"]:
            raise CommandError(f"Too old events are gone; the oldest now is {head['first']}.")

    def _print(self, rows: list[Any]) -> int:
        """Print the events in rows, and say how many they are."""
        events = [row for row in rows if row["sequence"] is not None]
        for event in events:
            is_read = show(self._line(event))
            self.is_over |= not is_read or event["type"] == "project.deleted"
        if self._left is not None:
            self._left -= len(events)
            self.is_over |= self._left <= 0
        return len(events)
