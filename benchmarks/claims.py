"""Claims a second, against a bare handler that takes a row, and what a claim reads of many tasks.

The task service and the bare handler (bare_server.py) are measured in turn on one database, each
alone on the first core, for several rounds. 16 callers claim one task a call, of 20,000 pending
ones, which wait again before each window. What is read is limited: LIMIT.

Usage: claims.py [ROUNDS [SECONDS]].
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import grpc
from google.protobuf.duration_pb2 import Duration

from benchmarks.checkouts import Caller, Checkout, made, serving
from benchmarks.postgres import temporary
from shared.auth.caller import User
from tandem.task.v1.task_service_pb2 import ClaimTasksRequest, ClaimTasksResponse
from tandem.task.v1.task_service_pb2_grpc import TaskServiceStub
from task_service.claims import queries
from tests.plans import Cost, explained

ROOT = Path(__file__).parents[1]
CALLERS, TASKS, AGENTS = 16, 20_000, 10
BARE_PORT = 21979
PENDING = 10_000, 100_000, 1_000_000
LIMIT = 1.3


class Shape(NamedTuple):
    """Tasks in so many lanes of each of some projects; the first of these has the number."""

    number: int
    projects: int
    lanes: int


SHAPES = {
    "1 lane": Shape(1, 1, 1),
    "10 lanes": Shape(2, 1, 10),
    "40 lanes": Shape(3, 1, 40),
    f"1 lane each, {CALLERS} projects": Shape(4, CALLERS, 1),
}
# A project of few tasks, to be compared with one of many in the same table.
FEW, MANY = 100, 101

ID = """
CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN lpad(to_hex(n), 32, '0')::uuid
"""
# Projects $1 … $2 of the user $3, with $4 agents each that can do everything.
PROJECTS = """
WITH made AS (
    INSERT INTO projects (id, owner_id, slug, name) SELECT id(n), $3, n, n
    FROM generate_series($1::int, $2::int) n RETURNING id
), heads AS (INSERT INTO event_heads (project_id, log_id) SELECT id, id FROM made)
INSERT INTO agents (id, project_id, name, capabilities)
    SELECT id(p * 1000 + n), id(p), n, (SELECT jsonb_agg('c' || c) FROM generate_series(0, 39) c)
    FROM generate_series($1::int, $2::int) p, generate_series(1, $4::int) n
"""
# Tasks $2 … $3 of the project $1, in $4 lanes, with every urgency in each.
PENDING_TASKS = """
INSERT INTO tasks (id, project_id, title, priority, required_capabilities, ready_at)
    SELECT id($1 * 10000000::bigint + n), id($1), 'A task of usual length',
        (ARRAY['low', 'medium', 'high', 'critical', NULL])[1 + n % 5], 'c' || n / 5 % $4::int,
        now() - n % 1000 * interval '1 second' FROM generate_series($2::int, $3::int) n
"""
AGAIN = """
TRUNCATE task_leases, task_attempts;
UPDATE tasks SET status = 'pending', assigned_agent_id = NULL, leased = false, fence = 0,
    attempt = 0 WHERE status = 'in_progress'
