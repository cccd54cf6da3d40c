"""A message with too many fields is refused before it is parsed."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from shared.errors import Reason, Refusal
from shared.grpc_server.fields import (
    MANY_FIELDS,
    MAXIMUM_FIELDS,
    UNCOUNTED_BYTES,
    require_few_fields,
)
from tandem.agent.v1.agent_service_pb2 import BatchGetAgentsRequest
from tandem.task.v1.task_service_pb2 import (
    CreateTaskRequest,
    ListTasksRequest,
    Task,
    UpdateTaskRequest,
)
from tests.refusals import refused
from tests.turns import Turns
from tests.world import World

MANY = 2_000_000
ABOVE_A_LIST = 6  # task, result, entry, key, value, list


def sized(tag: bytes, content: bytes) -> bytes:
    """A field of a message, with `tag`."""
    return tag + Task(title=" " * len(content)).SerializeToString()[1:][: -len(content)] + content


def with_list(item: bytes, times: int) -> bytes:
    """A CreateTaskRequest whose task has a result with a list of these items."""
    values = sized(b"\x12", sized(b"\x32", item * times))
    entry = sized(b"\x0a", b"\x0a\x01a" + values)
    return sized(b"\x0a", sized(b"\x7a", entry))


def with_entries(entries: bytes) -> bytes:
    """A CreateTaskRequest whose task has a result with these entries."""
    return sized(b"\x0a", sized(b"\x7a", entries))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (CreateTaskRequest, with_list(b"\x0a\x00", 262_134)),
        (CreateTaskRequest, with_list(b"\x0a\x02\x2a\x00", 262_134)),
        (CreateTaskRequest, with_list(b"\x0a\x02\x32\x00", 262_134)),
        (
            CreateTaskRequest,
            with_entries(b"".join(b"\x0a\x06\x0a\x04%04x" % n for n in range(11_000))),
        ),
        (CreateTaskRequest, b"\x0a\x00" * MANY),
        (CreateTaskRequest, sized(b"\x0a", b"\x22\x00" * MANY)),
        (UpdateTaskRequest, sized(b"\x12", b"\x0a\x00" * MANY)),
        (BatchGetAgentsRequest, b"\x0a\x00" * MANY),
        (ListTasksRequest, b"\x18\x01" * MANY),
    ],
    ids=["nulls", "objects", "lists", "entries", "messages", "texts", "paths", "ids", "enums"],
)
async def test_fields_are_counted_at_all_levels(kind: Any, message: bytes) -> None:
    with pytest.raises(Refusal, match="more than 20000 fields") as raised:
        await require_few_fields(message, kind.FromString)
    assert raised.value.reason is Reason.INVALID_FIELD


async def test_the_largest_message_that_has_a_use_is_parsed() -> None:
    result = Struct()
    result.update({f"{number}": "x" * 150 for number in range(4_600)})
    task = Task(description="\n" * 65_536, result=result, dependencies=[str(uuid4())] * 1000)
    data = CreateTaskRequest(task=task).SerializeToString()
    assert len(data) > UNCOUNTED_BYTES
    await require_few_fields(data, CreateTaskRequest.FromString)


async def test_the_limit_is_exact() -> None:
    fields = MAXIMUM_FIELDS - ABOVE_A_LIST
    data = with_list(b"\x0a\x02\x08\x00", fields // 2)
    await require_few_fields(data, CreateTaskRequest.FromString)
    data = with_list(b"\x0a\x02\x08\x00", fields // 2 + 1)
    with pytest.raises(Refusal):
        await require_few_fields(data, CreateTaskRequest.FromString)


class Counted(bytes):
    """Bytes that count how many of them are looked at."""

    seen = 0

    def __getitem__(self, at: Any) -> Any:
        self.seen += 1
        return super().__getitem__(at)


def many_keys() -> bytes:
    """A CreateTaskRequest whose result has 360,000 keys."""
    return with_entries(b"".join(b"\x0a\x07\x0a\x05%05x" % n for n in range(360_000)))


async def test_no_more_is_read_of_a_message_than_decides() -> None:
    data = Counted(many_keys())
    with pytest.raises(Refusal, match="more than 20000 fields"):
        await require_few_fields(data, CreateTaskRequest.FromString)
    # The tag and the size of each field, twice.
    assert data.seen < 4 * MAXIMUM_FIELDS + 100


async def test_hundreds_of_thousands_of_keys_are_refused_unparsed(world: World) -> None:
    alice = await world.user()
    create: Any = world.channels.tasks.unary_unary("/tandem.task.v1.TaskService/CreateTask")
    request_id = CreateTaskRequest(request_id=str(uuid4())).SerializeToString()
    call = create(many_keys() + request_id, metadata=(("authorization", f"Bearer {alice.token}"),))
    assert "more than 20000 fields" in (await refused(call, Reason.INVALID_FIELD)).message


@pytest.mark.parametrize(("fields", "pauses"), [(MANY_FIELDS, 0), (MANY_FIELDS + 1, 1)])
async def test_others_have_a_turn_before_many_fields_are_parsed(
    fields: int, pauses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.fields.PAUSE_SECONDS", 0)
    message = CreateTaskRequest(task=Task(dependencies=[""] * (fields - 1))).SerializeToString()
    turns = Turns()
    await asyncio.sleep(0)
    before = turns.taken
    await require_few_fields(message, CreateTaskRequest.FromString)
    assert turns.taken - before == pauses
    await turns.end()


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\xff\xff\xff\x7f" + b"\x0a\x00" * 10,  # ends too early
        with_entries(b"\x0a\x7f" + b"\x0a") + b"\x12\x7f",  # inside, too
        b"\x80" * UNCOUNTED_BYTES,
        b"",
    ],
)
async def test_what_is_malformed_is_left_to_the_parser(data: bytes) -> None:
    await require_few_fields(data, CreateTaskRequest.FromString)


async def test_every_service_refuses_them(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = Task(project_id=project.id, title="Task", result={"a": [{}] * 11_000})  # type: ignore[arg-type]
    create = alice.tasks.CreateTask(CreateTaskRequest(task=task))
    assert "more than 20000 fields" in (await refused(create, Reason.INVALID_FIELD)).message
    mask = FieldMask(paths=["name"] * 21_000)
    update = UpdateTaskRequest(task=Task(id=str(uuid4())), update_mask=mask)
    await refused(alice.tasks.UpdateTask(update), Reason.INVALID_FIELD)
    many = BatchGetAgentsRequest(agent_ids=[""] * 21_000)
    refusal = await refused(alice.agents.BatchGetAgents(many), Reason.INVALID_FIELD)
    assert "more than 20000 fields" in refusal.message
