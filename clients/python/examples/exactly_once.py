"""Effects exactly once: a copy of a project's tasks, and a note of each event, in your database.

The effects of a transaction's events, and the number that they end at, are written in one
transaction of your own database. So after a crash there are both or neither, and the watch goes on
at the right event. Run it as often as you like, kill it whenever you like:

    TOKEN=… PROJECT_ID=… DATABASE_URL=postgresql://… python exactly_once.py

It requires asyncpg. TANDEM_TASK_ADDRESS is where the task service listens, if not on this machine.
"""

import asyncio
import os
from typing import Any

import asyncpg

from tandem.event.v1.event_service_pb2 import (
    EVENT_TYPE_TASK_DELETED,
    Event,
    EventType,
    Resource,
    WatchEventsRequest,
)
from tandem.task.v1.task_service_pb2 import Task, TaskStatus
from tandem_client import Batch, SnapshotBegins, SnapshotComplete, SnapshotPart, Tandem, Token
from tandem_client import connect as connect_to_tandem

TABLES = """
CREATE TABLE IF NOT EXISTS bookmarks (
    project_id uuid PRIMARY KEY, through_sequence bigint, log_id uuid
);
CREATE TABLE IF NOT EXISTS notes (sequence bigint NOT NULL, text text NOT NULL);
CREATE TABLE IF NOT EXISTS copies (
    id uuid PRIMARY KEY, revision bigint NOT NULL, title text NOT NULL, status text NOT NULL
);
"""
FIND = "SELECT through_sequence, log_id::text FROM bookmarks WHERE project_id = $1"
BEGIN = "INSERT INTO bookmarks (project_id) VALUES ($1) ON CONFLICT DO NOTHING"
# Only from where this process is: if another one has been faster, nothing is updated.
MOVE = """
UPDATE bookmarks SET through_sequence = $4, log_id = $5
WHERE project_id = $1
  AND through_sequence IS NOT DISTINCT FROM $2 AND log_id IS NOT DISTINCT FROM $3
"""
NOTE = "INSERT INTO notes (sequence, text) VALUES ($1, $2)"
# After a snapshot come events that it has already: they are not newer than the copy.
COPY = """
INSERT INTO copies AS old (id, revision, title, status) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET revision = $2, title = $3, status = $4 WHERE old.revision < $2
"""
DELETE = "DELETE FROM copies WHERE id = $1"


class Consumer:
    """Takes over what happens in a project."""

    def __init__(self, database: "asyncpg.Connection[Any]", project_id: str) -> None:
        self.database = database
        self.project_id = project_id
        self.bookmark: tuple[int | None, str | None] = (None, None)

    async def run(self, tandem: Tandem) -> None:
        """Go on from the last bookmark, from the beginning if there is none. Has no end."""
        await self.database.execute(BEGIN, self.project_id)
        found = await self.database.fetchrow(FIND, self.project_id)
        assert found
        through, log_id = self.bookmark = found["through_sequence"], found["log_id"]
        request = WatchEventsRequest(
            project_id=self.project_id, after_sequence=through or 0, log_id=log_id
        )
        resources: list[Resource] = []
        async for item in tandem.watch(request, snapshots=True):
            match item:
                case SnapshotBegins():
                    resources = []
                case SnapshotPart():
                    resources += item.resources
                case SnapshotComplete():
                    await self.replace(resources, item)
                case Batch():
                    await self.apply(item)

    async def apply(self, batch: Batch) -> None:
        """Let each event have its effect, and move the bookmark."""
        async with self.database.transaction():
            await self.move(batch.through_sequence, batch.log_id)
            for event in batch.events:
                await self.database.execute(NOTE, event.sequence, EventType.Name(event.type))
                await self.follow(event)

    async def follow(self, event: Event) -> None:
        """Make the copy of a task what the task is."""
        if event.type == EVENT_TYPE_TASK_DELETED:
            await self.database.execute(DELETE, event.resource_id)
        elif event.after.WhichOneof("resource") == "task":
            await self.copy(event.after.task)

    async def replace(self, resources: list[Resource], end: SnapshotComplete) -> None:
        """The events since the bookmark are lost, so take the tasks as they are."""
        async with self.database.transaction():
            await self.move(end.through_sequence, end.log_id)
            await self.database.execute("DELETE FROM copies")
            for resource in resources:
                if resource.WhichOneof("resource") == "task":
                    await self.copy(resource.task)

    async def copy(self, task: Task) -> None:
        """Write a task, unless what is there is as new."""
        status = TaskStatus.Name(task.status)
        await self.database.execute(COPY, task.id, task.revision, task.title, status)

    async def move(self, through: int, log_id: str) -> None:
        """Move the bookmark. Raises RuntimeError if another process has done so."""
        new = (through, log_id)
        if await self.database.execute(MOVE, self.project_id, *self.bookmark, *new) != "UPDATE 1":
            raise RuntimeError("Another process consumes the events of this project.")
        self.bookmark = new


async def main() -> None:
    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.execute(TABLES)
    consumer = Consumer(database, os.environ["PROJECT_ID"])
    address = os.environ.get("TANDEM_TASK_ADDRESS", "127.0.0.1:50052")
    credentials = Token(os.environ["TOKEN"])
    async with connect_to_tandem(task_address=address, credentials=credentials) as tandem:
        await consumer.run(tandem)


if __name__ == "__main__":
    asyncio.run(main())
