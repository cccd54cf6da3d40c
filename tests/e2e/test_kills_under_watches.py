"""Everything is killed while projects are changed and watched: no event is lost, none comes twice.

TANDEM_TEST_KILLS says how many kills there are: `make kills` makes it a run of minutes.
"""

import asyncio
import os
import sys
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from shared.database.transaction import Database
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem.event.v1.event_service_pb2 import (
    EVENT_TYPE_TASK_CREATED,
    EVENT_TYPE_TASK_DELETED,
    RESOURCE_TYPE_AGENT,
    RESOURCE_TYPE_TASK,
    WatchEventsRequest,
)
from tandem_client import Token
from tests.e2e.supervised import Surroundings
from tests.events.crowd import Lister, Mirror, Watcher, Writer
from tests.events.estate import AWAY, CHANCE, Estate
from tests.events.log import compact
from tests.events.replay import differences, replay, todays
from tests.events.validator import Logged, logged, violations
from tests.waiting import until

KINDS = ("drain", "service", "terminate", "backend", "postmaster")
KILLS = int(os.environ.get("TANDEM_TEST_KILLS", len(KINDS)))
WRITERS = 3
CALLS_PER_KILL = 60
LAST = "SELECT last FROM event_heads WHERE project_id = $1"
TASKS = "SELECT id::text, revision FROM tasks WHERE project_id = $1"
BATCHES = """
SELECT request_id, count(DISTINCT batch) AS batches,
       array_agg(resource_id::text || ' ' || revision) AS resources
FROM whole_log WHERE project_id = $1 GROUP BY request_id
"""


@pytest.mark.long
@pytest.mark.timeout(600 + 20 * KILLS)
async def test_no_kill_loses_or_doubles_an_event(tandem: Surroundings) -> None:
    async with Estate.on(tandem.data_dir) as estate:
        owner = await estate.user()
        async with estate.tandem(owner) as client:
            new = CreateProjectRequest(project=Project(slug="watched", name="Watched"))
            project = await client.projects.CreateProject(new)
        run = Run(estate, owner, project.id)
        await run.all()
        await run.check()
        sys.stderr.write(f"\n{run.summary()}\n")


