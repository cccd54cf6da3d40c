"""Events in a log, without the changes that they tell of."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import orjson

_HEAD = """
INSERT INTO event_heads AS head (project_id, log_id, last) VALUES ($1, gen_random_uuid(), $2)
ON CONFLICT (project_id) DO UPDATE SET last = head.last + $2 RETURNING last
"""


async def append(connection: Any, project_id: UUID, n: int = 1, **columns: Any) -> list[int]:
    """Append one transaction's `n` events with these columns; their numbers.

    The log begins if it has no head yet. JSON is given as Python values.
    """
    async with connection.transaction():
        last = await connection.fetchval(_HEAD, project_id, n)
        numbers = list(range(last - n + 1, last + 1))
        row = {"project_id": project_id, "batch": numbers[0], **_event(), **columns}
        names, values = ", ".join(row), ", ".join(map(_place, range(2, 2 + len(row)), row))
        await connection.execute(
            f"INSERT INTO events (sequence, {names}) SELECT unnest($1::bigint[]), {values}",
            numbers,
            *(_encoded(name, value) for name, value in row.items()),
        )
    return numbers


_JSON = ("before", "after")


def _event() -> Mapping[str, Any]:
    return {
        "type": "task.updated",
        "resource_type": "task",
        "resource_id": uuid4(),
        "revision": 1,
        "actor_type": "user",
        "after": {},
    }


def _place(number: int, name: str) -> str:
    # As text, because connections differ in what they make JSON of.
    return f"${number}::text::jsonb" if name in _JSON else f"${number}"


def _encoded(name: str, value: Any) -> Any:
    if name not in _JSON or value is None:
        return value
    return orjson.dumps(value, default=str).decode()
