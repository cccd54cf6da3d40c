"""What is looked at besides the rules, in messages in messages and in lists of them, too."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from shared.errors import Refusal
from shared.resources.nesting import without_structs
from shared.resources.validation import survey, validate
from tandem.task.v1.task_service_pb2 import (
    BatchCreateTasksRequest,
    CancelTaskRequest,
    CreateTaskRequest,
    NewTask,
    Task,
)

ID = "00000000-0000-0000-0000-000000000000"


def batch(*tasks: dict[str, Any]) -> BatchCreateTasksRequest:
    return BatchCreateTasksRequest(tasks=[NewTask(task=Task(**each)) for each in tasks])


def test_lists_that_are_too_long_are_named_with_where_they_are() -> None:
    request = batch({}, {"required_capabilities": ["x"] * 11}, {"dependencies": [""] * 1001})
    assert survey(request).too_long == [("tasks[1].task.required_capabilities", 10)]
    with pytest.raises(Refusal) as raised:
        validate(request)
    (violation,) = raised.value.fields
    assert violation.subject == "tasks[1].task.required_capabilities"


def test_what_is_in_a_list_that_is_too_long_is_not_looked_at() -> None:
    request = batch(*[{"dependencies": [""] * 1001}] * 1001)
    assert survey(request).too_long == [("tasks", 1000)]


def test_the_rules_are_told_of_no_struct_but_that_it_is_there() -> None:
    request = batch({}, {"title": "Task", "result": {"a": 1}})
    outline = without_structs(request)
    assert outline == batch({}, {"title": "Task", "result": {}})
    assert outline.tasks[1].task.HasField("result")
    assert request == batch({}, {"title": "Task", "result": {"a": 1}})
    assert survey(request).has_structs
    assert not survey(CreateTaskRequest(task=Task(title="Task"))).has_structs


@pytest.mark.parametrize(
    ("seconds", "nanos", "is_one"),
    [
        (0, 0, True),
        (1, 999_999_999, True),
        (0, -1, True),
        (-1, -999_999_999, True),
        (315_576_000_000, 0, True),
        (1, 1_000_000_000, False),
        (1, -1, False),
        (-1, 1, False),
        (315_576_000_001, 0, False),
        (-315_576_000_001, 0, False),
    ],
)
def test_durations(seconds: int, nanos: int, is_one: bool) -> None:
    grace = Duration(seconds=seconds, nanos=nanos)
    found = survey(CancelTaskRequest(task_id=ID, grace=grace)).malformed
    assert found == ([] if is_one else ["grace"])


def test_a_duration_that_is_none_is_refused_although_its_parts_are_within_the_limits() -> None:
    request = CancelTaskRequest(task_id=ID, grace=Duration(seconds=1, nanos=-1))
    with pytest.raises(Refusal, match=r"grace must be a valid duration\."):
        validate(request)
