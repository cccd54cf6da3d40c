"""How PostgreSQL would run a statement: plans are asserted, times are not."""

from typing import Any

from shared.database.statement import Statement
from shared.database.transaction import Database


async def plan_of(database: Database, statement: Statement, **parameters: Any) -> str:
    """The plan of a statement with these parameters, as EXPLAIN prints it."""
    arguments = statement.arguments({}, parameters)
    lines = await database.read(lambda c: c.fetch(f"EXPLAIN {statement.sql}", *arguments))
    return "\n".join(line[0] for line in lines)
