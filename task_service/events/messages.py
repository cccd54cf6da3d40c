"""Events between the wire and the rules."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from shared.events.vocabulary import EVENT_TYPES, RESOURCE_TYPES
from shared.messages.agents import agent
from shared.messages.api_keys import api_key
from shared.messages.members import member
from shared.messages.projects import project
from shared.messages.rooms import participant, room
from shared.messages.tasks import task
from shared.messages.users import user
from shared.resources.building import Row, build_all
from shared.resources.pagination import DEFAULT_PAGE_SIZE, MAXIMUM_PAGE_SIZE, PAGE_BYTES
from shared.resources.validation import timestamp, validate
from tandem.event.v1 import event_service_pb2 as pb
from task_service.events.reading import Events, Query

BUILD: Mapping[str, Callable[[Row], Any]] = {
    "task": task,
    "agent": agent,
    "project": project,
    "room": room,
    "participant": participant,
    "api_key": api_key,
    "member": member,
    "user": user,
}
TO_TYPE = {
    word: pb.EventType.Value(f"EVENT_TYPE_{word.replace('.', '_').upper()}") for word in EVENT_TYPES
}
FROM_TYPE = {number: word for word, number in TO_TYPE.items()}
TO_RESOURCE_TYPE = {
    word: pb.ResourceType.Value(f"RESOURCE_TYPE_{word.upper()}") for word in RESOURCE_TYPES
}
FROM_RESOURCE_TYPE = {number: word for word, number in TO_RESOURCE_TYPE.items()}
TO_ACTOR_TYPE = {
    "user": pb.ACTOR_TYPE_USER,
    "agent": pb.ACTOR_TYPE_AGENT,
    "system": pb.ACTOR_TYPE_SYSTEM,
}
# What changes with every change.
ALWAYS = frozenset({"revision", "updated_at"})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The last and the first time that the wire can say, as PostgreSQL keeps them.
INFINITE = {
    "infinity": Timestamp(seconds=253_402_300_799, nanos=999_999_000),
    "-infinity": Timestamp(seconds=-62_135_596_800),
}


class _Kept(dict[str, Any]):
    """The columns that the log keeps of a row. Others are as if they were not set."""

    def __missing__(self, _name: str) -> None:
        return None


def query(request: pb.ListEventsRequest) -> Query:
    """What a list is asked for."""
    validate(request)
    filters = {
        "resource_id": UUID(request.resource_id) if request.resource_id else None,
        "types": [FROM_TYPE[number] for number in request.types] or None,
        "resource_types": [FROM_RESOURCE_TYPE[n] for n in request.resource_types] or None,
        "by_actor": UUID(request.actor_id) if request.actor_id else None,
        "at_after": timestamp(request, "at_after", "at_after"),
        "at_before": timestamp(request, "at_before", "at_before"),
    }
    return Query(
        {name: value for name, value in filters.items() if value is not None},
        after=request.after_sequence,
        log_id=UUID(request.log_id) if request.log_id else None,
        size=min(request.page_size, MAXIMUM_PAGE_SIZE) or DEFAULT_PAGE_SIZE,
    )


async def page(found: Events) -> pb.ListEventsResponse:
    """A page of events, as far as a message takes them."""
    head = found.head
    response = pb.ListEventsResponse(
        through_sequence=found.through,
        last_sequence=head["last"],
        first_sequence=head["first"],
        log_id=str(head["log_id"]),
    )
    left = PAGE_BYTES
    async for each, size in build_all(map(read, found.rows), event):
        left -= size
        if left < 0 and response.events:
            response.through_sequence = response.events[-1].sequence
            break
        response.events.append(each)
    return response


def read(row: Row) -> Row:
    """A row of `events` with its JSON as values, as `event` needs it."""
    before = row["before"]
    read = {"after": orjson.loads(row["after"]), "before": before and orjson.loads(before)}
    return {**dict(row.items()), **read}


def event(row: Row) -> pb.Event:
    """An event that was `read`, as a message.

    What another version has written is shown as far as it is known here: no event is left out.
    """
    return pb.Event(
        sequence=row["sequence"],
        batch=row["batch"],
        at=row["at"],
        type=TO_TYPE.get(row["type"], pb.EVENT_TYPE_UNSPECIFIED),
        resource_type=TO_RESOURCE_TYPE.get(row["resource_type"], pb.RESOURCE_TYPE_UNSPECIFIED),
        resource_id=str(row["resource_id"]),
        revision=row["revision"],
        actor=_actor(row),
        method=row["method"],
        request_id=row["request_id"],
        **_change(row),
    )


def _actor(row: Row) -> pb.Actor:
    return pb.Actor(
        type=TO_ACTOR_TYPE[row["actor_type"]],
        id=row["actor_id"] and str(row["actor_id"]),
        api_key_id=row["api_key_id"] and str(row["api_key_id"]),
    )


def _change(row: Row) -> dict[str, Any]:
    """The fields of an event that say what the resource is, was, and how the two differ."""
    try:
        return _described(row["resource_type"], row["after"], row["before"] or {}, row["changed"])
    except (KeyError, TypeError, ValueError):  # it is not in a form that is known here
        return {}


def _described(
    kind: str, after: Mapping[str, Any], before: Mapping[str, Any], changed: Sequence[str] | None
) -> dict[str, Any]:
    columns = _columns(kind, after)
    resource = BUILD[kind](columns)
    fields = resource.DESCRIPTOR.fields_by_name
    differing = {
        name: value
        for name, value in before.items()
        if name in fields and name not in ALWAYS and value != after.get(name)
    }
    large = (name for name in changed or () if name in fields)
    described: dict[str, Any] = {
        "after": pb.Resource(**{kind: resource}),
        "changed_fields": sorted((*differing, *large), key=lambda name: fields[name].number),
    }
    if differing:
        former = BUILD[kind](_Kept({**columns, **_columns(kind, differing)}))
        described["before"] = Struct()
        described["before"].update({name: _json(former, fields[name]) for name in differing})
    return described


def _columns(kind: str, kept: Mapping[str, Any]) -> _Kept:
    """Columns that are given in JSON as a row has them. Raises KeyError, ValueError."""
    columns = _Kept(kept)
    for name in _times(kind):
        if name in kept and kept[name] is not None:
            columns[name] = _timestamp(kept[name])
    return columns


def _timestamp(text: str) -> Timestamp:
    """A time as PostgreSQL writes it in JSON. Given as a datetime, it takes three times as long."""
    if text in INFINITE:
        return INFINITE[text]
    since = datetime.fromisoformat(text) - EPOCH
    seconds = since.days * 86_400 + since.seconds
    return Timestamp(seconds=seconds, nanos=since.microseconds * 1000)


@cache
def _times(kind: str) -> tuple[str, ...]:
    columns = RESOURCE_TYPES[kind].c
    return tuple(column.name for column in columns if column.type.python_type is datetime)


def _json(message: Message, field: Any) -> Any:
    """The JSON form of a field; None if it is not set."""
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_json_of(each, field) for each in value]
    return _json_of(value, field)


def _json_of(value: Any, field: Any) -> Any:
    if field.enum_type:
        return field.enum_type.values_by_number[value].name
    return value.ToJsonString() if field.message_type else value
