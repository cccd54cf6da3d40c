"""The only place that turns a refusal into a google.rpc.Status with details."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from shared.errors import Code, Reason, Refusal, Violation

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "tandem"
# By default, clients accept 8 KiB of trailing metadata, which contain the message and, in base64,
# the details. What does not fit is counted instead of sent.
MESSAGE_BYTES = 600
VIOLATIONS_BYTES = 3_000
# For the message, which comes once in base64 and once with three bytes for each beyond ASCII, the
# metadata and the violations.
DETAILS_BYTES = 5_600
COMMON = 64
GRPC_CODES = {code: StatusCode[code.name] for code in Code}


def to_status(refusal: Refusal) -> Status:
    """The refusal as it is sent, limited to what a client accepts by default."""
    fitting = _fitting(refusal)
    status = Status(code=refusal.reason.code, message=fitting.message)
    for detail in _details(fitting):
        status.details.add().Pack(detail)
    return status


def packed(refusal: Refusal) -> tuple[str, bytes]:
    """The message and the details of a refusal, as they are sent.

    Those that many calls have in common are made once.
    """
    if refusal.metadata or refusal.fields or refusal.preconditions or refusal.resource:
        return _packed(to_status(refusal))
    return _common(refusal.reason, refusal.message, refusal.retry_after)


@lru_cache(COMMON)
def _common(reason: Reason, message: str, retry_after: float | None) -> tuple[str, bytes]:
    return _packed(to_status(Refusal(reason, message, retry_after=retry_after)))


def _packed(status: Status) -> tuple[str, bytes]:
    return status.message, status.SerializeToString()


def error_info(status: Status) -> ErrorInfo | None:
    """The ErrorInfo of a status that one of our services returned; None for others."""
    for detail in status.details:
        info = ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def to_refusal(status: Status) -> Refusal | None:
    """The refusal that another of our services returned, to pass it on; None for others."""
    info = error_info(status)
    if info is None or info.reason not in Reason.__members__:
        return None
    return Refusal(
        Reason[info.reason], status.message, dict(info.metadata), resource=_resource(status)
    )


def _resource(status: Status) -> tuple[str, str] | None:
    for detail in status.details:
        info = ResourceInfo()
        if detail.Unpack(info):
            return info.resource_type, info.resource_name
    return None


def _fitting(refusal: Refusal) -> Refusal:
    message = _cut(refusal.message)
    metadata = dict(refusal.metadata)
    left = min(VIOLATIONS_BYTES, DETAILS_BYTES - 4 * len(message.encode()) - _size(metadata))
    fields, fields_omitted = _fit(refusal.fields, left)
    preconditions, preconditions_omitted = _fit(refusal.preconditions, left)
    if omitted := fields_omitted + preconditions_omitted:
        metadata["omitted"] = str(omitted)
    return replace(
        refusal, message=message, fields=fields, preconditions=preconditions, metadata=metadata
    )


def _cut(message: str) -> str:
    # On the wire, each byte beyond ASCII takes three, and the message is sent three times.
    encoded = message.encode()
    if len(encoded) <= MESSAGE_BYTES:
        return message
    return encoded[:MESSAGE_BYTES].decode(errors="ignore") + "…"


def _size(metadata: Mapping[str, str]) -> int:
    return sum(len(text.encode()) for pair in metadata.items() for text in pair)


def _fit(violations: Iterable[Violation], left: int) -> tuple[list[Violation], int]:
    """The violations that take no more than `left` bytes, and how many do not fit."""
    fitting: list[Violation] = []
    omitted = 0
    for violation in violations:
        left -= sum(len(part.encode()) + 4 for part in (violation.type, violation.subject))
        left -= len(violation.description.encode()) + 4
        if left >= 0:
            fitting.append(violation)
        else:
            omitted += 1
    return fitting, omitted


def _details(refusal: Refusal) -> Iterator[Message]:
    yield ErrorInfo(reason=refusal.reason.name, domain=DOMAIN, metadata=dict(refusal.metadata))
    if refusal.fields:
        violations = [
            BadRequest.FieldViolation(field=v.subject, description=v.description)
            for v in refusal.fields
        ]
        yield BadRequest(field_violations=violations)
    if refusal.preconditions:
        failures = [
            PreconditionFailure.Violation(type=v.type, subject=v.subject, description=v.description)
            for v in refusal.preconditions
        ]
        yield PreconditionFailure(violations=failures)
    if refusal.resource:
        kind, name = refusal.resource
        yield ResourceInfo(resource_type=kind, resource_name=name, description=refusal.message)
    if refusal.retry_after is not None:
        delay = Duration(nanos=int(refusal.retry_after * 1e9) % 10**9)
        delay.seconds = int(refusal.retry_after)
        yield RetryInfo(retry_delay=delay)
