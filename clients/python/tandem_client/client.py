"""The asynchronous client."""

import asyncio
import signal
from collections.abc import Sequence
from typing import Any

import grpc

from tandem.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceStub
from tandem.agent.v1.member_service_pb2_grpc import MemberServiceStub
from tandem.agent.v1.project_service_pb2_grpc import ProjectServiceStub
from tandem.agent.v1.room_service_pb2_grpc import RoomServiceStub
from tandem.agent.v1.user_service_pb2_grpc import UserServiceStub
from tandem.event.v1.event_service_pb2_grpc import EventServiceStub
from tandem.task.v1.task_service_pb2 import Task, WaitTaskRequest
from tandem.task.v1.task_service_pb2_grpc import TaskServiceStub
from tandem_client import options as defaults
from tandem_client.calls import Calls, Metadata
from tandem_client.pages import Pages
from tandem_client.retries import Retries
from tandem_client.runtime import ASYNCIO
from tandem_client.tls import Tls
from tandem_client.tokens import Credentials, GivenTokens, Tokens, tokens_for
from tandem_client.waiting import wait_task
from tandem_client.watch import Watcher
from tandem_client.worker import Worker, WorkerOptions


class Tandem:
    """The methods of both services, as `await tandem.tasks.GetTask(request)`.

    Each takes `timeout`, in seconds, and `metadata`, which goes along (`x-request-id`,
    `traceparent`), and raises TandemError. What a method does, its manual says: docs/api.md.
    """

    pages = Pages

    def __init__(
        self,
        calls: Calls,
        agents: grpc.aio.Channel,
        tasks: grpc.aio.Channel,
        *others: grpc.aio.Channel,
    ) -> None:
        self._calls = calls
        self._channels = (agents, tasks, *others)
        self.agents = AgentServiceStub(agents)
        self.projects = ProjectServiceStub(agents)
        self.users = UserServiceStub(agents)
        self.members = MemberServiceStub(agents)
        self.rooms = RoomServiceStub(agents)
        self.auth = AuthServiceStub(agents)
        self.tasks = TaskServiceStub(tasks)
        self.events = EventServiceStub(tasks)
        self.watch = Watcher(calls, self.events.WatchEvents)

    async def wait_task(
        self, task_id: str, *, seconds: float | None = None, revision: int | None = None
    ) -> Task:
        """The task once it has ended, however long that takes, or its revision is above `revision`.

        After so many `seconds`, if given, the task as it is then. Raises TandemError.
        """

        async def wait(request: WaitTaskRequest, seconds: float) -> Task:
            return await self.tasks.WaitTask(request, timeout=seconds)

        return await wait_task(self._calls, wait, task_id, seconds, revision)

    def worker(
        self,
        *,
        project_id: str = "",
        agent_id: str = "",
        capabilities: Sequence[str] = (),
        concurrency: int = 1,
        lease: float = 60.0,
        grace: float = 20.0,
        signals: Sequence[signal.Signals] = (signal.SIGTERM,),
    ) -> Worker:
        """Works for an agent: `async with tandem.worker() as worker: await worker.run(handler)`.

        It claims tasks, gives each to the handler, renews their leases, and says how they ended;
        see Worker.run for what the handler gets and gives. If a lease is lost, or someone wants the
        task cancelled, the handler is cancelled.

        project_id, agent_id: whom to work for. Default: the agent whose API key this client has.
        capabilities: claim only tasks that require no others. Default: all that the agent has.
        concurrency: how many tasks to work on at once. No more than `max_leases` of the agent.
        lease: seconds after which the task of a worker that died is given to another one, 5 to
            43,200. A third of that is the time between heartbeats.
        grace: seconds that handlers have to end by themselves when the worker drains.
        signals: by which it drains. Set only in the main thread.
        """
        options = WorkerOptions(tuple(capabilities), concurrency, lease, grace, signals)
        return Worker(self._calls, self.auth, self.tasks, (project_id, agent_id), options)

    async def close(self) -> None:
        """Close the connections. Calls under way are cancelled."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def __aenter__(self) -> "Tandem":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def connect(
    *,
    agent_address: str = defaults.AGENT_ADDRESS,
    task_address: str = defaults.TASK_ADDRESS,
    credentials: Credentials = None,
    tls: Tls | grpc.ChannelCredentials | None = None,
    timeout: float = defaults.TIMEOUT_SECONDS,
    retries: Retries = defaults.RETRIES,
    options: Sequence[tuple[str, Any]] = (),
) -> Tandem:
    """A client of both services: `async with connect(credentials=ApiKey("tdm_…")) as tandem:`.

    Connections are made when they are needed, and made again when they are lost, so this does not
    wait and does not fail. Without `async with`, call `close` at the end.

    agent_address, task_address: "host:port". Default: this machine, as `make run` serves them.
    credentials: a Token or an ApiKey. Default: none, which few methods accept.
    tls: a Tls, whose files are read now, or credentials of gRPC's own. Default: no TLS, so tokens
        and keys are sent readably; for this machine and for networks that encrypt.
    timeout: seconds for a call that brings no `timeout`, all its attempts together. Default 30.
    retries: see Retries.
    options: gRPC channel options, on top of those in options.py.
    """

    def sending(tokens: Tokens) -> Calls:
        return Calls(ASYNCIO, tokens, retries, timeout)

    security, channel_options = defaults.secured(tls, options)

    def channel(address: str, calls: Calls) -> grpc.aio.Channel:
        arguments = (channel_options, None, [_Interceptor(calls)])
        if security is None:
            return grpc.aio.insecure_channel(address, *arguments)
        return grpc.aio.secure_channel(address, security, *arguments)

    keyless = channel(agent_address, sending(GivenTokens()))
    exchange = AuthServiceStub(keyless).ExchangeApiKey
    tokens = tokens_for(
        credentials, ASYNCIO, lambda request, seconds: exchange(request, timeout=seconds)
    )
    calls = sending(tokens)
    return Tandem(calls, channel(agent_address, calls), channel(task_address, calls), keyless)


class _Interceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends every call of a channel through Calls."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        details = client_call_details

        async def send(request: Any, metadata: Metadata, seconds: float) -> Any:
            attempt = grpc.aio.ClientCallDetails(
                details.method,
                seconds,
                grpc.aio.Metadata(*metadata),
                details.credentials,
                details.wait_for_ready,
            )
            call = await continuation(attempt, request)
            await call
            return call

        return await self._calls.call(send, request, details.timeout, details.metadata)
