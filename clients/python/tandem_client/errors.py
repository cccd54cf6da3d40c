"""What a call raises: why it was refused, in a form that a program can branch on."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as rpc
from google.rpc import status_pb2

from tandem.agent.v1.error_reason_pb2 import ErrorReason

DETAILS_KEY = "grpc-status-details-bin"
DETAILS = (
    rpc.ErrorInfo,
    rpc.BadRequest,
    rpc.PreconditionFailure,
    rpc.ResourceInfo,
    rpc.RetryInfo,
)


class FieldViolation(NamedTuple):
    """A field of the request ("task.title") and what is wrong with it."""

    field: str
    description: str


class PreconditionViolation(NamedTuple):
    """What does not hold: its kind ("DEPENDENCY_CYCLE"), which one (an id), and a sentence."""

    type: str
    subject: str
    description: str


class Resource(NamedTuple):
    """What a refusal is about: its kind ("task") and its id."""

    type: str
    name: str


@dataclass(eq=False)
class TandemError(Exception):
    """A call that was not answered with OK.

    `code` is gRPC's. `reason` says why, for programs; it is ERROR_REASON_UNSPECIFIED if there is
    none, as when the service was not reached, or if this release does not know it. `reason_name` is
    the reason as it was sent ("AGENT_NAME_TAKEN"), known or not; "" if there is none. `message` is
    a sentence for people, and may change.

    The rest is set if the reason has it: `metadata` by name, `fields` and `preconditions` with one
    entry per violation, `resource`, and `retry_after`, the seconds to wait before another attempt.
    The service's log has the call under `request_id`. `__cause__` is the grpc.RpcError.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    message: str = ""
    reason: "ErrorReason.ValueType" = ErrorReason.ERROR_REASON_UNSPECIFIED
    reason_name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: tuple[FieldViolation, ...] = ()
    preconditions: tuple[PreconditionViolation, ...] = ()
    resource: Resource | None = None
    retry_after: float | None = None
    request_id: str = ""

    def __str__(self) -> str:
        return f"{self.reason_name or self.code.name}: {self.message}"


def from_rpc(raw: grpc.RpcError) -> TandemError:
    """What a gRPC error says, with the details of its `google.rpc.Status`."""
    metadata: Any = raw.trailing_metadata()
    trailers = dict(metadata or ())
    error = TandemError(raw.code(), raw.details() or "")
    error.request_id = trailers.get("x-request-id", "")
    error.__cause__ = raw
    # Details that cannot be read were written by something between the service and us.
    with suppress(DecodeError, TypeError):
        for detail in _details(trailers.get(DETAILS_KEY, b"")):
            _read(error, detail)
    return error


def _details(status: bytes) -> Iterator[Any]:
    for packed in status_pb2.Status.FromString(status).details:
        for kind in DETAILS:
            if packed.Is(kind.DESCRIPTOR):
                packed.Unpack(detail := kind())
                yield detail


def _read(error: TandemError, detail: Any) -> None:
    match detail:
        case rpc.ErrorInfo(domain="tandem", reason=reason):
            error.reason_name, error.metadata = reason, dict(detail.metadata)
            with suppress(ValueError):  # a reason that is newer than this release
                error.reason = ErrorReason.Value(f"ERROR_REASON_{reason}")
        case rpc.BadRequest(field_violations=found):
            error.fields = tuple(FieldViolation(v.field, v.description) for v in found)
        case rpc.PreconditionFailure(violations=found):
            error.preconditions = tuple(
                PreconditionViolation(v.type, v.subject, v.description) for v in found
            )
        case rpc.ResourceInfo(resource_type=kind, resource_name=name):
            error.resource = Resource(kind, name)
        case rpc.RetryInfo(retry_delay=delay):
            error.retry_after = delay.ToTimedelta().total_seconds()
