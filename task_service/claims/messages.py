"""Claims between the wire and the rules."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.messages.attempts import attempt, task_input
from shared.messages.tasks import task
from shared.resources.building import M, Messages, Row, build_all
from shared.resources.pagination import PAGE_BYTES
from shared.resources.validation import validate
from tandem.task.v1 import task_service_pb2 as pb
from task_service.claims.claim import Claim, Claimed

DEFAULT_SECONDS = 60
WITHOUT = {"description": None, "result": None, "dependencies": ()}


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


async def claimed(found: Claimed) -> pb.ClaimTasksResponse:
    """Tasks with their leases, and what came before, as far as clients take it.

    What has no room is left out; first what came before, then what is large of the last tasks.
    """
    response = pb.ClaimTasksResponse()
    room = _Room(PAGE_BYTES)
    async for each, size in build_all(_until_full(found.rows, room), task):
        if size > room.left and response.tasks:
            _strip(each, room)
        room.left -= each.ByteSize() if room.is_full else size
        one = response.tasks.add(task=each)
        one.lease.task_id = each.id
        one.lease.agent_id = each.assigned_to
        one.lease.expires_in.seconds = found.seconds
    for one, row in zip(response.tasks, found.rows, strict=True):
        one.lease.fencing_token = row["fence"]
        await _fill(one.inputs, found.inputs.get(row["id"], ()), task_input, room)
        one.inputs.sort(key=_asked)
        await _fill(one.previous, found.previous.get(row["id"], ()), attempt, room)
    response.incomplete = found.is_cut or room.is_full
    return response


@dataclass
class _Room:
    """What is left of a response, in bytes; `is_full` once something had no room."""

    left: int
    is_full: bool = False


def _until_full(rows: Iterable[Row], room: _Room) -> Iterator[Row]:
    """The rows, without what is large of those for which there is no room."""
    for row in rows:
        yield {**dict(row.items()), **WITHOUT} if room.is_full else row


def _strip(built: Any, room: _Room) -> None:
    """Leave out what is large of a task for which there is no room."""
    room.is_full = True
    for name in WITHOUT:
        built.ClearField(name)


async def _fill(
    field: Messages[M], rows: Iterable[Row], message: Callable[[Row], M], room: _Room
) -> None:
    """Append the messages of rows as long as there is room."""
    async for each, size in build_all(rows, message):
        if size > room.left:
            room.is_full = True
            return
        room.left -= size
        field.append(each)


def _asked(one: pb.Input) -> tuple[int, int, str]:
    return one.requested_at.seconds, one.requested_at.nanos, one.key
