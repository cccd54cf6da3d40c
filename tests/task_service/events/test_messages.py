"""An event as a message: what the log keeps of a row is shown as the row itself would be."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from shared.events.vocabulary import LARGE, LEFT_OUT, RESOURCE_TYPES, kept
from tandem.event.v1 import event_service_pb2 as pb
from tandem.task.v1 import task_service_pb2 as tasks
from task_service.events.messages import (
    BUILD,
    TO_ACTOR_TYPE,
    TO_RESOURCE_TYPE,
    TO_TYPE,
    event,
    read,
)
from tests.schema.samples import samples

TASK: Mapping[str, Any] = {
    "id": UUID(int=1),
    "project_id": UUID(int=2),
    "title": "Task",
    "status": "completed",
    "priority": "high",
    "dependencies": [],
    "due_date": datetime(2001, 1, 1, tzinfo=UTC),
    "revision": 7,
}


def row(**columns: Any) -> dict[str, Any]:
    """A row of `events`, as the pool answers it."""
    after, before = columns.pop("after", TASK), columns.pop("before", None)
    return {
        "sequence": 3,
        "batch": 2,
        "at": datetime(2001, 1, 1, tzinfo=UTC),
        "type": "task.updated",
        "resource_type": "task",
        "resource_id": UUID(int=1),
        "revision": 7,
        "actor_type": "system",
        "actor_id": None,
        "api_key_id": None,
        "method": None,
        "request_id": None,
        "changed": None,
        **columns,
        "after": as_json(after),
        "before": before and as_json(before),
    }


def as_json(columns: Mapping[str, Any]) -> bytes:
    # The names that a table has for its columns are strings of a kind of their own.
    return orjson.dumps({str(name): value for name, value in columns.items()}, default=str)


def shown(**columns: Any) -> pb.Event:
    return event(read(row(**columns)))


@pytest.mark.parametrize(
    ("enum", "words"),
    [
        (pb.EventType, TO_TYPE),
        (pb.ResourceType, TO_RESOURCE_TYPE),
        (pb.ActorType, TO_ACTOR_TYPE),
    ],
    ids=["types", "resource types", "actor types"],
)
def test_every_word_of_the_log_has_its_value(enum: Any, words: dict[str, int]) -> None:
    assert {*words.values()} == {*enum.values()} - {0}
    assert len({*words.values()}) == len(words)


@pytest.mark.parametrize("kind", RESOURCE_TYPES)
def test_what_is_kept_of_a_row_is_shown_as_the_row_itself(kind: str) -> None:
    table = RESOURCE_TYPES[kind]
    for take in (0, -1):
        columns = {c.name: samples(c)[take] for c in table.c if c.name not in LARGE}
        named = {"username": None} if kind == "member" else {}
        missing = {**dict.fromkeys({*LARGE, *LEFT_OUT}), **named}
        expected = BUILD[kind]({**columns, **missing})
        after = {name: columns[name] for name in kept(table)}
        found = shown(resource_type=kind, after=after)
        assert found.after.WhichOneof("resource") == kind
        assert getattr(found.after, kind) == expected


# Participants do not change.
@pytest.mark.parametrize("kind", [kind for kind in RESOURCE_TYPES if kind != "participant"])
def test_every_column_that_changes_is_named_with_its_former_value(kind: str) -> None:
    table = RESOURCE_TYPES[kind]
    fields = {field.name: field for field in BUILD[kind](_Anything(table)).DESCRIPTOR.fields}
    after = {name: samples(table.c[name])[0] for name in kept(table)}
    for name in kept(table):
        before = {name: samples(table.c[name])[-1], "revision": 1, "updated_at": datetime.min}
        changed = [name] if name in fields and name not in ("revision", "updated_at") else []
        found = shown(resource_type=kind, after=after, before=before)
        assert list(found.changed_fields) == changed
        assert [*found.before.fields] == changed
        if changed:
            former = BUILD[kind](_Anything(table, {**after, **before}))
            assert MessageToDict(found.before) == {name: as_dict(former)[name]}


def as_dict(message: Any) -> Any:
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


class _Anything(dict[str, Any]):
    """A row whose columns, unless they are given, have their first sample, and others nothing."""

    def __init__(self, table: Any, given: Mapping[str, Any] | None = None) -> None:
        super().__init__({c.name: samples(c)[0] for c in table.c if c.name not in LARGE})
        self.update(dict.fromkeys(LARGE), **(given or {}))

    def __missing__(self, _name: str) -> None:
        return None


def test_what_an_update_says_again_has_not_changed() -> None:
    found = shown(before={"status": "completed", "priority": "low", "title": "Task"})
    assert list(found.changed_fields) == ["priority"]
    assert dict(found.before) == {"priority": "TASK_PRIORITY_LOW"}


def test_a_field_that_was_not_set_was_null() -> None:
    found = shown(before={"due_date": None, "priority": None})
    assert dict(found.before) == {"due_date": None, "priority": "TASK_PRIORITY_UNSPECIFIED"}
    former = ParseDict(MessageToDict(found.before), tasks.Task())
    assert former == tasks.Task()


def test_large_fields_are_named_only() -> None:
    found = shown(before={"status": "pending"}, changed=["result", "description", "no field"])
    assert list(found.changed_fields) == ["description", "status", "result"]
    assert [*found.before.fields] == ["status"]
    assert not found.after.task.HasField("result")
    only_large = shown(changed=["result"])
    assert list(only_large.changed_fields) == ["result"]
    assert not only_large.HasField("before")


def test_what_is_created_or_deleted_has_no_changes() -> None:
    found = shown(type="task.deleted")
    assert not found.changed_fields
    assert not found.HasField("before")
    assert found.after.task.title == "Task"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("infinity", "9999-12-31T23:59:59.999999Z"),
        ("-infinity", "0001-01-01T00:00:00Z"),
        ("2001-01-01T00:00:00+00:00", "2001-01-01T00:00:00Z"),
        ("2001-01-01T00:00:00.12+02:00", "2000-12-31T22:00:00.120Z"),
        ("1969-12-31T23:59:59.999999+00:00", "1969-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_exact(text: str, expected: str) -> None:
    found = shown(after={**TASK, "due_date": text}, before={"due_date": "infinity"})
    wanted = Timestamp()
    wanted.FromJsonString(expected)
    assert found.after.task.due_date == wanted
    if text != "infinity":
        assert dict(found.before) == {"due_date": "9999-12-31T23:59:59.999999Z"}


def test_a_time_that_the_wire_cannot_say_is_shown_as_none() -> None:
    """Only SQL past the services writes one; the rest of the page is shown."""
    found = shown(after={**TASK, "due_date": "20000-01-01T00:00:00+00:00"})
    assert not found.HasField("after")


@pytest.mark.parametrize(
    "columns",
    [
        {"type": "task.renumbered"},
        {"type": "message.created", "resource_type": "message"},
        {"after": {**TASK, "status": "waiting"}},
        {"before": {"status": "waiting"}},
        {"resource_type": "api_key", "after": {"status": "active"}},
    ],
)
def test_what_another_version_has_written_is_shown_as_far_as_it_is_known(
    columns: dict[str, Any],
) -> None:
    found = shown(**columns)
    assert (found.sequence, found.batch, found.revision) == (3, 2, 7)
    assert found.type == (0 if "type" in columns else pb.EVENT_TYPE_TASK_UPDATED)


def test_the_system_has_no_id() -> None:
    assert shown().actor == pb.Actor(type=pb.ACTOR_TYPE_SYSTEM)
    user_id = uuid4()
    by_user = shown(actor_type="user", actor_id=user_id).actor
    assert by_user == pb.Actor(type=pb.ACTOR_TYPE_USER, id=str(user_id))
