"""Claims between the wire and the rules."""

from uuid import UUID

from shared.messages.attempts import attempt, task_input
from shared.messages.tasks import task
from shared.resources.validation import validate
from tandem.task.v1 import task_service_pb2 as pb
from task_service.claims.claim import Claim, Claimed

DEFAULT_SECONDS = 60


def claim(request: pb.ClaimTasksRequest) -> Claim:
    """What an agent asks for."""
    validate(request)
    seconds = request.lease_duration.seconds if request.HasField("lease_duration") else 0
    return Claim(
        UUID(request.project_id),
        UUID(request.agent_id),
        request.max_tasks or 1,
        seconds or DEFAULT_SECONDS,
        list(request.capabilities) or None,
        list(map(UUID, request.task_ids)),
        request.wait.seconds + request.wait.nanos / 1e9,
    )


def claimed(found: Claimed) -> pb.ClaimTasksResponse:
    """Tasks with their leases, and what came before."""
    response = pb.ClaimTasksResponse()
    for row in found.rows:
        one = response.tasks.add(task=task(row))
        one.lease.task_id = one.task.id
        one.lease.agent_id = one.task.assigned_to
        one.lease.fencing_token = row["fence"]
        one.lease.expires_in.seconds = found.seconds
        one.previous.extend(map(attempt, found.previous.get(row["id"], ())))
        one.inputs.extend(map(task_input, found.inputs.get(row["id"], ())))
    return response
