"""A message with too many fields is refused before it is parsed."""

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from shared.errors import Reason, Refusal
from shared.grpc_server.fields import MAXIMUM_FIELDS, UNCOUNTED_BYTES, require_few_fields
from tandem.agent.v1.agent_service_pb2 import BatchGetAgentsRequest
from tandem.task.v1.task_service_pb2 import (
    CreateTaskRequest,
    ListTasksRequest,
    Task,
    UpdateTaskRequest,
)
from tests.refusals import refused
from tests.world import World

MANY = 2_000_000


def sized(tag: bytes, content: bytes) -> bytes:
    """A field of a message, with `tag`."""
    return tag + Task(title=" " * len(content)).SerializeToString()[1:][: -len(content)] + content


def message(item: bytes, times: int) -> bytes:
    """A CreateTaskRequest whose task has a result with a list of these items."""
    values = sized(b"\x12", sized(b"\x32", item * times))
    entry = sized(b"\x0a", b"\x0a\x01a" + values)
    return sized(b"\x0a", sized(b"\x7a", entry))


async def path_of(data: bytes, kind: Any) -> str:
    with pytest.raises(Refusal) as raised:
        await require_few_fields(data, kind.FromString)
    assert raised.value.reason is Reason.INVALID_FIELD
    (violation,) = raised.value.fields
    return violation.subject


@pytest.mark.parametrize("item", [b"\x0a\x00", b"\x0a\x02\x2a\x00", b"\x0a\x02\x32\x00"])
async def test_values_of_a_struct_are_counted(item: bytes) -> None:
    assert await path_of(message(item, 262_134), CreateTaskRequest) == "task.result"


async def test_keys_of_a_map_are_counted() -> None:
    entries = b"".join(b"\x0a\x09\x0a\x05%05x\x12\x00" % n for n in range(360_000))
    data = sized(b"\x0a", sized(b"\x7a", entries))
    assert await path_of(data, CreateTaskRequest) == "task.result"


async def test_what_is_repeated_is_counted() -> None:
    assert await path_of(sized(b"\x12", b"\x0a\x00" * MANY), UpdateTaskRequest) == "update_mask"
    assert await path_of(b"\x0a\x00" * MANY, BatchGetAgentsRequest) == "agent_ids"
    assert await path_of(sized(b"\x1a", b"\x01" * MANY), ListTasksRequest) == "statuses"
    assert await path_of(b"\x18\x01" * MANY, ListTasksRequest) == "statuses"
    assert await path_of(b"\x0a\x00" * MANY, CreateTaskRequest) == "task"
    assert await path_of(sized(b"\x0a", b"\x22\x00" * MANY), CreateTaskRequest) == "task.title"


async def test_the_largest_message_that_has_a_use_is_parsed() -> None:
    result = Struct()
    result.update({f"{number}": "x" * 80 for number in range(10_000)})
    task = Task(description="\n" * 65_536, result=result, dependencies=[str(uuid4())] * 1000)
    data = CreateTaskRequest(task=task).SerializeToString()
    assert len(data) > UNCOUNTED_BYTES
    await require_few_fields(data, CreateTaskRequest.FromString)


async def test_the_limit_is_exact() -> None:
    fields = MAXIMUM_FIELDS - 6  # task, result, entry, key, value, list
    data = message(b"\x0a\x02\x08\x00", fields // 2)
    await require_few_fields(data, CreateTaskRequest.FromString)
    data = message(b"\x0a\x02\x08\x00", fields // 2 + 1)
    assert await path_of(data, CreateTaskRequest) == "task.result"


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\xff\xff\xff\x7f" + b"\x0a\x00" * 10,  # ends too early
        sized(b"\x0a", sized(b"\x7a", b"\x0a\x7f" + b"\x0a")) + b"\x12\x7f",  # inside, too
        b"\x80" * UNCOUNTED_BYTES,
        b"",
    ],
)
async def test_what_is_malformed_is_left_to_the_parser(data: bytes) -> None:
    await require_few_fields(data, CreateTaskRequest.FromString)


async def test_every_service_refuses_them(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = Task(project_id=project.id, title="Task", result={"a": [{}] * 100_000})  # type: ignore[arg-type]
    status = await refused(
        alice.tasks.CreateTask(CreateTaskRequest(task=task)), Reason.INVALID_FIELD
    )
    assert "task.result makes more than 50000 fields" in status.message
    mask = FieldMask(paths=["name"] * 600_000)
    update = UpdateTaskRequest(task=Task(id=str(uuid4())), update_mask=mask)
    await refused(alice.tasks.UpdateTask(update), Reason.INVALID_FIELD)
    many = BatchGetAgentsRequest(agent_ids=[""] * MANY)
    await refused(alice.agents.BatchGetAgents(many), Reason.INVALID_FIELD)
