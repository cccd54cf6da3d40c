"""Refusals as a client sees them: over the wire, with their details."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    ResourceInfo,
    RetryInfo,
)
from grpc_status import rpc_status

from shared.errors import Reason
from shared.grpc_server.status import error_info

DETAILS = (BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo, RetryInfo)


@dataclass(frozen=True)
class Refused:
    """What a client got instead of an answer."""

    message: str
    metadata: dict[str, str]
    details: dict[str, Any]
    trailers: dict[str, Any]

    @property
    def fields(self) -> dict[str, str]:
        """The bad fields, each with what is allowed."""
        violations = self.details["BadRequest"].field_violations if self._has("BadRequest") else ()
        return {v.field: v.description for v in violations}

    @property
    def preconditions(self) -> dict[str, str]:
        """The subjects of the preconditions that fail, each with the type of the failure."""
        has = self._has("PreconditionFailure")
        violations = self.details["PreconditionFailure"].violations if has else ()
        return {v.subject: v.type for v in violations}

    @property
    def resource(self) -> tuple[str, str] | None:
        """The kind and the id of the resource that is not there."""
        found = self.details.get("ResourceInfo")
        return (found.resource_type, found.resource_name) if found else None

    def _has(self, name: str) -> bool:
        return name in self.details


async def refused(call: Awaitable[Any], reason: Reason) -> Refused:
    """Await a call that has to be refused for this reason, with the code that goes with it."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    found = _read(raised.value)
    assert found.details["ErrorInfo"].reason == reason.name, found
    assert raised.value.code().value[0] == reason.code
    assert found.details["ErrorInfo"].domain == "tandem"
    return found


async def outcome(call: Awaitable[object]) -> str:
    """OK, or the reason of the refusal."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        info = error_info(rpc_status.from_call(error))  # type: ignore[arg-type]
        return info.reason if info else repr(error)
    return "OK"


async def outcomes(*calls: Awaitable[object]) -> list[str]:
    """What becomes of calls that are made at once, sorted."""
    return sorted(await asyncio.gather(*map(outcome, calls)))


def _read(error: grpc.aio.AioRpcError) -> Refused:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, error
    details = {}
    for packed in status.details:
        for kind in DETAILS:
            if packed.Is(kind.DESCRIPTOR):
                details[kind.__name__] = kind.FromString(packed.value)
    trailers = dict(error.trailing_metadata())
    return Refused(status.message, dict(details["ErrorInfo"].metadata), details, trailers)
