"""Waits for a task to end, longer than one call can."""

import math
from collections.abc import Awaitable, Callable

from google.protobuf.duration_pb2 import Duration

from tandem.task.v1 import task_service_pb2 as pb
from tandem_client.calls import Calls

ENDED = (pb.TASK_STATUS_COMPLETED, pb.TASK_STATUS_FAILED, pb.TASK_STATUS_CANCELLED)
# The most that WaitTask allows.
LONGEST_SECONDS = 60.0


async def wait_task(
    calls: Calls,
    method: Callable[[pb.WaitTaskRequest, float], Awaitable[pb.Task]],
    task_id: str,
    seconds: float | None,
    revision: int | None,
) -> pb.Task:
    """The task once it has ended or is above `revision`, or as it is after so many `seconds`."""
    end = math.inf if seconds is None else calls.runtime.now() + seconds
    while True:
        left = max(0.0, end - calls.runtime.now())
        part = min(left, LONGEST_SECONDS)
        request = pb.WaitTaskRequest(task_id=task_id, revision=revision, timeout=duration(part))
        task = await method(request, part + calls.seconds)
        above = revision is not None and task.revision > revision
        if task.status in ENDED or above or left == part:
            return task


def duration(seconds: float) -> Duration:
    """So many seconds, as a message."""
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1_000_000_000))
