"""How a watch ends: by the loss of rights, with a last word, and never by being slow."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from shared.database.transaction import unavailable
from shared.errors import Code, Reason
from shared.grpc_server import watches
from tandem.agent.v1.agent_service_pb2 import Agent, DeleteAgentRequest, UpdateAgentRequest
from tandem.agent.v1.auth_service_pb2 import RevokeApiKeyRequest
from tandem.agent.v1.auth_service_pb2 import User as Person
from tandem.agent.v1.member_service_pb2 import RemoveMemberRequest
from tandem.agent.v1.project_service_pb2 import (
    DeleteProjectRequest,
    Project,
    TransferProjectRequest,
)
from tandem.agent.v1.user_service_pb2 import DeleteUserRequest, UpdateUserRequest
from tandem.event.v1 import event_service_pb2 as pb
from task_service.__main__ import build
from task_service.events import guard
from tests.refusals import refused
from tests.task_service.events.watched import Unread, Watched, add, log_of, task_named
from tests.waiting import until
from tests.world import Channels, Client, User, World, running

PROMISED_SECONDS = 2.0
Take = Callable[["Cast"], Awaitable[object]]


class Cast:
    """Those who watch a project of `alice`, and one who can do everything."""

    def __init__(self, world: World, root: User, alice: User, bob: User, project: Project) -> None:
        self.world, self.root, self.alice, self.bob = world, root, alice, bob
        self.project = project
        self.agent = Agent()
        self.key_id = ""

    @classmethod
    async def of(cls, world: World) -> "Cast":
        root, alice, bob = await world.user(superuser=True), await world.user(), await world.user()
        cast = cls(world, root, alice, bob, await alice.project())
        await world.member(cast.project.id, bob, "viewer")
        cast.agent = await alice.agent(cast.project)
        return cast

    async def as_agent(self) -> Client:
        """The agent, which may read the project."""
        key = await self.alice.api_key(self.agent, scopes=["API_KEY_SCOPE_READ_PROJECT"])
        self.key_id = key.api_key.id
        return await self.alice.exchanged(key.secret)

    def watch(self, client: Client, **asked: Any) -> Watched:
        return Watched(client, self.project.id, **asked)


async def deactivate_user(its: Cast) -> None:
    request = UpdateUserRequest(user=Person(id=str(its.bob.id), is_active=False))
    await its.root.users.UpdateUser(request)


async def delete_user(its: Cast) -> None:
    await its.root.users.DeleteUser(DeleteUserRequest(user_id=str(its.bob.id)))


async def remove_member(its: Cast) -> None:
    request = RemoveMemberRequest(project_id=its.project.id, user_id=str(its.bob.id))
    await its.alice.members.RemoveMember(request)


async def delete_project(its: Cast) -> None:
    await its.alice.projects.DeleteProject(DeleteProjectRequest(project_id=its.project.id))


async def revoke_key(its: Cast) -> None:
    await its.alice.auth.RevokeApiKey(RevokeApiKeyRequest(api_key_id=its.key_id))


async def deactivate_agent(its: Cast) -> None:
    request = UpdateAgentRequest(agent=Agent(id=its.agent.id, is_active=False))
    await its.alice.agents.UpdateAgent(request)


async def delete_agent(its: Cast) -> None:
    await its.alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=its.agent.id))


async def take_silently(its: Cast) -> None:
    """By no event of the project's log."""
    remove = "DELETE FROM project_members WHERE project_id = $1 AND user_id = $2"
    await its.world.execute(remove, UUID(its.project.id), its.bob.id)


