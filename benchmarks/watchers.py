"""How long 1,000 watchers of one project wait for 200 changes a second, and what they cost.

All of them watch on one task service, which has the first core for itself; the changes are made by
calls to another one, beside PostgreSQL and the watchers. These speak HTTP/2 by hand: a gRPC library
for Python would need more of a core for them than the service does.

Usage: watchers.py [WATCHERS [CHANGES_PER_SECOND [SECONDS]]]. Exit code 1 if a watcher misses an
event or the p99 of all is above LIMIT_MS.
"""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from uuid import UUID

import asyncpg
import uvloop
from google.protobuf.field_mask_pb2 import FieldMask
from uuid_utils.compat import uuid7

from benchmarks.checkouts import LIFETIME, PORTS, SECRET, Caller, Checkout, made, service
from benchmarks.postgres import temporary
from shared.auth.signing import sign_user_token
from shared.settings import Settings
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem.event.v1.event_service_pb2 import WatchEventsRequest, WatchEventsResponse
from tandem.task.v1.task_service_pb2 import CreateTaskRequest, Task, UpdateTaskRequest
from tests.http2 import ACK, DATA, PING, call, connected, first_window, pong, settled, widen

ROOT = Path(__file__).parents[1]
METHOD = "/tandem.event.v1.EventService/WatchEvents"
PER_CALLER, PER_CONNECTION = 20, 300
WINDOW, FIRST_WINDOW = 2**31 - 1, 65_535
WRITERS, SETTLE_SECONDS, PATIENCE_SECONDS = 8, 5, 60
LIMIT_MS = 500
PAGE_BYTES = resource.getpagesize()
VIEWERS = """
WITH made AS (
    INSERT INTO users (id, username, email) SELECT id, id, id FROM unnest($1::uuid[]) id
    RETURNING id
)
INSERT INTO project_members (id, project_id, user_id, role)
    SELECT gen_random_uuid(), $2, id, 'viewer' FROM made
"""


@dataclass
class Received:
    """What all watchers have received while changes were made."""

    delays: list[float] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def message(self, watcher: int, message: bytes) -> None:
        """A response to one of them."""
        sequences, times, through = _parsed(message)
        if sequences and sequences != tuple(range(self.last[watcher] + 1, sequences[-1] + 1)):
            self.faults.append(f"{watcher} has {sequences} after {self.last[watcher]}")
        now = time.time()
        self.delays += (now - at for at in times)
        self.last[watcher] = max(through, *sequences, self.last.get(watcher, 0))


@lru_cache(maxsize=256)
def _parsed(message: bytes) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    """The numbers and times of its events; many watchers are sent the same bytes."""
    response = WatchEventsResponse.FromString(message)
    times = (event.at.ToNanoseconds() / 1e9 for event in response.events)
    return tuple(e.sequence for e in response.events), tuple(times), response.through_sequence


async def watch(port: int, requests: dict[int, tuple[str, bytes]], received: Received) -> None:
    """Watch on one connection: for each watcher, with its token, what it asks for."""
    watchers = dict(zip(count(1, 2), requests, strict=False))
    unread = {stream: bytearray() for stream in watchers}
    async with connected(port, first_window(WINDOW)) as (reader, writer):
        writer.write(widen(0, WINDOW - FIRST_WINDOW))
        await settled(reader, writer)
        for stream, watcher in watchers.items():
            token, request = requests[watcher]
            bearer = {"authorization": f"Bearer {token}".encode()}
            writer.write(call(METHOD, bearer, request, stream))
        pending = bytearray()
        while chunk := await reader.read(2**20):
            pending += chunk
            for kind, flags, stream, payload in _frames(pending):
                if kind == DATA:
                    unread[stream] += payload
                    for message in _messages(unread[stream]):
                        received.message(watchers[stream], message)
                elif kind == PING and flags != ACK:
                    writer.write(pong(payload))
    received.faults.append(f"the connection of {min(requests)} and others has ended")


def _frames(pending: bytearray) -> Iterator[tuple[int, int, int, bytes]]:
    """Take the frames that are whole."""
    while len(pending) >= 9 and len(pending) >= 9 + (size := int.from_bytes(pending[:3], "big")):
        yield (
            pending[3],
            pending[4],
            int.from_bytes(pending[5:9], "big"),
            bytes(pending[9 : 9 + size]),
        )
        del pending[: 9 + size]


def _messages(unread: bytearray) -> Iterator[bytes]:
    """Take the messages that are whole."""
    while len(unread) >= 5 and len(unread) >= 5 + (size := int.from_bytes(unread[1:5], "big")):
        yield bytes(unread[5 : 5 + size])
        del unread[: 5 + size]


async def write(caller: Caller, task_id: str, per_second: float, seconds: float) -> int:
    """Change a task so often, at even times, and return how often."""
    begun, number = time.perf_counter(), round(per_second * seconds)
    for turn in range(number):
        await asyncio.sleep(begun + turn / per_second - time.perf_counter())
        task = Task(id=task_id, title=f"A title of usual length, for the {turn}. time")
        mask = FieldMask(paths=["title"])
        await caller("UpdateTask", UpdateTaskRequest(task=task, update_mask=mask))
    return number


