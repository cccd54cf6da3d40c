"""Work under a lease between the wire and the rules."""

from typing import Any

from shared.resources.validation import struct, validate
from tandem.task.v1 import task_service_pb2 as pb
from task_service.tasks.messages import RESULT_BYTES


def completed(request: pb.CompleteTaskRequest) -> dict[str, Any]:
    """The lease, and the result if one comes with it."""
    validate(request)
    values: dict[str, Any] = {"fence": request.fencing_token}
    if request.HasField("result"):
        values["result"] = struct(request, "result", "result", RESULT_BYTES)
    return values