OF_USERS: list[tuple[Take, Reason]] = [
    (deactivate_user, Reason.CALLER_INACTIVE),
    (delete_user, Reason.CALLER_INACTIVE),
    (remove_member, Reason.NOT_PROJECT_OWNER),
    (take_silently, Reason.NOT_PROJECT_OWNER),
    (delete_project, Reason.PROJECT_NOT_FOUND),
]
OF_AGENTS: list[tuple[Take, Reason]] = [
    (revoke_key, Reason.CALLER_INACTIVE),
    (deactivate_agent, Reason.CALLER_INACTIVE),
    (delete_agent, Reason.CALLER_INACTIVE),
    (delete_project, Reason.PROJECT_NOT_FOUND),
]


@pytest.mark.parametrize(("take", "reason"), OF_USERS)
async def test_a_user_who_may_read_no_longer_is_sent_nothing_more(
    world: World, take: Take, reason: Reason
) -> None:
    its = await Cast.of(world)
    watched = its.watch(its.bob)
    await watched.read()
    await take(its)
    await refused(watched.end(), reason)


@pytest.mark.parametrize(("take", "reason"), OF_AGENTS)
async def test_an_agent_that_may_read_no_longer_is_sent_nothing_more(
    world: World, take: Take, reason: Reason
) -> None:
    its = await Cast.of(world)
    watched = its.watch(await its.as_agent())
    await watched.read()
    await take(its)
    await refused(watched.end(), reason)


@pytest.mark.parametrize("who", ["owner", "member", "superuser", "agent"])
async def test_the_deletion_of_a_project_is_the_last_event(world: World, who: str) -> None:
    its = await Cast.of(world)
    agent = await its.as_agent()
    who_watches = {"owner": its.alice, "member": its.bob, "superuser": its.root, "agent": agent}
    watched = its.watch(who_watches[who])
    await watched.read()
    await delete_project(its)
    await refused(watched.end(), Reason.PROJECT_NOT_FOUND)
    assert watched.events[-1].type == pb.EVENT_TYPE_PROJECT_DELETED
    assert watched.through == watched.numbers[-1]


async def test_a_watch_ends_with_its_token(world: World) -> None:
    alice, project = await log_of(world, 1)
    token = world.token(alice.id, timedelta(seconds=3))
    watched = Watched(Client(world.channels, token), project.id)
    await refused(watched.end(), Reason.TOKEN_EXPIRED)


async def test_the_watch_of_a_former_owner_ends_and_others_go_on(
    world: World,
) -> None:
    its = await Cast.of(world)
    gone, stays = its.watch(its.alice), its.watch(its.bob)
    await gone.read()
    await stays.read()
    request = TransferProjectRequest(project_id=its.project.id, owner_id=str(its.bob.id))
    await its.alice.projects.TransferProject(request)
    await refused(gone.end(), Reason.NOT_PROJECT_OWNER)
    task = await its.bob.task(its.project)
    while task.id not in {event.resource_id for event in stays.events}:
        await stays.read()
    stays.leave()


async def test_a_client_that_reads_nothing_is_ended_too(world: World) -> None:
    its = await Cast.of(world)
    for _ in range(10):
        await add(world, its.project, 60, after=task_named("long " * 300))
    server = build(world.database, world.settings)
    async with running(server) as (_, address):
        there = replace(world, settings=replace(world.settings, task_address=address))
        about = {"project_id": its.project.id, "after_sequence": 0}
        async with Unread.opened(there, its.bob, **about) as unread:
            await unread.is_full()
            assert server._interceptor._watches.held == {its.bob.id: 1}
            await remove_member(its)
            await until(lambda: server._interceptor._watches.held == {})
            unread.widen()
            assert await unread.end() == Code.PERMISSION_DENIED
            assert len(unread.numbers) < 600, "no more than was on its way"


