"""How PostgreSQL runs a statement: plans, rows and pages are asserted, times are not."""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.database.statement import Statement
from shared.database.transaction import Database

Node = dict[str, Any]
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
KINDS = ("Hit", "Read")
READS = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")


async def plan_of(database: Database, statement: Statement, **parameters: Any) -> str:
    """The plan of a statement with these parameters, as EXPLAIN prints it."""
    arguments = statement.arguments({}, parameters)
    lines = await database.read(lambda c: c.fetch(f"EXPLAIN {statement.sql}", *arguments))
    return "\n".join(line[0] for line in lines)


@dataclass
class Recorder:
    """A connection that repeats what it is asked, to have it explained."""

    connection: Any
    asked: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        self.asked.append((sql, arguments))
        return await self.connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        self.asked.append((sql, arguments))
        return await self.connection.fetchrow(sql, *arguments)


@dataclass(frozen=True)
class Cost:
    """What the statements of a call do, if PostgreSQL plans them without knowing the parameters."""

    plans: list[Node]

    @property
    def nodes(self) -> list[Node]:
        return [node for plan in self.plans for node in _nodes(plan)]

    @property
    def buffers(self) -> int:
        """Pages of 8 KiB that are looked at."""
        return sum(int(plan[f"Shared {kind} Blocks"]) for plan in self.plans for kind in KINDS)

    @property
    def rows(self) -> int:
        """Rows that are read from tables and indexes, whether they are kept or not."""
        scans = [node for node in self.nodes if "Relation Name" in node]
        return round(sum(float(node["Actual Loops"]) * _read(node) for node in scans))

    @property
    def sorted(self) -> int:
        """The most rows that a sort has to keep."""
        sorts = [node for node in self.nodes if node["Node Type"] == "Sort"]
        return max((_kept(node) for node in sorts), default=0)

    @property
    def sequential(self) -> set[str]:
        """The tables that are read from one end to the other."""
        scans = [node for node in self.nodes if node["Node Type"] == "Seq Scan"]
        return {node["Relation Name"] for node in scans}


async def cost_of(database: Database, call: Callable[[Any], Awaitable[Any]]) -> Cost:
    """Make a call of queries, then measure every statement that it has run."""

    async def measured(connection: Any) -> Cost:
        recorder = Recorder(connection)
        await call(recorder)
        return Cost([await explained(connection, *each) for each in recorder.asked])

    return await database.transaction(measured)


async def explained(connection: Any, sql: str, arguments: Iterable[Any]) -> Node:
    """The plan of a statement that is run for it, in a transaction that is under way."""
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE explained AS {sql}")
    given = f"({', '.join(map(_literal, arguments))})" if "$1" in sql else ""
    found = await connection.fetchval(f"{EXPLAIN} EXECUTE explained{given}")
    await connection.execute("DEALLOCATE explained")
    plan: Node = json.loads(found)[0]["Plan"]
    return plan


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, dict):
        return f"{_literal(json.dumps(value))}::jsonb"
    if type(value) is int:
        return str(value)
    if isinstance(value, list):
        kind = "::uuid[]" if any(isinstance(each, UUID) for each in value) else ""
        return f"ARRAY[{', '.join(map(_literal, value))}]{kind}" if value else "'{}'"
    return "'" + str(value).replace("'", "''") + "'"


def _nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _read(node: Node) -> float:
    return sum(float(node.get(name, 0)) for name in READS)


def _kept(sort: Node) -> int:
    # A top-N heapsort keeps what it answers, whatever it is given; its answer is of one run.
    is_top = sort.get("Sort Method") == "top-N heapsort"
    return round(float((sort if is_top else sort["Plans"][0])["Actual Rows"]))
