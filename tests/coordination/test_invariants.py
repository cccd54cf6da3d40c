"""What is said to hold is looked for: each sentence is broken once, and said to be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tandem.task.v1 import task_service_pb2 as pb
from tests.coordination.invariants import LEASES, LIMITS, LOG, WAITS, broken
from tests.world import User, World

# By the sentence: what breaks it. $1 is the held task, $2 the one that waits for it.
BREAKS: dict[str, str] = {
    "a lease is that of the latest claim, for the agent that the task is assigned to": """
        UPDATE task_leases SET fence = 7 WHERE task_id = $1
    """,
    "a task says that it is leased if and only if it has a lease": """
        UPDATE tasks SET leased = false WHERE id = $1
    """,
    "a task with a lease is in progress, and has been started": """
        UPDATE tasks SET started_at = NULL WHERE id = $1
    """,
    "an attempt is under way if and only if its lease is there": """
        DELETE FROM task_leases WHERE task_id = $1
    """,
    "an attempt has an outcome if and only if it has ended, and ends after it began": """
        UPDATE task_attempts SET outcome = 'failed' WHERE task_id = $1
    """,
    "the fences of a task are 1, 2, 3 …, one for each attempt": """
        UPDATE tasks SET fence = fence - 1 WHERE id = $1
    """,
    "an attempt begins when those before it have ended": """
        INSERT INTO task_attempts (project_id, task_id, fence, attempt, agent_id)
        SELECT project_id, task_id, fence + 1, attempt, agent_id
        FROM task_attempts WHERE task_id = $1
    """,
    "no attempt is counted that was not made": """
        UPDATE tasks SET attempt = fence + 1 WHERE id = $1
    """,
    "a task that has ended is not to be cancelled": """
        UPDATE tasks SET cancel_requested_at = now(), leased = false, status = 'cancelled'
        WHERE id = $1
    """,
    "an agent has at most as many leases as it may have": """
        UPDATE task_leases SET agent_slot = 101 WHERE task_id = $1
    """,
    "a lock key is held once, by every task with a lease that has one": """
        UPDATE task_leases SET lock_key = NULL WHERE task_id = $1
    """,
    "no agent that is not active has a lease": """
        UPDATE agents SET is_active = false
        WHERE id = (SELECT agent_id FROM task_leases WHERE task_id = $1)
    """,
    "no task was given back more than 100 times without counting": """
        UPDATE tasks SET releases = 101 WHERE id = $1
    """,
    "a task knows how many dependencies it waits for": """
        UPDATE tasks SET open_dependencies = 2 WHERE id = $2
    """,
    "no task waits for dependencies without one that is open": """
        UPDATE tasks SET leased = false, status = 'completed' WHERE id = $1
    """,
    "no task can be claimed that waits for a dependency": """
        UPDATE tasks SET status = 'pending', status_reason = NULL WHERE id = $2
    """,
    "a task that waits says that a dependency is lost if and only if one is": """
        UPDATE tasks SET status_reason = 'dependency_failed' WHERE id = $2
    """,
    "no task waits for what is lost that is to end with it": """
        WITH lost AS (UPDATE tasks SET status = 'failed', leased = false WHERE id = $1)
        UPDATE tasks SET on_dependency_failure = 'fail', status_reason = 'dependency_failed'
        WHERE id = $2
    """,
    "a task that others wait for knows that": """
        UPDATE tasks SET has_dependents = false WHERE id = $1
    """,
    "a task shows the dependencies that it has": """
        UPDATE tasks SET dependencies = '[]' WHERE id = $2
    """,
    "no task waits for itself": """
        INSERT INTO task_dependencies (project_id, task_id, depends_on_id)
        SELECT project_id, id, $2 FROM tasks WHERE id = $1
    """,
    "events are numbered without a gap, up to the head": """
        DELETE FROM events WHERE resource_id = $1 AND type = 'task.created'
    """,
    "each claim is one event": """
        UPDATE events SET type = 'task.updated' WHERE resource_id = $1 AND type = 'task.claimed'
    """,
    "each completion under a lease is one attempt that was completed": """
        UPDATE events SET type = 'task.completed', method = '/CompleteTask'
        WHERE resource_id = $1 AND type = 'task.claimed'
    """,
    "each attempt that has ended is one event, after which the task is not leased": """
        UPDATE task_attempts SET outcome = 'failed', ended_at = now() WHERE task_id = $1
    """,
    "the revisions of a resource rise by one with each of its events": """
        UPDATE events SET revision = 9 WHERE resource_id = $1 AND type = 'task.claimed'
    """,
}


@dataclass
class Project:
    """A project with a task that an agent holds, and one that waits for it, as SQL has ids."""

    id: str
    held: str
    waits: str


async def project_of(alice: User) -> Project:
    project = await alice.project()
    agent = await alice.agent(project)
    held = await alice.task(project, lock_key="crane")
    waits = await alice.task(
        project, dependencies=[held.id], dependency_policy=pb.DEPENDENCY_POLICY_WAIT
    )
    request = pb.ClaimTasksRequest(project_id=project.id, agent_id=agent.id)
    assert (await alice.tasks.ClaimTasks(request)).tasks[0].task.id == held.id
    return Project(project.id, f"'{held.id}'", f"'{waits.id}'")


@asynccontextmanager
async def undone(url: str) -> AsyncIterator[Any]:
    """A transaction of the owner of the tables, which is undone at the end of the block."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


async def test_each_sentence_is_said_of_what_breaks_it_and_none_of_what_does_not(
    world: World, shared_database_url: str
) -> None:
    project = await project_of(await world.user())
    for sentence, statement in BREAKS.items():
        statement = statement.replace("$1", project.held).replace("$2", project.waits)
        async with undone(shared_database_url) as connection:
            assert await broken(connection, project.id) == []
            await connection.execute(statement)
            found = await broken(connection, project.id)
        assert any(each.startswith(sentence) for each in found), (sentence, found)


@pytest.mark.parametrize("sentence", [*LEASES, *LIMITS, *WAITS, *LOG])
def test_there_is_something_that_breaks_each_sentence(sentence: str) -> None:
    assert sentence in BREAKS