class Run:
    """The writers and watchers of one project, and what is done to them."""

    def __init__(self, estate: Estate, owner: Token, project_id: str) -> None:
        self.estate = estate
        self.project_id = project_id
        self.id = UUID(project_id)
        clients = [estate.tandem(owner, first) for first in ("tasks", "other_tasks")]
        self.clients = [*clients, *(estate.tandem(owner) for _ in range(8))]
        self.writers = [Writer(clients[n % 2], project_id) for n in range(WRITERS)]
        self.strict, self.mirrors = self.watchers(self.clients[2:])
        self.everybody = [*self.strict, *self.mirrors]
        self.log: list[Logged] = []

    def watchers(self, clients: list[Any]) -> tuple[list[Watcher], list[Mirror]]:
        """Those who miss nothing, and those who take a snapshot if they are too slow."""

        def request(**fields: Any) -> WatchEventsRequest:
            return WatchEventsRequest(project_id=self.project_id, **fields)

        types = [EVENT_TYPE_TASK_CREATED, EVENT_TYPE_TASK_DELETED]
        words = ("task.created", "task.deleted")
        of_agents = [RESOURCE_TYPE_AGENT]
        all_of_it = request(after_sequence=0)
        strict = [
            Watcher(clients[0], request(after_sequence=0), name="steady"),
            Watcher(clients[1], request(after_sequence=0), name="slow", pause=0.05),
            Watcher(
                clients[2],
                request(after_sequence=0, types=types),
                matches=lambda event: event.type in words,
                name="of two types",
            ),
            Watcher(
                clients[3],
                request(after_sequence=0, resource_types=of_agents),
                matches=lambda event: event.type.startswith("agent."),
                name="of agents",
            ),
            ShortWatcher(clients[4], request(after_sequence=0), name="short"),
            Lister(clients[5], all_of_it, name="lister"),
        ]
        snapshot = request(snapshot=True, resource_types=[RESOURCE_TYPE_TASK])
        is_task = lambda event: event.type.startswith("task.")  # noqa: E731
        mirrors = [
            Mirror(clients[6], snapshot, matches=is_task, name="mirror"),
            Mirror(clients[7], snapshot, matches=is_task, name="slow mirror", pause=0.3),
        ]
        return strict, mirrors

    async def all(self) -> None:
        """Kill as often as asked for, and then let everybody come to the end of the log."""
        turns = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(each.watch()) for each in self.everybody]
            writing = [group.create_task(writer.write(turns)) for writer in self.writers]
            for number in range(KILLS):
                before = self.calls()
                for _ in range(CALLS_PER_KILL):
                    turns.release()
                await until(partial(self.have_called, before + CHANCE.randint(1, CALLS_PER_KILL)))
                await self.estate.kill(KINDS[number % len(KINDS)])
                await self.compact()
            await until(partial(self.have_called, KILLS * CALLS_PER_KILL))
            await self.until_all_is_seen()
            for task in (*watching, *writing):
                task.cancel()

    async def until_all_is_seen(self) -> None:
        """Nobody takes their time any more, and everybody gets what is still to come."""
        last = await self.estate.ask(LAST, self.id)
        for watcher in self.everybody:
            watcher.pause = 0.0
        await until(lambda: all(watcher.through >= last for watcher in self.everybody))

    def calls(self) -> int:
        """How many calls the writers have made."""
        return sum(writer.calls for writer in self.writers)

    def have_called(self, count: int) -> bool:
        """Whether the writers have made so many calls."""
        return self.calls() >= count

    async def compact(self) -> None:
        """Remove what those who miss nothing have seen, as if it had become too old."""
        seen = min(watcher.through for watcher in self.strict)

        async def compacted() -> bool:
            try:
                database = await Database.connect(self.estate.postgres.url, size=1)
            except AWAY:
                return False
            try:
                await compact(database, self.project_id, seen)
            except AWAY:
                return False
            finally:
                await database.close()
            return True

        await until(compacted)

    async def check(self) -> None:
        """The log is whole and says what the rows are; everybody got all of it, once."""
        async with self.estate.database() as connection:
            self.log = await logged(connection, self.project_id, "whole_log")
            assert [event.sequence for event in self.log] == list(range(1, len(self.log) + 1))
            rows = await connection.fetch(
                "SELECT * FROM whole_log WHERE project_id = $1 ORDER BY sequence", self.id
            )
            found = await todays(connection, self.project_id)
            assert list(differences(replay(rows), found)) == []
            await self.check_changes(connection)
            tasks = dict(await connection.fetch(TASKS, self.id))
        for watcher in self.strict:
            expected = [e.sequence for e in self.log if watcher.matches(e)]
            assert watcher.given == expected, watcher.name
        for mirror in self.mirrors:
            assert mirror.revisions == tasks, mirror.name
        assert self.violations() == []

    async def check_changes(self, connection: Any) -> None:
        """What was acknowledged is in the log once, and nothing else is there twice."""
        batches = {row["request_id"]: row for row in await connection.fetch(BATCHES, self.id)}
        assert [row for row in batches.values() if row["batches"] != 1] == []
        for change in (change for writer in self.writers for change in writer.changes):
            batch = batches.get(change.request_id)
            assert bool(batch) is change.is_news, change
            if batch and change.revision is not None:
                assert f"{change.resource_id} {change.revision}" in batch["resources"], change

    def violations(self) -> list[Any]:
        """By word, of every watcher."""
        return [
            (recording.name, *violation)
            for watcher in self.everybody
            for recording in watcher.recordings
            for violation in violations(
                recording, self.log, to_the_end=recording is watcher.recordings[-1]
            )
        ]

    def summary(self) -> str:
        """The figures of the run."""
        recordings = [recording for each in self.everybody for recording in each.recordings]
        kills = ", ".join(f"{name} {count}" for name, count in self.estate.kills.items())
        return (
            f"{sum(self.estate.kills.values())} kills ({kills}), {len(self.log)} events, "
            f"{len({event.batch for event in self.log})} batches, "
            f"{sum(len(writer.changes) for writer in self.writers)} acknowledged changes, "
            f"{len(recordings)} watches with {sum(len(r.streams) for r in recordings)} streams, "
            f"{sum(mirror.snapshots for mirror in self.mirrors)} snapshots, "
            f"{len(self.violations())} violations"
        )


class ShortWatcher(Watcher):
    """One who leaves and comes back all the time."""

    watch = Watcher.watch_shortly
