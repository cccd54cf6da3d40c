"""Claims tasks, and says how they have ended."""

from datetime import timedelta
from typing import Any

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from cli.console import CommandError
from cli.tandem_calls import agent_of
from cli.words import attempt_word, priority_word, status_word, visible
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client.sync import Tandem


def claim(
    tandem: Tandem,
    agent_id: str | None,
    count: int,
    capabilities: tuple[str, ...],
    lease: timedelta,
    wait: timedelta,
) -> list[pb.ClaimedTask]:
    """Claim up to `count` tasks. Raises CommandError if there is none."""
    project_id, agent_id = agent_of(tandem, agent_id)
    request = pb.ClaimTasksRequest(
        project_id=project_id,
        agent_id=agent_id,
        max_tasks=count,
        capabilities=capabilities,
        lease_duration=_duration(lease),
        wait=_duration(wait),
    )
    response = tandem.tasks.ClaimTasks(request, timeout=wait.total_seconds() + 30)
    if not response.tasks:
        raise CommandError("There is no task to claim.")
    return list(response.tasks)


def complete(tandem: Tandem, task_id: str, fence: int, result: str | None) -> pb.Task:
    """Complete a task with a JSON object as its result, if one is given."""
    request = pb.CompleteTaskRequest(task_id=task_id, fencing_token=fence)
    if result is not None:
        request.result.CopyFrom(_object(result))
    return tandem.tasks.CompleteTask(request)


def fail(
    tandem: Tandem, task_id: str, fence: int, message: str, pause: timedelta | None, *, final: bool
) -> pb.Task:
    """Say that the attempt has failed, and whether another one may help."""
    request = pb.FailTaskRequest(task_id=task_id, fencing_token=fence, retryable=not final)
    request.error.update({"message": message})
    if pause is not None:
        request.retry_after.CopyFrom(_duration(pause))
    return tandem.tasks.FailTask(request)


def release(tandem: Tandem, task_id: str, fence: int) -> pb.Task:
    """Give a task back."""
    return tandem.tasks.ReleaseTask(pb.ReleaseTaskRequest(task_id=task_id, fencing_token=fence))


def as_json(claimed: list[pb.ClaimedTask]) -> str:
    """What was claimed, as a JSON document on a line for each."""
    return "\n".join(orjson.dumps(MessageToDict(each)).decode() for each in claimed)


def as_text(claimed: list[pb.ClaimedTask]) -> str:
    """What was claimed, for people, and how to go on."""
    return "\n\n".join(_text(each) for each in claimed)


def _text(claimed: pb.ClaimedTask) -> str:
    task, lease = claimed.task, claimed.lease
    lines = [
        visible(task.title),
        f"  task      {task.id}",
        f"  attempt   {task.attempt} of {task.max_attempts}",
        f"  lease     {lease.expires_in.ToSeconds()} s, fencing token {lease.fencing_token}",
    ]
    if priority := priority_word(task.priority):
        lines.insert(2, f"  priority  {priority}")
    lines += [f"  before    {_before(attempt)}" for attempt in claimed.previous]
    command = f"tandem tasks complete {task.id} --fence {lease.fencing_token}"
    return "\n".join([*lines, f"  then      {command}"])


def _before(attempt: pb.Attempt) -> str:
    said = attempt.error.fields["message"].string_value if "message" in attempt.error.fields else ""
    outcome = f"attempt {attempt.attempt} {attempt_word(attempt.outcome)}"
    return f"{outcome}: {visible(said)}" if said else outcome


def moved(task: pb.Task) -> str:
    """What has become of a task."""
    return f"{visible(task.title)} is {status_word(task.status)}."


def _object(text: str) -> Struct:
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise CommandError("--result is a JSON object, for example '{\"found\": 3}'.")
    return ParseDict(value, Struct())


def _duration(length: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(length)
    return duration
