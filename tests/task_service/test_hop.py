"""The call to the agent service by TLS: the token goes to no other, and who calls is known."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from agent_service.__main__ import build as build_agents
from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    GetAgentRequest,
    ValidateAssigneeRequest,
)
from tandem.task.v1.task_service_pb2 import GetTaskRequest
from task_service.__main__ import build as build_tasks
from tests.authority import HERE, Authority, Signed
from tests.refusals import refused
from tests.task_service.relay import Relay
from tests.task_service.steps import assign
from tests.tls import listening, of_client, of_port, secure
from tests.world import Channels, Client, User, World

AUTHORITY = Authority()
AGENTS = AUTHORITY.signs(*HERE)
TASKS = "tasks.example.org"
SPIFFE = "spiffe://example.org/tasks"
NAMED = AUTHORITY.signs(x509.DNSName(TASKS))
CLIENT = AUTHORITY.signs(x509.DNSName("scout.example.org"))


@dataclass(frozen=True)
class Callers:
    """One user, who calls the agent service past TLS, and by it with a certificate of its own."""

    alice: User
    by_tls: Client


Pair = Callable[..., AbstractAsyncContextManager[Callers]]


@pytest.fixture
def pair(world: World, tmp_path: Path) -> Pair:
    """Both services, with mTLS between them, and a user who calls both."""

    @asynccontextmanager
    async def built(
        tasks: Signed | None = NAMED, agents: Signed = AGENTS, **fields: Any
    ) -> AsyncIterator[Callers]:
        port = of_port("agent", tmp_path, agents, AUTHORITY.pem)
        settings = replace(world.settings, **port, **of_client(tmp_path, AUTHORITY.pem, tasks))
        settings = replace(settings, **fields)
        async with listening(build_agents(world.database, settings)) as address:
            settings = replace(settings, agent_address=address)
            async with (
                listening(build_tasks(world.database, settings)) as plain,
                secure(address, AUTHORITY.pem, CLIENT) as to_agents,
                secure(plain, b"") as to_tasks,
            ):
                alice = _through(to_tasks, await world.user(), world)
                yield Callers(alice, Client(Channels(to_agents, to_tasks), alice.token))

    return built


def _through(to_tasks: grpc.aio.Channel, user: User, world: World) -> User:
    """The same user, who calls a task service of the test's."""
    return User(user.id, Channels(world.channels.agents, to_tasks), str(user.token))


async def assigned(alice: User) -> bool:
    """Whether a new task can be assigned; if not, it is as it was."""
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    try:
        return bool((await assign(alice, task, agent.id)).assigned_to == agent.id)
    except grpc.aio.AioRpcError:
        await refused(assign(alice, task, agent.id), Reason.AGENT_SERVICE_UNAVAILABLE)
        assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
        return False


@pytest.mark.parametrize("names", [None, (TASKS,), (SPIFFE, TASKS)])
async def test_the_task_service_asks_by_mtls(pair: Pair, names: Any) -> None:
    async with pair(agent_tls_task_services=names) as callers:
        assert await assigned(callers.alice)


async def test_it_may_have_the_name_of_a_workload(pair: Pair) -> None:
    workload = AUTHORITY.signs(x509.UniformResourceIdentifier(SPIFFE))
    async with pair(workload, agent_tls_task_services=(SPIFFE,)) as callers:
        assert await assigned(callers.alice)


@pytest.mark.parametrize(
    "names",
    [
        (x509.DNSName("scout.example.org"),),
        (x509.DNSName("*.example.org"),),
        (x509.DNSName(f"{TASKS}.example.org"),),
        (x509.RFC822Name(TASKS),),
        (),
    ],
)
async def test_another_name_does_not_make_a_task_service(
    pair: Pair, names: tuple[x509.GeneralName, ...]
) -> None:
    with capture_logs() as lines:
        async with pair(AUTHORITY.signs(*names), agent_tls_task_services=(TASKS,)) as callers:
            assert not await assigned(callers.alice)
    assert {line.get("reason") for line in lines if "ValidateAssignee" in str(line)} == {
        Reason.CLIENT_NOT_ALLOWED.name
    }


async def test_only_the_question_of_task_services_is_left_to_them(pair: Pair) -> None:
    async with pair(agent_tls_task_services=(TASKS,)) as callers:
        project = await callers.alice.project()
        agent = await callers.alice.agent(project)
        request = ValidateAssigneeRequest(
            project_id=project.id, assignee_id=agent.id, assignee_type=ASSIGNEE_TYPE_AGENT
        )
        await callers.by_tls.agents.GetAgent(GetAgentRequest(agent_id=agent.id))
        asked = callers.by_tls.agents.ValidateAssignee(request)
        await refused(asked, Reason.CLIENT_NOT_ALLOWED)


async def test_without_names_it_is_open_to_all(pair: Pair) -> None:
    async with pair() as callers:
        project = await callers.alice.project()
        agent = await callers.alice.agent(project)
        request = ValidateAssigneeRequest(
            project_id=project.id, assignee_id=agent.id, assignee_type=ASSIGNEE_TYPE_AGENT
        )
        await callers.by_tls.agents.ValidateAssignee(request)


@pytest.mark.parametrize("tasks", [None, Authority().signs(x509.DNSName(TASKS))])
async def test_a_task_service_that_proves_nothing_is_not_heard(
    pair: Pair, tasks: Signed | None
) -> None:
    async with pair(tasks) as callers:
        assert not await assigned(callers.alice)


@pytest.mark.parametrize(
    ("agents", "name", "wanted"),
    [
        (AGENTS, None, True),
        (AUTHORITY.signs(x509.DNSName("agents.example.org")), "agents.example.org", True),
        (AUTHORITY.signs(x509.DNSName("agents.example.org")), None, False),
        (AGENTS, "agents.example.org", False),
        (Authority().signs(*HERE), None, False),
    ],
)
async def test_the_token_goes_to_the_agent_service_only(
    world: World, tmp_path: Path, agents: Signed, name: str | None, wanted: bool
) -> None:
    """What stands in its place hears no call if it cannot prove that it is the agent service."""
    relay, server = Relay(world.channels.agents), grpc.aio.server()
    server.add_generic_rpc_handlers((relay,))
    credentials = grpc.ssl_server_credentials([(agents.key_pem, agents.pem)])
    address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    settings = replace(world.settings, agent_tls_server_name=name, agent_address=address)
    settings = replace(settings, **of_client(tmp_path, AUTHORITY.pem))
    alice = await world.user()
    async with (
        listening(build_tasks(world.database, settings)) as plain,
        secure(plain, b"") as to_tasks,
    ):
        assert await assigned(_through(to_tasks, alice, world)) is wanted
    assert bool(relay.calls) is wanted
    await server.stop(None)
