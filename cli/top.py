"""Shows the agents of a project, their leases, and what waits: once, or again and again."""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import click

from cli import top_queries as queries
from cli.console import CommandError, say, show
from cli.database import CONNECT_SECONDS, run
from cli.events import LOST, RECONNECT_SECONDS
from cli.table import table

# Of each kind of rows so many are shown, and so many tasks of a lane are counted.
MOST_AGENTS = 40
MOST_LEASES = 40
MOST_LANES = 20
MOST_COUNTED = 1000
CLEAR = "\x1b[H\x1b[2J"
URGENCY = {1: "critical", 2: "high", 3: "medium", 4: "low"}


def show_top(url: str, project: str, interval: float | None) -> None:
    """Show it, again after so many seconds; with None once. Raises CommandError.

    Between two looks nothing is open but the connection.
    """
    show(run(url, lambda connection: picture(connection, project)))
    if interval is not None:
        asyncio.run(_follow(url, project, interval))


async def _follow(url: str, project: str, interval: float) -> None:
    is_read, is_away = True, False
    while is_read:
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
            is_away = False
            try:
                while is_read:
                    await asyncio.sleep(interval)
                    is_read = show(CLEAR + await picture(connection, project))
            finally:
                connection.terminate()
        except LOST:
            if not is_away:
                say("The database does not answer; waiting for it.")
            is_away = True
            await asyncio.sleep(RECONNECT_SECONDS)


async def picture(connection: Any, project: str) -> str:
    """What there is to see now. Raises CommandError if there is no such project."""
    found = await connection.fetchrow(queries.PROJECT, project)
    if found is None:
        raise CommandError(f"There is no project {project}.")
    id_ = found["id"]
    agents = await connection.fetch(queries.AGENTS, id_, MOST_AGENTS)
    offline = await connection.fetchrow(queries.OFFLINE, id_, MOST_COUNTED)
    leases = await connection.fetch(queries.LEASES, id_, MOST_LEASES)
    lanes = await connection.fetch(queries.LANES, id_, MOST_LANES, MOST_COUNTED)
    head = f"{found['name']} ({found['slug']})  {found['at'].astimezone():%H:%M:%S}"
    lines = [click.style(head, bold=True), *_agents(agents, offline["agents"]), *_leases(leases)]
    return "\n".join([*lines, *_lanes(lanes)])


def _agents(rows: Sequence[Any], offline: int) -> Iterator[str]:
    cells = [
        (
            row["name"],
            row["status"] if row["is_active"] else f"{row['status']}, inactive",
            age(row["seen"]),
            f"{row['leases']} of {row['max_leases']}",
            age(row["oldest"]),
        )
        for row in rows
    ]
    yield from _part("Agents", ("agent", "presence", "seen", "leases", "longest"), cells)
    if len(rows) == MOST_AGENTS:
        yield f" … the latest {MOST_AGENTS}"
    yield f" {count(offline)} offline"


def _leases(rows: Sequence[Any]) -> Iterator[str]:
    cells = [
        (
            row["title"],
            row["agent"],
            f"{row['attempt']} of {row['max_attempts']}",
            age(row["held"]),
            _left(row["left"]) + (", to be cancelled" if row["stops"] else ""),
        )
        for row in rows
    ]
    yield from _part("Leases", ("task", "agent", "attempt", "held for", "expires in"), cells)
    if len(rows) == MOST_LEASES:
        yield f" … {MOST_LEASES} of them"


def _lanes(rows: Sequence[Any]) -> Iterator[str]:
    cells = [
        (_lane(row), count(row["tasks"]), _oldest(row["age"]), URGENCY[row["rank"]]) for row in rows
    ]
    yield from _part("Waiting", ("lane", "tasks", "oldest", "most urgent"), cells)
    if len(rows) > MOST_LANES:
        yield f" … {MOST_LANES + 1} lanes or more"


def _part(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    if rows:
        yield from table((headings[0], *headings[1:]), rows, shutil.get_terminal_size().columns)
    else:
        yield f" {title}: none"


def _lane(row: Any) -> str:
    """Whom the tasks wait for: an agent, users, or any agent with the capabilities."""
    lane: str = row["lane"]
    if lane.startswith("@"):
        return "users" if lane == "@user" else f"agent {row['agent']}"
    return lane[1:].replace(",", ", ") or "any agent"


def count(number: int) -> str:
    """A number that was counted up to MOST_COUNTED."""
    return f"{MOST_COUNTED} or more" if number >= MOST_COUNTED else str(number)


def _left(length: timedelta) -> str:
    return age(length) if length > timedelta() else "expired"


def _oldest(length: timedelta) -> str:
    return age(length) if length >= timedelta() else f"ready in {age(-length)}"


def age(length: timedelta | None) -> str:
    """A length of time, in its two largest units; "-" for none."""
    if length is None:
        return "-"
    seconds = max(0, int(length.total_seconds()))
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"))
    shown = [f"{number}{unit}" for number, unit in (*parts, (seconds % 60, "s")) if number]
    return " ".join(shown[:2]) or "0s"
