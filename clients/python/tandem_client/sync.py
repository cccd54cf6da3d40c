"""The client for threads: the same as the asynchronous one, without `await`.

Many threads may use one client. The code that decides is shared with the asynchronous client; only
the channels and the way of waiting differ.
"""

import signal
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
from tandem_client import client
from tandem_client import options as defaults
from tandem_client.calls import Calls, Metadata
from tandem_client.pages import Pages
from tandem_client.retries import Retries
from tandem_client.runtime import THREADS, Runtime, run
from tandem_client.threads import Stopped, Work, Worker
from tandem_client.tls import Tls
from tandem_client.tokens import Credentials, GivenTokens, Tokens, tokens_for
from tandem_client.waiting import wait_task
from tandem_client.watch import Watcher

__all__ = ["Stopped", "Tandem", "Work", "Worker", "connect"]


class Tandem:
    """The methods of both services: `tandem.tasks.GetTask(request)`. See tandem_client.Tandem."""

    pages = Pages

    def __init__(
        self,
        agents: grpc.Channel,
        tasks: grpc.Channel,
        credentials: Credentials = None,
        timeout: float = defaults.TIMEOUT_SECONDS,
        retries: Retries = defaults.RETRIES,
        runtime: Runtime = THREADS,
        asynchronous: Callable[[], client.Tandem] | None = None,
    ) -> None:
        """A client over channels of your own, which it closes at the end; else see `connect`.

        `asynchronous` makes the client of the same services that workers use.
        """
        self._channels = (agents, tasks)
        self._asynchronous = asynchronous

        def sending(tokens: Tokens) -> Calls:
            return Calls(runtime, tokens, retries, timeout)

        def intercepted(channel: grpc.Channel, calls: Calls) -> grpc.Channel:
            return grpc.intercept_channel(channel, _Interceptor(calls))

        keyless = AuthServiceStub(intercepted(agents, sending(GivenTokens())))

        async def exchange(request: Any, seconds: float) -> Any:
            return keyless.ExchangeApiKey(request, timeout=seconds)

        calls = self._calls = sending(tokens_for(credentials, runtime, exchange))
        agents, tasks = intercepted(agents, calls), intercepted(tasks, calls)
        self.agents = AgentServiceStub(agents)
        self.projects = ProjectServiceStub(agents)
        self.users = UserServiceStub(agents)
        self.members = MemberServiceStub(agents)
        self.rooms = RoomServiceStub(agents)
        self.auth = AuthServiceStub(agents)
        self.tasks = TaskServiceStub(tasks)
        self.events = EventServiceStub(tasks)
        self.watch = Watcher(calls, self.events.WatchEvents)

    def wait_task(
        self, task_id: str, *, seconds: float | None = None, revision: int | None = None
    ) -> Task:
        """See tandem_client.Tandem."""

        async def wait(request: WaitTaskRequest, seconds: float) -> Task:
            return self.tasks.WaitTask(request, timeout=seconds)

        return run(wait_task(self._calls, wait, task_id, seconds, revision))

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
        """Works for an agent: `tandem.worker().run(handler)`. See tandem_client.Tandem.

        The handler runs in the thread that calls `run`, and with a `concurrency` of more than 1 in
        others, too. It cannot be cancelled, but sees that it has to end: see Work. Raises
        ValueError if this client does not know where its channels lead.
        """
        if not self._asynchronous:
            raise ValueError("A worker needs a client that was made by `connect`.")
        options = {
            "project_id": project_id,
            "agent_id": agent_id,
            "capabilities": capabilities,
            "lease": lease,
            "grace": grace,
            "signals": signals,
        }
        return Worker(self._asynchronous, concurrency, options)

    def close(self) -> None:
        """Close the connections. Calls under way are cancelled."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> "Tandem":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    """A client of both services: see tandem_client.connect."""

    security, channel_options = defaults.secured(tls, options)

    def channel(address: str) -> grpc.Channel:
        if security is None:
            return grpc.insecure_channel(address, channel_options)
        return grpc.secure_channel(address, security, channel_options)

    def asynchronous() -> client.Tandem:
        return client.connect(
            agent_address=agent_address,
            task_address=task_address,
            credentials=credentials,
            tls=tls,
            timeout=timeout,
            retries=retries,
            options=options,
        )

    channels = channel(agent_address), channel(task_address)
    return Tandem(*channels, credentials, timeout, retries, asynchronous=asynchronous)


class _Attempt(NamedTuple):
    """What differs from the call itself, from which gRPC takes the rest."""

    timeout: float
    metadata: Metadata


class _Interceptor(grpc.UnaryUnaryClientInterceptor):
    """Sends every call of a channel through Calls. So `.future` waits for the answer, too."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        async def send(request: Any, metadata: Metadata, seconds: float) -> Any:
            call = continuation(_Attempt(seconds, metadata), request)
            if isinstance(call, grpc.RpcError):
                raise call
            call.result()
            return call

        details = client_call_details
        return run(self._calls.call(send, request, details.timeout, details.metadata))