@dataclass(frozen=True)
class Process:
    """A service, and what Linux says of it."""

    id: int

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.id}/statm").read_text().split()[1]) * PAGE_BYTES

    def seconds(self) -> float:
        """Seconds of CPU."""
        fields = Path(f"/proc/{self.id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Run:
    """Watchers of one project, on the service of `watched`, and writers, on that of `written`."""

    def __init__(self, watched: Checkout, written: Checkout, process: Process) -> None:
        self.watched, self.written, self.process = watched, written, process
        self.received = Received()
        self.memory: list[int] = []
        self.share = 0.0

    async def prepared(self) -> tuple[Caller, str, list[str]]:
        """The owner of a project, its id, and tasks in it."""
        owner = Caller(self.written)
        await owner.connect()
        request = CreateProjectRequest(project=Project(slug="watched", name="Watched"))
        project = await owner("CreateProject", request)
        new = [CreateTaskRequest(task=Task(project_id=project.id, title="A task"))] * WRITERS
        return owner, project.id, [(await owner("CreateTask", each)).id for each in new]

    async def all(self, watchers: int, per_second: float, seconds: float) -> int:
        """Watch and write; how many changes were made, which all watchers have or lack."""
        owner, project_id, tasks = await self.prepared()
        tokens = await members(self.watched.url, project_id, -(-watchers // PER_CALLER))
        request = WatchEventsRequest(project_id=project_id).SerializeToString()
        asked = [(number, (tokens[number // PER_CALLER], request)) for number in range(watchers)]
        port = int(self.watched.task_address.rpartition(":")[2])
        self.memory.append(self.process.memory())
        watching = [
            asyncio.create_task(watch(port, dict(asked[n : n + PER_CONNECTION]), self.received))
            for n in range(0, watchers, PER_CONNECTION)
        ]
        last = self.received.last
        await self.until(lambda: len(last) == watchers)
        await asyncio.sleep(SETTLE_SECONDS)
        self.memory.append(self.process.memory())
        first, before, begun = max(last.values()), self.process.seconds(), time.perf_counter()
        writes = (write(owner, task, per_second / WRITERS, seconds) for task in tasks)
        changes = sum(await asyncio.gather(*writes))
        self.share = (self.process.seconds() - before) / (time.perf_counter() - begun)
        await self.until(lambda: min(last.values()) == first + changes)
        self.memory.append(self.process.memory())
        for task in watching:
            task.cancel()
        return changes

    async def until(self, happened: Callable[[], bool]) -> None:
        """Return once it has happened. Raises TimeoutError if it does not, or AssertionError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not happened():
                assert not self.received.faults, self.received.faults[0]
                await asyncio.sleep(0.1)

    def report(self, watchers: int, changes: int) -> bool:
        """Print the figures; whether the limit is kept."""
        delays = sorted(self.received.delays)
        assert len(delays) == watchers * changes
        parts = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
        found = {name: 1000 * delays[int(part * len(delays))] for name, part in parts.items()}
        times = ", ".join(f"{name} {value:.0f} ms" for name, value in found.items())
        before, idle, after = (each / 2**20 for each in self.memory)
        print(f"{watchers:,} watchers, {changes:,} changes, {len(delays):,} events, without a gap")
        print(f"from the change to the watcher: {times}, at most {1000 * delays[-1]:.0f} ms")
        print(f"CPU of the service: {self.share:.2f} of a core")
        print(f"memory: {before:.0f} MiB without, {idle:.0f} with them, {after:.0f} at the end")
        return found["p99"] <= LIMIT_MS


async def members(url: str, project_id: str, number: int) -> list[str]:
    """The tokens of new viewers of a project."""
    ids = [uuid7() for _ in range(number)]
    connection = await asyncpg.connect(url)
    await connection.execute(VIEWERS, ids, UUID(project_id))
    await connection.close()
    return [sign_user_token(Settings(), SECRET, each, LIFETIME) for each in ids]


def main() -> int:
    """Measure, print, and return 0 if the limit is kept."""
    given = [float(each) for each in sys.argv[1:]]
    watchers, per_second, seconds = given + [1000, 200, 12][len(given) :]
    cores = os.sched_getaffinity(0)
    first, rest = min(cores), max(cores)
    with temporary() as postgres:
        (written,) = made(postgres.url, {"watchers": ROOT})
        watched = replace(written, task_address=f"127.0.0.1:{PORTS + 2}")
        with (
            service(written, "agent_service", rest),
            service(written, "task_service", rest),
            service(watched, "task_service", first) as process_id,
        ):
            os.sched_setaffinity(0, [rest])
            run = Run(watched, written, Process(process_id))
            changes = uvloop.run(run.all(round(watchers), per_second, seconds))
        return 0 if run.report(round(watchers), changes) else 1


if __name__ == "__main__":
    sys.exit(main())
