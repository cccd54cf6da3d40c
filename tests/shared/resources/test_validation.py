"""What the protos demand of a request, and what PostgreSQL can keep of it."""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Refusal, invalid_field
from shared.resources.validation import (
    parse,
    struct,
    timestamp,
    validate,
    validate_changes,
    validate_new,
)
from tandem.agent.v1.agent_service_pb2 import (
    Agent,
    BatchGetAgentsRequest,
    CreateAgentRequest,
    UpdateAgentRequest,
)
from tandem.task.v1.task_service_pb2 import (
    TASK_PRIORITY_LOW,
    TASK_STATUS_PENDING,
    CreateTaskRequest,
    ListTasksRequest,
    Task,
)

CHANGEABLE = ("name", "nickname", "config")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def paths(refusal: Refusal) -> list[str]:
    return [violation.subject for violation in refusal.fields]


def has_nul(value: Any) -> bool:
    return "\\x00" in repr(value).replace("\\\\", "")


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_struct_is_kept_as_it_is_or_refused(content: dict[str, Any]) -> None:
    agent: Any = Agent(config=content)  # type: ignore[arg-type]
    if has_nul(content):
        with pytest.raises(Refusal, match=r"U\+0000"):
            struct(agent, "config", "agent.config", 10**6)
    else:
        assert struct(agent, "config", "agent.config", 10**6) == content


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(number: float) -> None:
    content: Any = {"a": [{"b": number}]}
    with pytest.raises(Refusal, match="NaN") as raised:
        struct(Agent(config=content), "config", "agent.config", 10**6)
    assert paths(raised.value) == ["agent.config"]


def test_a_struct_that_is_not_set_is_none() -> None:
    assert struct(Agent(), "config", "agent.config", 1) is None


@pytest.mark.parametrize(
    ("seconds", "nanos", "wanted"),
    [
        (0, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, 999_999_999, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        (253402300799, 999_999_999, datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        (-62135596800, 0, datetime(1, 1, 1, tzinfo=UTC)),
        (253402300800, 0, None),
        (-62135596801, 0, None),
        (2**62, 0, None),
        (0, -1, None),
        (0, 10**9, None),
    ],
)
def test_times(seconds: int, nanos: int, wanted: datetime | None) -> None:
    due: Any = {"seconds": seconds, "nanos": nanos}
    task = Task(due_date=due)
    if wanted is None:
        with pytest.raises(Refusal) as raised:
            timestamp(task, "due_date", "task.due_date")
        assert paths(raised.value) == ["task.due_date"]
    else:
        assert timestamp(task, "due_date", "task.due_date") == wanted


def test_every_bad_field_is_named_by_its_path() -> None:
    agent = Agent(nickname="\0", capabilities=["", "b", "c" * 101], agent_type="t" * 101)
    with pytest.raises(Refusal) as raised:
        validate_new(CreateAgentRequest(agent=agent, request_id="x"), "agent")
    assert paths(raised.value) == [
        "agent.project_id",
        "agent.name",
        "agent.nickname",
        "agent.agent_type",
        "agent.capabilities[0]",
        "agent.capabilities[2]",
        "request_id",
    ]
    with pytest.raises(Refusal, match=r"agent_ids\[1\] must be a valid UUID"):
        validate(BatchGetAgentsRequest(agent_ids=["0" * 8 + "-0000-0000-0000-" + "0" * 12, "x"]))


@pytest.mark.parametrize(
    "request_of",
    [
        lambda many: ListTasksRequest(statuses=[TASK_STATUS_PENDING] * many),
        lambda many: ListTasksRequest(project_id="x", priorities=[TASK_PRIORITY_LOW] * many),
        lambda many: BatchGetAgentsRequest(agent_ids=[""] * many),
        lambda many: CreateAgentRequest(agent=Agent(capabilities=[""] * many)),
    ],
)
def test_the_items_of_a_list_that_is_too_long_are_not_looked_at(
    request_of: Callable[[int], Message],
) -> None:
    request = request_of(1_000_000)
    begun = time.process_time()
    with pytest.raises(Refusal, match=r"must contain no more than \d+ item\(s\)\.$") as raised:
        validate(request)
    assert len(paths(raised.value)) == 1
    assert time.process_time() - begun < 1


def test_what_is_in_a_struct_is_not_looked_at() -> None:
    content: Any = {"many": [None] * 200_000}
    request: Any = CreateTaskRequest(task=Task(title="\0", result=content))
    begun = time.process_time()
    with pytest.raises(Refusal) as raised:
        validate(request)
    validated = time.process_time()
    assert paths(raised.value) == ["task.title"]
    assert sum(1 for _ in request.task.result["many"]) == 200_000
    looking_at_each = time.process_time() - validated
    assert validated - begun < looking_at_each / 3


@pytest.mark.parametrize(
    ("agent", "mask", "names"),
    [
        (Agent(id="i"), [], ()),
        (Agent(name="n", nickname=""), [], ("name", "nickname")),
        (Agent(agent_type="t"), [], ()),
        (Agent(), ["nickname", "config", "nickname"], ("nickname", "config")),
        (Agent(name="n"), ["*"], CHANGEABLE),
    ],
)
def test_masks(agent: Agent, mask: list[str], names: tuple[str, ...]) -> None:
    agent.id = "00000000-0000-0000-0000-000000000000"
    request = UpdateAgentRequest(agent=agent, update_mask=FieldMask(paths=mask))
    assert validate_changes(request, "agent", CHANGEABLE) == names


def test_what_is_not_changed_is_not_looked_at() -> None:
    agent = Agent(id="00000000-0000-0000-0000-000000000000", name="\0", nickname="ok")
    request = UpdateAgentRequest(agent=agent, update_mask=FieldMask(paths=["nickname"]))
    assert validate_changes(request, "agent", CHANGEABLE) == ("nickname",)


def test_what_is_refused_is_refused_when_its_turn_comes() -> None:
    def bad(_request: str) -> None:
        raise invalid_field("x", "is wrong")

    assert parse(len, "abc").value == 3
    parsed = parse(bad, "abc")
    assert parsed.refusal is not None
    with pytest.raises(Refusal, match="x is wrong"):
        _ = parsed.value
