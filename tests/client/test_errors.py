"""What a client reads out of a refusal: what the services write, and what is not from them."""

import pickle

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from shared.errors import Reason, Refusal, Violation, invalid_field, not_found
from shared.grpc_server.status import DETAILS_KEY, GRPC_CODES, to_status
from tandem_client import (
    ErrorReason,
    FieldViolation,
    PreconditionViolation,
    Resource,
    TandemError,
)
from tandem_client.errors import from_rpc


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_read(reason: Reason) -> None:
    error = read(Refusal(reason, "It was refused."))
    assert error.code is GRPC_CODES[reason.code]
    assert error.reason == ErrorReason.Value(f"ERROR_REASON_{reason.name}")
    assert error.reason_name == reason.name
    assert str(error) == f"{reason.name}: It was refused."


def test_the_bad_fields_are_named() -> None:
    error = read(invalid_field("task.title", "is required"))
    assert error.fields == (FieldViolation("task.title", "is required"),)


def test_the_preconditions_are_named() -> None:
    circle = Violation("an id", "closes a circle", "DEPENDENCY_CYCLE")
    error = read(Refusal(Reason.DEPENDENCY_CYCLE, "No.", preconditions=[circle]))
    assert error.preconditions == (
        PreconditionViolation("DEPENDENCY_CYCLE", "an id", "closes a circle"),
    )


def test_the_resource_and_the_metadata_are_read() -> None:
    error = read(not_found(Reason.TASK_NOT_FOUND, "an id"))
    assert error.resource == Resource("task", "an id")
    assert error.metadata == {"task_id": "an id"}


@pytest.mark.parametrize("seconds", [0.0, 0.25, 90.0])
def test_the_time_to_wait_is_read(seconds: float) -> None:
    error = read(Refusal(Reason.LIMIT_EXCEEDED, "Later.", retry_after=seconds))
    assert error.retry_after == seconds


def test_the_id_of_the_request_is_read() -> None:
    assert raised(b"", ("x-request-id", "mine")).request_id == "mine"


def test_a_reason_that_is_newer_than_the_client_survives_as_text() -> None:
    error = raised(status(ErrorInfo(domain="tandem", reason="MOON_IS_FULL", metadata={"a": "b"})))
    assert error.reason == ErrorReason.ERROR_REASON_UNSPECIFIED
    assert (error.reason_name, error.metadata) == ("MOON_IS_FULL", {"a": "b"})


@pytest.mark.parametrize(
    "details",
    [
        b"",
        b"no status",
        Status(details=[Any(type_url="type.googleapis.com/some.Thing")]).SerializeToString(),
        Status(
            details=[Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")]
        ).SerializeToString(),
    ],
)
def test_details_that_say_nothing_leave_the_code_and_the_message(details: bytes) -> None:
    error = raised(details)
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert str(error) == "UNAVAILABLE: failed to connect"
    assert error.reason == ErrorReason.ERROR_REASON_UNSPECIFIED
    assert (error.fields, error.preconditions, error.resource) == ((), (), None)


def test_a_reason_of_another_domain_is_not_taken_for_one_of_ours() -> None:
    error = raised(status(ErrorInfo(domain="proxy.example", reason="TOKEN_EXPIRED")))
    assert (error.reason, error.reason_name) == (ErrorReason.ERROR_REASON_UNSPECIFIED, "")


def test_an_error_without_metadata_is_read() -> None:
    error = from_rpc(grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE))
    assert str(error) == "UNAVAILABLE: "


def test_an_error_can_be_sent_to_another_process() -> None:
    error = read(not_found(Reason.TASK_NOT_FOUND, "an id"))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (copy.code, str(copy), copy.resource) == (error.code, str(error), error.resource)


def read(refusal: Refusal) -> TandemError:
    """What a client reads when a service refuses."""
    sent = to_status(refusal)
    trailers = grpc.aio.Metadata((DETAILS_KEY, sent.SerializeToString()))
    code = GRPC_CODES[refusal.reason.code]
    return from_rpc(grpc.aio.AioRpcError(code, None, trailers, sent.message))


def raised(details: bytes, *trailers: tuple[str, str]) -> TandemError:
    metadata = grpc.aio.Metadata((DETAILS_KEY, details), *trailers)
    code = grpc.StatusCode.UNAVAILABLE
    return from_rpc(grpc.aio.AioRpcError(code, None, metadata, "failed to connect"))


def status(info: ErrorInfo) -> bytes:
    sent = Status(code=14)
    sent.details.add().Pack(info)
    return bytes(sent.SerializeToString())