"""
USER = "INSERT INTO users (id, username, email) VALUES ($1, 'g', 'g')"
INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = 'tasks' AND indexname LIKE 'idx_%'"


async def fill(connection: Any, user_id: UUID, shape: Shape, tasks: int) -> None:
    """Projects with agents, and tasks that wait for them."""
    last = shape.number + shape.projects - 1
    agents = AGENTS * CALLERS // shape.projects
    await connection.execute(PROJECTS, shape.number, last, user_id, agents)
    for number in range(shape.number, last + 1):
        await connection.execute(PENDING_TASKS, number, 1, tasks // shape.projects, shape.lanes)


def requests(shape: Shape, caller: int) -> Iterator[ClaimTasksRequest]:
    """What a caller asks for, again and again: a task for each of its agents."""
    project, place = shape.number + caller % shape.projects, caller // shape.projects
    first = project * 1000 + place * AGENTS + 1
    long, project_id = Duration(seconds=43_200), str(UUID(int=project))
    agents = (str(UUID(int=each)) for each in range(first, first + AGENTS))
    make = partial(ClaimTasksRequest, project_id=project_id, lease_duration=long)
    return cycle([make(agent_id=agent_id) for agent_id in agents])


async def window(call: Any, shape: Shape, seconds: float) -> float:
    """Claims a second of all callers; every answer has a task, and none is given twice."""
    claimed: list[str] = []
    begun = time.perf_counter()

    async def one(asked: Iterator[ClaimTasksRequest]) -> None:
        while time.perf_counter() < begun + seconds:
            answer: ClaimTasksResponse = await call("ClaimTasks", next(asked))
            claimed.append(answer.tasks[0].task.id)

    await asyncio.gather(*(one(requests(shape, number)) for number in range(CALLERS)))
    took = time.perf_counter() - begun
    assert len(set(claimed)) == len(claimed)
    return len(claimed) / took


async def measure(checkout: Checkout, rounds: int, seconds: float) -> None:
    """Claims a second of both, in turn, as a table."""
    caller = Caller(checkout)
    await caller.connect()
    bare = TaskServiceStub(grpc.aio.insecure_channel(f"127.0.0.1:{BARE_PORT}"))
    peers = {
        "bare": lambda _, request: bare.ClaimTasks(request, timeout=60, wait_for_ready=True),
        "Tandem": caller,
    }
    connection = await asyncpg.connect(checkout.url)
    await connection.execute(ID)
    for shape in SHAPES.values():
        await fill(connection, caller.user_id, shape, TASKS)
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds + 1):
        for name, shape in SHAPES.items():
            for peer in sorted(peers, reverse=bool(number % 2)):
                await connection.execute(AGAIN)
                await connection.execute("VACUUM ANALYZE tasks")
                rate = await window(peers[peer], shape, seconds)
                if number:  # the first round warms up
                    figures[name][peer].append(rate)
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    await connection.close()
    report(figures)


def report(figures: dict[str, dict[str, list[float]]]) -> None:
    """Print medians, and the lowest and highest ratio of a round."""
    print(f"| {CALLERS} callers, {TASKS:,} tasks | bare, /s | Tandem, /s | ratio |")
    print("|---|---|---|---|")
    for name, by in figures.items():
        ratios = [ours / bare for bare, ours in zip(by["bare"], by["Tandem"], strict=True)]
        rates = [f"{statistics.median(by[peer]):,.0f}" for peer in ("bare", "Tandem")]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {' | '.join(rates)} | {statistics.median(ratios):.2f} {spread} |")


async def growth(url: str) -> bool:
    """Print what a claim looks at among more and more pending tasks; whether that is flat."""
    user = User(UUID(int=1), "g", "g", None, is_superuser=False)
    connection = await asyncpg.connect(url)
    await connection.execute(USER, user.id)
    indexes = [row[0] for row in await connection.fetch(INDEXES)]
    print("\n| buffers of a claim | 1 lane | 40 lanes |\n|---|---|---|")
    found = [await _growth(connection, indexes, user, lanes) for lanes in (1, 40)]
    await connection.close()
    for name, *each in zip(
        [f"{pending:,} pending tasks" for pending in PENDING], *found, strict=False
    ):
        print(f"| {name}, no others | {' | '.join(map(str, each))} |")
    beside = [each[-1] for each in found]
    print(f"| {PENDING[0]:,}, beside {PENDING[-1]:,} | {' | '.join(map(str, beside))} |")
    alone, project = ([each[-2] / each[place] for each in found] for place in (0, -1))
    print(f"growth of the table: {alone[0]:.2f}, {alone[1]:.2f}")
    print(f"growth of the project: {project[0]:.2f}, {project[1]:.2f}; the limit is {LIMIT}")
    return max(project) <= LIMIT


async def _growth(connection: Any, indexes: list[str], user: User, lanes: int) -> list[int]:
    """Buffers as a table of one project grows, and then those of a small one in that table."""
    await connection.execute("TRUNCATE projects, event_heads CASCADE")
    for number in (FEW, MANY):
        await fill(connection, user.id, Shape(number, 1, lanes), 0)
    found = []
    for before, pending in zip((0, *PENDING), PENDING, strict=False):
        await _more(connection, indexes, (MANY, before + 1, pending, lanes))
        found.append(await _buffers(connection, user, MANY))
    await _more(connection, indexes, (FEW, 1, PENDING[0], lanes))
    return [*found, await _buffers(connection, user, FEW)]


async def _more(connection: Any, indexes: list[str], tasks: tuple[int, ...]) -> None:
    """Insert tasks; if they are many, indexes are built faster behind the rows than with each."""
    later = indexes if tasks[0] == MANY else []
    for index in later:
        await connection.execute(f"DROP INDEX {index.split()[2]}")
    await connection.execute(PENDING_TASKS, *tasks)
    for index in later:
        await connection.execute(index)
    await connection.execute("VACUUM ANALYZE tasks")


async def _buffers(connection: Any, user: User, number: int) -> int:
    """Of a claim in this project that is planned without its parameters, and undone."""
    ids = {"project_id": UUID(int=number), "agent_id": UUID(int=number * 1000 + 1)}
    offered = {**user.rights, "called_method": "ClaimTasks", "called_request_id": "r"}
    claim = queries.CLAIM.alone
    arguments = claim.arguments(offered, {**ids, "number": 1, "seconds": 60, "only": None})
    transaction = connection.transaction()
    await transaction.start()
    plan = await explained(connection, claim.sql, arguments)
    await transaction.rollback()
    return Cost([plan]).buffers


@contextmanager
def bare_server(checkout: Checkout) -> Iterator[None]:
    """The bare handler, on the first core as the service."""
    command = [sys.executable, "-m", "benchmarks.bare_server", str(BARE_PORT)]
    process = subprocess.Popen(command, env=checkout.environment, cwd=ROOT)
    os.sched_setaffinity(process.pid, [min(os.sched_getaffinity(0))])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    """Measure, print, and return 0 if the limit is kept."""
    rest = sys.argv[1:]
    rounds, seconds = (int(rest[0]) if rest else 5), (float(rest[1]) if rest[1:] else 2.0)
    cores = os.sched_getaffinity(0)
    with temporary() as postgres:
        (checkout,) = made(postgres.url, {"claims": ROOT})
        with serving([checkout]), bare_server(checkout):
            os.sched_setaffinity(0, [max(cores)])
            asyncio.run(measure(checkout, rounds, seconds))
        return 0 if asyncio.run(growth(checkout.url)) else 1


if __name__ == "__main__":
    sys.exit(main())