async def test_nothing_is_sent_on_an_old_check(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database cannot say whether the caller may still read, the watch waits."""
    monkeypatch.setattr(guard, "FRESH_SECONDS", 0.0)
    alice, project = await log_of(world, 1)
    watched = Watched(alice, project.id)
    await watched.read()
    held = asyncio.Event()
    check = guard.Guard._check

    async def checked(self: guard.Guard) -> None:
        await held.wait()
        await check(self)

    monkeypatch.setattr(guard.Guard, "_check", checked)
    await add(world, project)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.shield(reading := asyncio.ensure_future(watched.read()))
    monkeypatch.setattr(guard, "FRESH_SECONDS", 60.0)
    held.set()
    assert (await reading).through_sequence == 2
    watched.leave()


async def test_a_watch_ends_if_an_outage_lasts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "OUTAGE_SECONDS", 0.5)
    alice, project = await log_of(world, 1)
    watched = Watched(alice, project.id)
    await watched.read()

    async def fail(_unit: object) -> None:
        raise unavailable()

    monkeypatch.setattr(world.database, "read", fail)
    await refused(watched.end(), Reason.DATABASE_UNAVAILABLE)


async def test_one_statement_checks_all_users_who_watch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, project = await log_of(world, 1)
    users = [await world.user() for _ in range(4)]
    for user in users:
        await world.member(project.id, user, "viewer")
    watched = [Watched(user, project.id) for user in (alice, *users) for _ in range(3)]
    for each in watched:
        await each.read()
    asked: list[int] = []
    rows = guard.Guard._rows

    async def counted(self: guard.Guard, statement: Any, keys: Any) -> Any:
        asked.append(sum(str(key.project_id) == project.id for key in keys))
        return await rows(self, statement, keys)

    monkeypatch.setattr(guard.Guard, "_rows", counted)
    await until(lambda: asked.count(5) >= 2)  # a row for each user, not for each stream
    for each in watched:
        each.leave()


async def test_a_stop_sends_a_last_bookmark(world: World) -> None:
    alice, project = await log_of(world, 2)
    server = build(world.database, world.settings)
    async with running(server) as (channel, _):
        client = Client(Channels(channel, channel), alice.token)
        watched = Watched(client, project.id, types=[pb.EVENT_TYPE_TASK_DELETED])
        await watched.read()
        await add(world, project, 2)
        stopping = asyncio.create_task(server.drain())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await watched.end()
        await stopping
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(watched.responses) >= 2
    assert watched.through >= 2
    assert server._interceptor._watches.held == {}


async def test_a_client_that_reads_nothing_does_not_hold_up_a_stop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "LAST_WORD_SECONDS", 0.2)
    alice, project = await log_of(world)
    for _ in range(10):
        await add(world, project, 60, after=task_named("long " * 300))
    server = build(world.database, world.settings)
    async with running(server) as (_, address):
        there = replace(world, settings=replace(world.settings, task_address=address))
        async with Unread.opened(there, alice, project_id=project.id, after_sequence=0) as unread:
            await unread.is_full()
            await server.drain()
            assert server._interceptor._watches.held == {}
            unread.widen()
            assert await unread.end() == Code.UNAVAILABLE


async def test_a_watch_ends_by_its_age_before_its_connection_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC would end the stream without a last bookmark."""
    from shared.grpc_server import server as module

    options = dict(module.OPTIONS)
    age, grace = (options[f"grpc.max_connection_age{name}_ms"] for name in ("", "_grace"))
    assert age == 1_800_000
    assert grace == watches.AGE_SECONDS * 1000 + 60_000
    monkeypatch.setattr(
        module,
        "OPTIONS",
        [*{**options, "grpc.max_connection_age_ms": 500}.items()],
    )
    monkeypatch.setattr(watches, "AGE_SECONDS", 3.0)
    alice, project = await log_of(world, 2)
    async with running(build(world.database, world.settings)) as (channel, _):
        watched = Watched(Client(Channels(channel, channel), alice.token), project.id)
        await watched.read()
        await add(world, project, 2)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await watched.end()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "age" in (raised.value.details() or "")
    assert (watched.numbers, watched.through) == ([3, 4], 4)
    assert list(watched.responses[-1].events) == [], "a bookmark comes last"
