"""Begins each log of events anew after a backup was restored: what came after it is lost."""

from typing import Any

from cli import queries
from cli.console import CommandError, confirm, say
from cli.database import run

WARNING = (
    "Whoever watches events, or has kept the number of one, is refused with LOG_REWOUND once, and "
    "reads everything again."
)


def restored(url: str, *, yes: bool, force: bool) -> int:
    """Make each log another one, and return how many there are.

    `yes` skips the question, `force` goes on if services are connected. Raises CommandError, with
    nothing changed.
    """
    if not force:
        run(url, _require_no_service)
    say(WARNING)
    if not yes:
        confirm("Go on?", "Add --yes to go on.")
    count: int = run(url, lambda connection: connection.fetchval(queries.NEW_LOG_IDS))
    return count


async def _require_no_service(connection: Any) -> None:
    found = {row["application_name"] for row in await connection.fetch(queries.SERVICES)}
    if found:
        raise CommandError(
            f"Nothing was changed: services are connected ({', '.join(sorted(found))}). Stop them, "
            "since they go on with the logs that they know, or add --force."
        )
