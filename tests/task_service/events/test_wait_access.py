"""Who waits for a task is told within seconds that it may be read no longer."""

import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from shared.auth import authenticator
from shared.database.pool import UnitOfWork
from shared.database.transaction import Database
from shared.errors import Reason
from tandem.agent.v1 import agent_service_pb2 as agents
from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1 import project_service_pb2 as projects
from tandem.task.v1 import task_service_pb2 as pb
from task_service.events import waiting
from tests.refusals import outcome, refused
from tests.task_service.events.waits import opened, told, wait
from tests.world import Client, User, World

AGENT, USER = pb.ASSIGNEE_TYPE_AGENT, pb.ASSIGNEE_TYPE_USER


class Scene:
    """A task that an agent and a viewer wait for, and its owner."""

    def __init__(self, world: World, owner: User, viewer: User) -> None:
        self.world = world
        self.owner, self.viewer = owner, viewer
        self.project: Any = None
        self.agent: Any = None
        self.key: Any = None
        self.task: Any = None
        self.as_agent: Any = None

    @classmethod
    async def of(cls, world: World) -> "Scene":
        scene = cls(world, await world.user(), await world.user())
        scene.project = await scene.owner.project()
        await world.member(UUID(scene.project.id), scene.viewer, "viewer")
        scene.agent = await scene.owner.agent(scene.project)
        scene.key = await scene.owner.api_key(scene.agent)
        scene.as_agent = await scene.owner.exchanged(scene.key.secret)
        scene.task = await scene.owner.task(
            scene.project, assigned_to=scene.agent.id, assigned_to_type=AGENT
        )
        return scene

    async def sql(self, statement: str, *arguments: Any) -> None:
        await self.world.execute(statement, *arguments)


Change = Callable[[Scene], Awaitable[Any]]


def deleted(its: Scene) -> Any:
    return its.owner.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=its.task.id))


def project_deleted(its: Scene) -> Any:
    request = projects.DeleteProjectRequest(project_id=its.project.id)
    return its.owner.projects.DeleteProject(request)


def role_removed(its: Scene) -> Any:
    return its.sql("DELETE FROM project_members WHERE user_id = $1", its.viewer.id)


def user_deactivated(its: Scene) -> Any:
    return its.sql("UPDATE users SET is_active = false WHERE id = $1", its.viewer.id)


def unassigned(its: Scene) -> Any:
    return its.owner.tasks.UnassignTask(pb.UnassignTaskRequest(task_id=its.task.id))


def key_revoked(its: Scene) -> Any:
    request = auth.RevokeApiKeyRequest(api_key_id=its.key.api_key.id)
    return its.owner.auth.RevokeApiKey(request)


def agent_deleted(its: Scene) -> Any:
    return its.owner.agents.DeleteAgent(agents.DeleteAgentRequest(agent_id=its.agent.id))


def agent_deactivated(its: Scene) -> Any:
    return its.sql("UPDATE agents SET is_active = false WHERE id = $1", its.agent.id)


# The reason, or, until the authenticator knows the change, that of an agent which is assigned
# nothing any more.
CASES: list[tuple[str, Change, set[Reason]]] = [
    ("viewer", deleted, {Reason.TASK_NOT_FOUND}),
    ("viewer", project_deleted, {Reason.TASK_NOT_FOUND}),
    ("viewer", role_removed, {Reason.NOT_PROJECT_OWNER}),
    ("viewer", user_deactivated, {Reason.CALLER_INACTIVE}),
    ("as_agent", unassigned, {Reason.SCOPE_MISSING}),
    ("as_agent", key_revoked, {Reason.CALLER_INACTIVE}),
    ("as_agent", agent_deleted, {Reason.CALLER_INACTIVE, Reason.SCOPE_MISSING}),
    ("as_agent", agent_deactivated, {Reason.CALLER_INACTIVE}),
]


@pytest.mark.parametrize(
    ("who", "change", "reasons"), CASES, ids=[change.__name__ for _, change, _ in CASES]
)
async def test_who_may_read_no_longer_is_told(
    world: World, who: str, change: Change, reasons: set[Reason]
) -> None:
    its = await Scene.of(world)
    caller: Client = getattr(its, who)
    async with opened(world) as here:
        (call,) = await here.begun(wait(here.client(caller), its.task))
        (owners,) = await here.begun(wait(here.client(its.owner), its.task))
        await change(its)
        assert await outcome(told(call)) in {reason.name for reason in reasons}
        if Reason.TASK_NOT_FOUND in reasons:
            await refused(told(owners), Reason.TASK_NOT_FOUND)
        else:
            assert not owners.done()


async def test_a_superuser_who_is_none_any_more_is_told(world: World) -> None:
    its = await Scene.of(world)
    root = await world.user(superuser=True)
    async with opened(world) as here:
        (call,) = await here.begun(wait(here.client(root), its.task))
        await its.sql("UPDATE users SET is_superuser = false WHERE id = $1", root.id)
        await refused(told(call), Reason.NOT_PROJECT_OWNER)


async def test_the_end_of_the_token_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    its = await Scene.of(world)
    async with opened(world) as here:
        (call,) = await here.begun(wait(here.client(its.viewer), its.task))
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 2 * 3600)
        await refused(told(call), Reason.TOKEN_EXPIRED)


def test_it_is_told_within_two_seconds() -> None:
    """A change of a caller is looked for so often, and what the authenticator knows is so old."""
    assert waiting.CHECK_SECONDS + authenticator.CALLER_SECONDS <= 2


async def test_all_callers_and_waits_are_checked_with_one_statement_each(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CHECK_SECONDS", 3600.0)
    its = await Scene.of(world)
    async with opened(world, Counting(world.database._pool)) as here:
        clients = [here.client(each) for each in (its.owner, its.viewer, its.as_agent)]
        await here.begun(*(wait(client, its.task) for client in clients for _ in range(10)))
        (followed,) = here.waiters._projects.values()
        database: Any = here.waiters._database
        callers = {waiter.call.token: waiter.caller for waiter in followed.waiters}
        assert (len(followed.waiters), len(callers)) == (30, 3)
        before = database.reads
        assert await here.waiters._check._authenticator.lapsed(callers) == set()
        await waiting.notice(database, followed.waiters)
        assert database.reads == before + 2


class Counting(Database):
    """A database that counts what it is asked."""

    reads = 0

    async def read(self, unit_of_work: UnitOfWork[Any]) -> Any:
        self.reads += 1
        return await super().read(unit_of_work)
