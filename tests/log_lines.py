"""What a service in this process logs, and whether the schema of the log has it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs
from structlog.typing import EventDict

from shared.grpc_server.admission import CALL_OWNER
from shared.log_lines import ANY_LINE, EVERY_LINE, LINES, TYPES, WITHIN_A_CALL
from tests.waiting import until

BY_EVENT = {line.event: line for line in LINES}
BESIDE = {name: kind for name, (kind, _) in (EVERY_LINE | WITHIN_A_CALL | ANY_LINE).items()}


@asynccontextmanager
async def logged(count: int, *, at_rest: bool = True) -> AsyncIterator[list[EventDict]]:
    """The lines of what is called in the block, of which there have to be `count`.

    The line of a call may come a moment after its answer: it is waited for. So are calls of before
    whose clients are gone, unless some are under way (not `at_rest`).
    """
    await until(lambda: not at_rest or not owners())
    with capture_logs() as lines:
        yield lines
        await until(lambda: len(lines) >= count)
    assert len(lines) == count


def owners() -> "set[asyncio.Task[Any]]":
    """The tasks of gRPC that keep a call, in this process."""
    tasks = asyncio.all_tasks()
    return {task for task in tasks if getattr(task.get_coro(), "__name__", "") == CALL_OWNER}


def against_schema(said: Mapping[str, Any]) -> list[str]:
    """What a line has that the schema does not, or lacks of what every such line has."""
    if "logger" in said:  # of a library
        return []
    line = BY_EVENT.get(str(said["event"]))
    if line is None:
        return [f"{said['event']!r} is no event of the schema"]
    kinds = {**BESIDE, **line.fields, **line.optional}
    wrong = [f"{name} is missing" for name in line.fields if name not in said]
    wrong += [f"{name} is no field" for name in said if name not in kinds]
    wrong += [
        f"{name} is no {kinds[name]}"
        for name, value in said.items()
        if name in kinds and (not isinstance(value, TYPES[kinds[name]]) or isinstance(value, bool))
    ]
    if said["level"] not in line.levels.split():
        wrong.append(f"the level is {said['level']}")
    return [f"{line.event}: {each}" for each in wrong]
