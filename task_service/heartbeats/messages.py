"""Heartbeats between the wire and the rules."""

from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from shared.errors import Violation, invalid_fields
from shared.messages.attempts import TO_OUTCOME
from shared.resources.building import Row
from shared.resources.validation import KIB, struct, validate
from tandem.task.v1 import task_service_pb2 as pb
from task_service.heartbeats.heartbeat import Beaten, Heartbeats

PROGRESS_BYTES = 64 * KIB


def heartbeats(request: pb.HeartbeatTasksRequest) -> Heartbeats:
    """The leases, each of another task."""
    validate(request)
    task_ids = [UUID(each.task_id) for each in request.heartbeats]
    if twice := [n for n, each in enumerate(task_ids) if each in task_ids[:n]]:
        rule = "must be of another task than those before"
        raise invalid_fields([Violation(f"heartbeats[{n}].task_id", rule) for n in twice])
    return Heartbeats(
        UUID(request.project_id),
        UUID(request.agent_id),
        task_ids,
        [each.fencing_token for each in request.heartbeats],
        [
            struct(each, "progress", f"heartbeats[{n}].progress", PROGRESS_BYTES)
            for n, each in enumerate(request.heartbeats)
        ],
    )


def states(found: Beaten) -> pb.HeartbeatTasksResponse:
    """What has become of each lease, in the order of the request."""
    asked, response = found.asked, pb.HeartbeatTasksResponse()
    for task_id, fence in zip(asked.task_ids, asked.fences, strict=True):
        state = response.leases.add(task_id=str(task_id), fencing_token=fence)
        row = found.held.get(task_id)
        if row is None:
            state.lost.outcome = TO_OUTCOME[found.outcomes.get(task_id)]
        elif row["is_cancelled"]:
            state.cancel_requested.CopyFrom(_cancel(row))
        else:
            state.held.expires_in.seconds = row["seconds"]
    return response


def _cancel(row: Row) -> pb.CancelRequest:
    left = Duration()
    left.FromMicroseconds(round((row["seconds_left"] or 0) * 1_000_000))
    return pb.CancelRequest(
        expires_in=Duration(seconds=row["seconds"]),
        deadline_in=left,
        reason=row["status_message"] or "",
    )
