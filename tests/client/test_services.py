"""Both clients against both services, over real sockets."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import grpc
import pytest

from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest, GetAgentRequest
from tandem.agent.v1.auth_service_pb2 import CALLER_TYPE_AGENT, RevokeApiKeyRequest, WhoAmIRequest
from tandem.agent.v1.project_service_pb2 import (
    CreateProjectRequest,
    ListProjectsRequest,
    Project,
)
from tandem.agent.v1.room_service_pb2 import CreateRoomRequest, Room
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    TASK_STATUS_COMPLETED,
    CreateTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Task,
    UpdateTaskStatusRequest,
)
from tandem_client import (
    ApiKey,
    Credentials,
    ErrorReason,
    Resource,
    Retries,
    Tandem,
    TandemError,
    Token,
    connect,
    sync,
)
from tests.client.wire import Wire, behind_tls
from tests.task_service.relay import Relay
from tests.world import User, World

T = TypeVar("T")


def connected(world: World, credentials: Credentials = None, **others: Any) -> Tandem:
    """A client of the services of a test."""
    return connect(**{**addresses(world), "credentials": credentials, **others})


def in_threads(world: World, credentials: Credentials = None, **others: Any) -> sync.Tandem:
    """The same, for threads."""
    return sync.connect(**{**addresses(world), "credentials": credentials, **others})


def addresses(world: World) -> dict[str, Any]:
    names = ("agent_address", "task_address")
    return {name: getattr(world.settings, name) for name in names}


def token_of(user: User) -> Token:
    assert user.token
    return Token(user.token)


async def test_every_service_can_be_called_with_a_token(world: World) -> None:
    async with connected(world, token_of(await world.user())) as tandem:
        project = Project(slug="apollo", name="Apollo")
        project = await tandem.projects.CreateProject(CreateProjectRequest(project=project))
        room = Room(project_id=project.id, name="Control")
        room = await tandem.rooms.CreateRoom(CreateRoomRequest(room=room))
        agent = Agent(project_id=project.id, name="Scout")
        agent = await tandem.agents.CreateAgent(CreateAgentRequest(agent=agent))
        task = Task(project_id=project.id, title="Land", room_id=room.id)
        task = await tandem.tasks.CreateTask(CreateTaskRequest(task=task))
        assert await tandem.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
        found = [p async for p in tandem.pages(tandem.projects.ListProjects, ListProjectsRequest())]
        assert found == [project]


async def test_an_api_key_is_exchanged_once_for_many_calls(world: World) -> None:
    user = await world.user()
    agent = await user.agent(await user.project())
    key = ApiKey((await user.api_key(agent)).secret)
    async with (
        Relay.before(world.channels.agents) as relay,
        connected(world, key, agent_address=relay.address) as tandem,
    ):
        calls = [tandem.auth.WhoAmI(WhoAmIRequest()) for _ in range(20)]
        callers = await asyncio.gather(*calls)
    assert {caller.caller_id for caller in callers} == {agent.id}
    assert callers[0].caller_type == CALLER_TYPE_AGENT
    assert len(exchanges(relay)) == 1


async def test_a_token_that_has_expired_is_renewed(world: World) -> None:
    user = await world.user()
    old, new = world.token(user.id, timedelta(hours=-1)), world.token(user.id)
    given = iter([old, new])

    async def source() -> str:
        return next(given)

    async with connected(world, Token(source)) as tandem:
        caller = await tandem.auth.WhoAmI(WhoAmIRequest())
    assert caller.caller_id == str(user.id)
    assert list(given) == []


async def test_a_key_that_is_revoked_is_refused_by_its_reason(world: World) -> None:
    user = await world.user()
    key = await user.api_key(await user.agent(await user.project()))
    await user.auth.RevokeApiKey(RevokeApiKeyRequest(api_key_id=key.api_key.id))
    async with connected(world, ApiKey(key.secret)) as tandem:
        error = await refused(tandem.auth.WhoAmI(WhoAmIRequest()))
    assert error.reason == ErrorReason.ERROR_REASON_API_KEY_INVALID


async def test_a_caller_that_gives_up_leaves_the_exchange_to_the_others(world: World) -> None:
    user = await world.user()
    agent = await user.agent(await user.project())
    key = ApiKey((await user.api_key(agent)).secret)
    async with (
        Relay.before(world.channels.agents) as relay,
        connected(world, key, agent_address=relay.address) as tandem,
    ):
        answers = asyncio.Event()
        relay.before_answer = answers.wait
        first = started(tandem.auth.WhoAmI(WhoAmIRequest()))
        await until(lambda: len(relay.calls) == 1)
        impatient = await refused(tandem.auth.WhoAmI(WhoAmIRequest(), timeout=0.05))
        assert impatient.code is grpc.StatusCode.DEADLINE_EXCEEDED
        second = started(tandem.auth.WhoAmI(WhoAmIRequest()))
        first.cancel()
        answers.set()
        assert (await second).caller_id == agent.id
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_refusal_says_why(world: World) -> None:
    user = await world.user()
    agent = await user.agent(await user.project())
    async with connected(world, token_of(user)) as tandem:
        same = Agent(project_id=agent.project_id, name=agent.name)
        taken = await refused(
            tandem.agents.CreateAgent(CreateAgentRequest(agent=same)),
        )
        metadata = (("x-request-id", "mine"),)
        wrong = await refused(
            tandem.agents.GetAgent(GetAgentRequest(agent_id="no id"), metadata=metadata)
        )
        missing = str(uuid4())
        gone = await refused(tandem.tasks.GetTask(GetTaskRequest(task_id=missing)))
    assert taken.reason == ErrorReason.ERROR_REASON_AGENT_NAME_TAKEN
    assert taken.code is grpc.StatusCode.ALREADY_EXISTS
    assert taken.metadata["name"] == agent.name
    assert wrong.reason == ErrorReason.ERROR_REASON_INVALID_FIELD
    assert [violation.field for violation in wrong.fields] == ["agent_id"]
    assert wrong.request_id == "mine"
    assert gone.reason == ErrorReason.ERROR_REASON_TASK_NOT_FOUND
    assert gone.resource == Resource("task", missing)
    assert isinstance(gone.__cause__, grpc.aio.AioRpcError)


async def test_a_refused_move_names_its_precondition(world: World) -> None:
    user = await world.user()
    task = await user.task(await user.project())
    async with connected(world, token_of(user)) as tandem:
        request = UpdateTaskStatusRequest(task_id=task.id, status=TASK_STATUS_COMPLETED)
        error = await refused(tandem.tasks.UpdateTaskStatus(request))
    assert error.reason == ErrorReason.ERROR_REASON_INVALID_STATUS_TRANSITION
    assert [failed.type for failed in error.preconditions] == ["INVALID_STATUS_TRANSITION"]
    assert error.metadata["from"] == "TASK_STATUS_PENDING"


async def test_a_list_of_many_pages_is_read_to_its_end(world: World) -> None:
    user = await world.user()
    project = await user.project()
    tasks = [await user.task(project) for _ in range(7)]
    async with (
        Relay.before(world.channels.tasks) as relay,
        connected(world, token_of(user), task_address=relay.address) as tandem,
    ):
        request = ListTasksRequest(project_id=project.id, page_size=2)
        found = [task.id async for task in tandem.pages(tandem.tasks.ListTasks, request)]
        assert found == [task.id for task in reversed(tasks)]
        assert len(relay.calls) == 4
        some = [task.id async for task in tandem.pages(tandem.tasks.ListTasks, request, limit=3)]
        assert some == found[:3]
        assert len(relay.calls) == 6


async def test_a_change_whose_answer_is_lost_is_made_once(world: World) -> None:
    user = await world.user()
    project = await user.project()
    async with (
        Wire.before(world.settings.task_address) as wire,
        connected(world, token_of(user), task_address=wire.address) as tandem,
    ):
        await tandem.tasks.ListTasks(ListTasksRequest())
        wire.hold()
        task = Task(project_id=project.id, title="Once")
        call = started(tandem.tasks.CreateTask(CreateTaskRequest(task=task)))
        await until_there_is_a_task(world)
        wire.cut()
        created = await call
    assert wire.connections == 2
    assert await world.value("SELECT array_agg(id::text) FROM tasks") == [created.id]


async def test_a_call_ends_at_its_deadline(world: World) -> None:
    credentials = token_of(await world.user())
    async with (
        Relay.before(world.channels.agents) as relay,
        connected(world, credentials, agent_address=relay.address, timeout=0.1) as tandem,
    ):
        relay.before_answer = asyncio.Event().wait
        error = await refused(tandem.auth.WhoAmI(WhoAmIRequest()))
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_service_that_is_not_there_is_reported(world: World) -> None:
    retries = Retries(attempts=2, first_backoff=0.01)
    async with connected(world, agent_address="127.0.0.1:1", retries=retries) as tandem:
        error = await refused(tandem.auth.WhoAmI(WhoAmIRequest()))
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert error.reason_name == ""


async def test_metadata_reaches_the_service(world: World) -> None:
    trace = (("x-request-id", "mine"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-1-01"))
    user = await world.user()
    async with (
        Relay.before(world.channels.agents) as relay,
        connected(world, token_of(user), agent_address=relay.address) as tandem,
    ):
        await tandem.auth.WhoAmI(WhoAmIRequest(), metadata=trace)
    assert relay.calls == [{**dict(trace), "authorization": f"Bearer {user.token}"}]


async def test_a_service_behind_tls_is_called_over_tls(world: World) -> None:
    async with behind_tls(world.channels.agents) as (address, certificates):
        tls = grpc.ssl_channel_credentials(certificates)
        user = await world.user()
        async with connected(world, token_of(user), agent_address=address, tls=tls) as tandem:
            caller = await tandem.auth.WhoAmI(WhoAmIRequest())
    assert caller.caller_id == str(user.id)


async def test_the_client_for_threads_does_the_same(world: World) -> None:
    user = await world.user()
    project = await user.project()
    agent = await user.agent(project)
    for _ in range(5):
        await user.task(project, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT)
    key = ApiKey((await user.api_key(agent)).secret)

    def work() -> tuple[list[str], TandemError]:
        with in_threads(world, key) as tandem:
            request = ListTasksRequest(page_size=2)
            found = [task.title for task in tandem.pages(tandem.tasks.ListTasks, request)]
            forbidden = CreateTaskRequest(task=Task(project_id=project.id))
            with pytest.raises(TandemError) as raised:
                tandem.tasks.CreateTask(forbidden)
        return found, raised.value

    found, error = await asyncio.to_thread(work)
    assert found == ["Task"] * 5
    assert error.reason == ErrorReason.ERROR_REASON_SCOPE_MISSING


async def test_the_client_for_threads_makes_a_change_once_too(world: World) -> None:
    user = await world.user()
    project = await user.project()
    async with Wire.before(world.settings.task_address) as wire:
        with in_threads(world, token_of(user), task_address=wire.address) as tandem:
            await asyncio.to_thread(tandem.tasks.ListTasks, ListTasksRequest())
            wire.hold()
            request = CreateTaskRequest(task=Task(project_id=project.id, title="Once"))
            call = started(asyncio.to_thread(tandem.tasks.CreateTask, request))
            await until_there_is_a_task(world)
            wire.cut()
            created = await call
    assert wire.connections == 2
    assert await world.value("SELECT array_agg(id::text) FROM tasks") == [created.id]


def exchanges(relay: Relay) -> list[dict[str, Any]]:
    """The calls that came without a token: of all methods only the exchange of an API key does."""
    return [metadata for metadata in relay.calls if "authorization" not in metadata]


async def refused(call: Awaitable[Any]) -> TandemError:
    """What a call raises."""
    with pytest.raises(TandemError) as raised:
        await call
    return raised.value


def started(call: Awaitable[T]) -> "asyncio.Task[T]":
    """Let a call go on while the test does something else."""

    async def answer() -> T:
        return await call

    return asyncio.create_task(answer())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def until_there_is_a_task(world: World) -> None:
    while not await world.value("SELECT count(*) FROM tasks"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
