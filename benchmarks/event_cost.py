"""What the log of events costs a write, against a checkout from before there was one.

Both run on one PostgreSQL with its default durability (fsync, synchronous_commit, full_page_writes)
and are measured in turn, for several rounds. 16 callers write to tasks of their own, once spread
over many projects, and once all in one project, whose log numbers one commit after the other.

Usage: event_cost.py BEFORE [ROUNDS [SECONDS]], the folder of that checkout with its .venv.
"""

import asyncio
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
from google.protobuf.field_mask_pb2 import FieldMask

from benchmarks.checkouts import Caller, Checkout, made, serving
from benchmarks.postgres import temporary
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem.task.v1.task_service_pb2 import (
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    CreateTaskRequest,
    Task,
    UpdateTaskRequest,
    UpdateTaskStatusRequest,
)

CALLERS = 16
PROJECTS = 10 * CALLERS
COMMITS = 300
LOG_BYTES = """
SELECT pg_total_relation_size('events')::float / greatest(count(*), 1) AS bytes, count(*) AS events
FROM events
"""
# What PostgreSQL has written for changes between two positions, without and with page images.
WAL = "SELECT sum(record_size) AS records, sum(fpi_size) AS pages FROM pg_get_wal_stats($1, $2)"
Write: TypeAlias = Callable[[], Awaitable[Any]]


