"""A revocation takes effect in every process, also for tokens that were issued before."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import grpc
import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    Agent,
    DeleteAgentRequest,
    UpdateAgentRequest,
)
from tandem.agent.v1.auth_service_pb2 import (
    ApiKey,
    RevokeApiKeyRequest,
    RevokeApiKeysRequest,
    RotateApiKeyRequest,
    WhoAmIRequest,
)
from tandem.agent.v1.auth_service_pb2 import User as Person
from tandem.agent.v1.member_service_pb2 import RemoveMemberRequest
from tandem.agent.v1.project_service_pb2 import (
    DeleteProjectRequest,
    GetProjectRequest,
    Project,
)
from tandem.agent.v1.user_service_pb2 import DeleteUserRequest, UpdateUserRequest
from tandem.task.v1.task_service_pb2 import ListTasksRequest
from tests.processes import port, service
from tests.refusals import refused
from tests.world import Channels, Client, User, World

PROMISED_SECONDS = 5.0
PAUSE_SECONDS = 0.05
Call = Callable[[], Awaitable[object]]
Take = Callable[[User, Agent, ApiKey], Awaitable[object]]


async def revoke(owner: User, _agent: Agent, key: ApiKey) -> None:
    await owner.auth.RevokeApiKey(RevokeApiKeyRequest(api_key_id=key.id))


async def revoke_all(owner: User, agent: Agent, _key: ApiKey) -> None:
    await owner.auth.RevokeApiKeys(RevokeApiKeysRequest(project_id=agent.project_id))


async def rotate(owner: User, _agent: Agent, key: ApiKey) -> None:
    await owner.auth.RotateApiKey(RotateApiKeyRequest(api_key_id=key.id))


async def deactivate(owner: User, agent: Agent, _key: ApiKey) -> None:
    await owner.agents.UpdateAgent(UpdateAgentRequest(agent=Agent(id=agent.id, is_active=False)))


async def delete(owner: User, agent: Agent, _key: ApiKey) -> None:
    await owner.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))


async def deactivate_user(root: User, user: User) -> None:
    request = UpdateUserRequest(user=Person(id=str(user.id), is_active=False))
    await root.users.UpdateUser(request)


async def delete_user(root: User, user: User) -> None:
    await root.users.DeleteUser(DeleteUserRequest(user_id=str(user.id)))


async def delete_project(owner: User, agent: Agent, _key: ApiKey) -> None:
    await owner.projects.DeleteProject(DeleteProjectRequest(project_id=agent.project_id))


@dataclass
class Processes:
    """Two processes of each service, besides those in this one."""

    channels: list[Channels]

    def calls(self, token: str) -> list[Call]:
        """A call of the agent to each process."""
        clients = [Client(channels, token) for channels in self.channels]
        who = [partial(client.auth.WhoAmI, WhoAmIRequest()) for client in clients]
        return who + [partial(client.tasks.ListTasks, ListTasksRequest()) for client in clients]

    def calls_about(self, project: Project, token: str | None) -> list[Call]:
        """A call about a project to each process."""
        clients = [Client(channels, token) for channels in self.channels]
        get = GetProjectRequest(project_id=project.id)
        tasks = ListTasksRequest(project_id=project.id)
        first = [partial(client.projects.GetProject, get) for client in clients]
        return first + [partial(client.tasks.ListTasks, tasks) for client in clients]


@pytest.fixture(scope="module")
async def processes(shared_database_url: str) -> AsyncIterator[Processes]:
    modules = ("agent_service", "task_service") * 2
    started = [service(module, TANDEM_DATABASE_URL=shared_database_url) for module in modules]
    try:
        async with AsyncExitStack() as stack:
            ways = [
                await stack.enter_async_context(
                    grpc.aio.insecure_channel(f"127.0.0.1:{port(process)}")
                )
                for process in started
            ]
            yield Processes([Channels(*ways[:2]), Channels(*ways[2:])])
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("take", [revoke, revoke_all, rotate, deactivate, delete, delete_project])
async def test_a_token_ends_on_every_process(
    world: World, processes: Processes, take: Take
) -> None:
    owner = await world.user()
    agent = await owner.agent(await owner.project())
    key = await owner.api_key(agent)
    token = (await owner.exchanged(key.secret)).token
    await assert_ended(processes, token, lambda: take(owner, agent, key.api_key))


@pytest.mark.parametrize("take", [deactivate_user, delete_user])
async def test_a_user_is_out_on_every_process(
    world: World, processes: Processes, take: Callable[[User, User], Awaitable[object]]
) -> None:
    root, user = await world.user(superuser=True), await world.user()
    await assert_ended(processes, user.token, lambda: take(root, user))


async def assert_ended(processes: Processes, token: str | None, take: Call) -> None:
    """Assert that a token that is taken everywhere is taken nowhere within the promised time."""
    assert token
    calls = processes.calls(token)
    assert len(calls) == 4
    for call in calls:
        await call()
    keep_asking = [asyncio.create_task(last_answer(call)) for call in calls]
    await asyncio.sleep(PAUSE_SECONDS)
    await take()
    taken = time.monotonic()
    ended = await asyncio.gather(*keep_asking)
    assert max(ended) - taken < PROMISED_SECONDS


async def leave(bob: User, project: Project, _owner: User) -> None:
    request = RemoveMemberRequest(project_id=project.id, user_id=str(bob.id))
    await bob.members.RemoveMember(request)


async def remove(bob: User, project: Project, owner: User) -> None:
    request = RemoveMemberRequest(project_id=project.id, user_id=str(bob.id))
    await owner.members.RemoveMember(request)


@pytest.mark.parametrize("take", [leave, remove])
async def test_a_membership_ends_on_every_process(
    world: World,
    processes: Processes,
    take: Callable[[User, Project, User], Awaitable[None]],
) -> None:
    """It is looked up by each statement, and kept nowhere: not one call more succeeds."""
    owner, bob = await world.user(), await world.user()
    project = await owner.project()
    await world.member(project.id, bob, "admin")
    calls = processes.calls_about(project, bob.token)
    assert len(calls) == 4
    for call in calls:
        await call()
    await take(bob, project, owner)
    for call in calls:
        await refused(call(), Reason.NOT_PROJECT_OWNER)


async def last_answer(call: Call) -> float:
    """Call repeatedly; the start of the last call that succeeded."""
    give_up = time.monotonic() + 4 * PROMISED_SECONDS
    while (began := time.monotonic()) < give_up:
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            await refused(_again(error), Reason.CALLER_INACTIVE)
            return began
        await asyncio.sleep(PAUSE_SECONDS)
    raise AssertionError("the token is still taken")


async def _again(error: grpc.aio.AioRpcError) -> None:
    raise error
