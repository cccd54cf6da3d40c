"""Work under a lease between the wire and the rules."""

from typing import Any

from shared.errors import invalid_field
from shared.resources.validation import KIB, struct, validate
from tandem.task.v1 import task_service_pb2 as pb
from task_service.tasks.messages import RESULT_BYTES

ERROR_BYTES = 64 * KIB
MESSAGE_LENGTH = 4096


def completed(request: pb.CompleteTaskRequest) -> dict[str, Any]:
    """The lease, and the result if one comes with it."""
    validate(request)
    values: dict[str, Any] = {"fence": request.fencing_token}
    if request.HasField("result"):
        values["result"] = struct(request, "result", "result", RESULT_BYTES)
    return values


def failed(request: pb.FailTaskRequest) -> dict[str, Any]:
    """The lease, what went wrong, and how long to pause; None is left to the service."""
    validate(request)
    pause = None
    if request.HasField("retry_after"):
        if not request.retryable:
            raise invalid_field("retry_after", "must not be set unless retryable is")
        pause = request.retry_after.seconds + request.retry_after.nanos / 1e9
    error = struct(request, "error", "error", ERROR_BYTES)
    message = (error or {}).get("message")
    return {
        "fence": request.fencing_token,
        "retryable": request.retryable,
        "pause": pause,
        "error": error,
        "message": message[:MESSAGE_LENGTH] if isinstance(message, str) else None,
    }


def released(request: pb.ReleaseTaskRequest) -> dict[str, Any]:
    """The lease."""
    validate(request)
    return {"fence": request.fencing_token}