@dataclass
class Writes:
    """What each of the callers does next, by the kind of write."""

    of: dict[str, list[Write]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Figure:
    """One window of writes: per second, and the bytes of WAL of each, with and without pages."""

    per_second: float
    record_bytes: float
    page_bytes: float


async def writes(caller: Caller) -> Writes:
    """Every kind of write, once spread and once in one project."""
    names = [f"p-{number}" for number in range(PROJECTS + 1)]
    one, *many = [
        (await caller("CreateProject", CreateProjectRequest(project=Project(slug=n, name=n)))).id
        for n in names
    ]
    made = Writes()
    for number in range(CALLERS):
        for shape, projects in (("spread", many[number::CALLERS]), ("one", [one])):
            tasks = [await caller("CreateTask", _new(project)) for project in projects]
            made.of[f"CreateTask {shape}"].append(_creating(caller, projects))
            made.of[f"UpdateTask {shape}"].append(_updating(caller, tasks))
            made.of[f"UpdateTaskStatus {shape}"].append(_moving(caller, tasks))
    return made


def _new(project_id: str) -> CreateTaskRequest:
    return CreateTaskRequest(task=Task(project_id=project_id, title="A task of usual length"))


def _creating(caller: Caller, projects: list[str]) -> Write:
    turns = cycle(projects)
    return lambda: caller("CreateTask", _new(next(turns)))


def _updating(caller: Caller, tasks: list[Task]) -> Write:
    turns = cycle(tasks)

    def update() -> Awaitable[Any]:
        title = f"A task of usual length, {time.monotonic_ns()}"
        mask = FieldMask(paths=["title"])
        task = Task(id=next(turns).id, title=title)
        return caller("UpdateTask", UpdateTaskRequest(task=task, update_mask=mask))

    return update


def _moving(caller: Caller, tasks: list[Task]) -> Write:
    moves = _moves(tasks)
    return lambda: caller("UpdateTaskStatus", next(moves))


def _moves(tasks: list[Task]) -> Iterator[UpdateTaskStatusRequest]:
    while True:
        for status in (TASK_STATUS_IN_PROGRESS, TASK_STATUS_PENDING):
            for task in tasks:
                yield UpdateTaskStatusRequest(task_id=task.id, status=status)


async def window(server: Any, each: list[Write], seconds: float) -> Figure:
    """Let every caller write for some seconds."""
    end, count = time.perf_counter() + seconds, 0

    async def one(write: Write) -> None:
        nonlocal count
        while time.perf_counter() < end:
            await write()
            count += 1

    before = await server.fetchval("SELECT pg_current_wal_insert_lsn()")
    begun = time.perf_counter()
    await asyncio.gather(*map(one, each))
    took = time.perf_counter() - begun
    wal = await server.fetchrow(WAL, before, await _flushed(server))
    return Figure(count / took, float(wal["records"]) / count, float(wal["pages"]) / count)


async def _flushed(server: Any) -> Any:
    """How far the WAL can be read: what a commit has waited for."""
    await server.execute("SELECT pg_logical_emit_message(true, 'bench', '', true)")
    return await server.fetchval("SELECT pg_current_wal_flush_lsn()")


async def commit_latency(server: Any) -> list[float]:
    """How long commits take, one after the other, in ms: each flushes the WAL."""
    await server.execute("CREATE TABLE IF NOT EXISTS commits (n int)")
    took = []
    for _ in range(COMMITS):
        begun = time.perf_counter()
        await server.execute("INSERT INTO commits VALUES (1)")
        took.append((time.perf_counter() - begun) * 1000)
    return took


async def measure(server_url: str, checkouts: list[Checkout], rounds: int, seconds: float) -> None:
    """Measure and print."""
    server = await asyncpg.connect(server_url)
    await server.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
    callers = {checkout.name: Caller(checkout) for checkout in checkouts}
    for caller in callers.values():
        await caller.connect()
    of = {name: await writes(caller) for name, caller in callers.items()}
    figures: dict[str, dict[str, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    commits = []
    for number in range(rounds + 1):
        commits += await commit_latency(server)
        for kind in of["before"].of:
            for name in sorted(of, reverse=bool(number % 2)):
                figure = await window(server, of[name].of[kind], seconds)
                if number:  # the first round warms up
                    figures[kind][name].append(figure)
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    report(figures)
    _report_commits(commits)
    await _report_bytes(next(each.url for each in checkouts if each.name == "after"))
    await _report_without_waiting(server, of["after"], seconds)
    await server.close()


def report(figures: dict[str, dict[str, list[Figure]]]) -> None:
    """Print a table: medians, and the lowest and highest ratio of a round."""
    print("| 16 callers | before, /s | after, /s | ratio | WAL before | WAL after | and pages |")
    print("|---|---|---|---|---|---|---|")
    for kind, by in figures.items():
        before, after = by["before"], by["after"]
        pairs = zip(before, after, strict=True)
        ratios = [new.per_second / old.per_second for old, new in pairs]
        each = [statistics.median(one.per_second for one in of) for of in (before, after)]
        wal = [statistics.median(one.record_bytes for one in of) for of in (before, after)]
        pages = [statistics.median(one.page_bytes for one in of) for of in (before, after)]
        print(
            f"| {kind} | {each[0]:.0f} | {each[1]:.0f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {wal[0]:,.0f} B | {wal[1]:,.0f} B "
            f"| {pages[0]:,.0f}, {pages[1]:,.0f} B |"
        )


def _report_commits(took: list[float]) -> None:
    median = statistics.median(took)
    fast, slow = (statistics.quantiles(took, n=20)[each] for each in (0, -1))
    print(f"\nA commit: {median:.2f} ms (5 %: {fast:.2f}, 95 %: {slow:.2f}), one after the other:")
    print(f"{1000 / median:.0f} per second.")


async def _report_bytes(url: str) -> None:
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow(LOG_BYTES)
    await connection.close()
    if row:
        print(
            f"{row['events']:,} events, {row['bytes']:,.0f} bytes each on disk, indexes included."
        )


async def _report_without_waiting(server: Any, of: Writes, seconds: float) -> None:
    """What commits cost that the disk is waited for in: not to be had in operation."""
    for value in ("off", "on"):
        await server.execute(f"ALTER SYSTEM SET synchronous_commit = {value}")
        await server.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(1)
        for kind in (kind for kind in of.of if kind.endswith("one")):
            figure = await window(server, of.of[kind], seconds)
            print(f"synchronous_commit = {value}: {kind} {figure.per_second:.0f} per second")


def main() -> int:
    """Run it."""
    before, *rest = sys.argv[1:]
    rounds, seconds = (int(rest[0]) if rest else 7), (float(rest[1]) if rest[1:] else 4.0)
    with temporary() as postgres:
        roots = {"before": Path(before).resolve(), "after": Path(__file__).resolve().parents[1]}
        checkouts = made(postgres.url, roots)
        with serving(checkouts):
            os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
            asyncio.run(measure(postgres.url, checkouts, rounds, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
