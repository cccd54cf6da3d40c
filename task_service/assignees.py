"""The one outgoing call: asks the agent service who may be assigned a task."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

import grpc
import orjson
from google.rpc.status_pb2 import Status

from shared.auth.caller import current_call
from shared.errors import Code, Reason, Refusal
from shared.grpc_server.status import DETAILS_KEY, to_refusal
from shared.grpc_server.tls import Target
from tandem.agent.v1 import agent_service_pb2 as pb
from tandem.agent.v1.agent_service_pb2_grpc import AgentServiceStub

TIMEOUT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1.0
# What the agent service says of the caller or of the assignee. Whatever else it says, it has not
# answered the question.
PASSED_ON = (
    Code.UNAUTHENTICATED,
    Code.PERMISSION_DENIED,
    Code.NOT_FOUND,
    Code.FAILED_PRECONDITION,
)
RETRY = {
    "methodConfig": [
        {
            "name": [{"service": "tandem.agent.v1.AgentService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
OPTIONS = (
    ("grpc.service_config", orjson.dumps(RETRY).decode()),
    ("grpc.enable_http_proxy", 0),  # the agent service is a neighbour
    ("grpc.max_receive_message_length", 64 * 1024),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # By default an agent service that is back would not be noticed for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
TO_TYPE = {"agent": pb.ASSIGNEE_TYPE_AGENT, "user": pb.ASSIGNEE_TYPE_USER}


@dataclass(frozen=True, slots=True)
class Assignee:
    """The agent or user that a task is assigned to; `kind` is "agent" or "user"."""

    id: UUID
    kind: str

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> "Assignee":
        """The assignee of a task with these columns; it has to have one."""
        agent_id = columns.get("assigned_agent_id")
        return cls(agent_id, "agent") if agent_id else cls(columns["assigned_user_id"], "user")

    @property
    def columns(self) -> dict[str, UUID | None]:
        """The columns of a task that is assigned to it."""
        return {
            "assigned_agent_id": self.id if self.kind == "agent" else None,
            "assigned_user_id": self.id if self.kind == "user" else None,
        }


class Assignees:
    """The agents and users that can be assigned a task, as the agent service knows them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connect()
        certificates = target.certificates
        self._following = certificates and asyncio.create_task(certificates.follow(self._renew))

    def _connect(self) -> None:
        self._channel = self._target.channel(OPTIONS)
        self._agents = AgentServiceStub(self._channel)

    async def _renew(self) -> None:
        """Make new calls with the certificates of now; those under way end on the old channel."""
        old = self._channel
        self._connect()
        await old.close(TIMEOUT_SECONDS)

    async def require(self, project_id: UUID, assignee: Assignee) -> None:
        """Return only if a task of the project can be assigned to the assignee.

        Asks with the caller's token, for up to TIMEOUT_SECONDS of what is left of their deadline.
        Raises Refusal: those of ValidateAssignee, else AGENT_SERVICE_UNAVAILABLE.
        """
        request = pb.ValidateAssigneeRequest(
            project_id=str(project_id),
            assignee_id=str(assignee.id),
            assignee_type=TO_TYPE[assignee.kind],
        )
        try:
            await self._agents.ValidateAssignee(request, metadata=_metadata(), timeout=_timeout())
        except grpc.aio.AioRpcError as error:
            _refuse(error)

    async def close(self) -> None:
        """Let go of the agent service."""
        if self._following:
            self._following.cancel()
        await self._channel.close()


def _metadata() -> tuple[tuple[str, str], ...]:
    call = current_call.get()
    return (
        ("authorization", f"Bearer {call.token}"),
        ("x-request-id", call.request_id),
        *call.trace,
    )


def _timeout() -> float:
    left = current_call.get().time_remaining()
    return TIMEOUT_SECONDS if left is None else min(left, TIMEOUT_SECONDS)


def _refuse(error: grpc.aio.AioRpcError) -> NoReturn:
    details = dict(error.trailing_metadata()).get(DETAILS_KEY, b"")
    assert isinstance(details, bytes)
    refusal = to_refusal(Status.FromString(details))
    if refusal is not None and _is_for_the_caller(refusal):
        raise refusal from None
    raise Refusal(
        Reason.AGENT_SERVICE_UNAVAILABLE,
        "The agent service could not be asked, so nothing was changed; try again.",
        retry_after=RETRY_AFTER_SECONDS,
    ) from error


def _is_for_the_caller(refusal: Refusal) -> bool:
    """Not that of the task service's own certificate: the log has it, as the cause."""
    return refusal.reason.code in PASSED_ON and refusal.reason is not Reason.CLIENT_NOT_ALLOWED
