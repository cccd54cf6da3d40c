"""Requests are checked against the rules that stand in the protos, in one place."""

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

import protovalidate
from google.api import field_behavior_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import Reason, Refusal, Violation, invalid_field, invalid_fields
from shared.resources import validation_rules

T = TypeVar("T")
M = TypeVar("M", bound=Message)
KIB = 1024
# Most clients read messages in messages 100 deep. A level of a Struct is up to three of them, and a
# list of rows lies deeper than the request that a Struct came in.
MAXIMUM_DEPTH = 30
REQUIRED: int = field_behavior_pb2.REQUIRED
RULES = validation_rules.DESCRIPTOR.extensions_by_name["field"]
# What a Create ignores, whatever it is: an Update gives these a meaning, and so limits.
SET_BY_SERVICE = ("id", "status", "revision")


def validate(request: Message) -> None:
    """Check a request. Raises Refusal(INVALID_FIELD) with one violation per bad field."""
    _refuse(_violations(request))


def validate_new(request: Message, resource: str) -> None:
    """Check a Create request, whose field `resource` must have every field that is REQUIRED.

    Raises Refusal(INVALID_FIELD).
    """
    created: Message = getattr(request, resource)
    ignored = {f"{resource}.{name}" for name in SET_BY_SERVICE}
    wrong = (v for v in _violations(request) if v.subject not in ignored)
    _refuse([*_missing(created, resource, _required(created)), *wrong])


def validate_changes(request: Any, resource: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Check an Update request, and say which fields of its field `resource` it changes.

    What it does not change is not looked at. Raises Refusal: INVALID_UPDATE_MASK, INVALID_FIELD.
    """
    given: Message = getattr(request, resource)
    names = _masked(given, request.update_mask, allowed, resource)
    looked_at = type(request)(
        request_id=request.request_id, **{resource: _only(given, (*names, "id", "revision"))}
    )
    required = ["id", *(name for name in _required(given) if name in names)]
    _refuse([*_missing(given, resource, required), *_violations(looked_at)])
    return names


async def read_after_access(read: Callable[[], T], access: Callable[[], Awaitable[object]]) -> T:
    """Read what a request says; where that is refused, the refusal of access comes first.

    Access is decided by the statement that does the work. Only a request that never gets that far
    has to ask for it by itself.
    """
    try:
        return read()
    except Refusal:
        await access()
        raise


def struct(message: Message, name: str, path: str, limit: int) -> dict[str, Any] | None:
    """The Struct field `name` as JSON, None where it is not set.

    Raises Refusal(INVALID_FIELD) where it is larger than `limit` bytes or cannot be kept as JSON.
    """
    if not message.HasField(name):
        return None
    value: Struct = getattr(message, name)
    if value.ByteSize() > limit:
        raise invalid_field(path, f"must be at most {limit // KIB} KiB serialized")
    try:
        content = MessageToDict(value)
    except ValueError:
        raise invalid_field(path, "must not contain NaN or infinite numbers") from None
    if _contains_nul(content):
        raise invalid_field(path, "must not contain U+0000")
    if _depth(content) > MAXIMUM_DEPTH:
        raise invalid_field(path, f"must not be nested more than {MAXIMUM_DEPTH} levels deep")
    return content


def timestamp(message: Message, name: str, path: str) -> datetime | None:
    """The Timestamp field `name` in UTC, cut to microseconds; None where it is not set.

    Raises Refusal(INVALID_FIELD) where it is not a time between the years 1 and 9999.
    """
    if not message.HasField(name):
        return None
    value: Timestamp = getattr(message, name)
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid_field(path, "must be a time between the years 1 and 9999") from None


def _masked(resource: M, mask: FieldMask, allowed: tuple[str, ...], path: str) -> tuple[str, ...]:
    if not mask.paths:
        return tuple(name for name in allowed if _is_set(resource, name))
    if list(mask.paths) == ["*"]:
        return allowed
    wrong = [name for name in mask.paths if name not in allowed]
    if wrong:
        description = f"cannot be changed here; allowed: {', '.join(allowed)}, or * alone"
        message = f"update_mask: {wrong[0][:100]} {description}."
        fields = [Violation(f"{path}.{name[:100]}", description) for name in wrong[:20]]
        raise Refusal(Reason.INVALID_UPDATE_MASK, message, fields=fields)
    return tuple(dict.fromkeys(mask.paths))


def _only(resource: M, names: tuple[str, ...]) -> M:
    copy = type(resource)()
    for name in names:
        if _is_set(resource, name):
            field = copy.DESCRIPTOR.fields_by_name[name]
            if field.is_repeated:
                getattr(copy, name).extend(getattr(resource, name))
            elif field.message_type:
                getattr(copy, name).CopyFrom(getattr(resource, name))
            else:
                setattr(copy, name, getattr(resource, name))
    return copy


def _is_set(resource: Message, name: str) -> bool:
    field = resource.DESCRIPTOR.fields_by_name[name]
    return resource.HasField(name) if field.has_presence else bool(getattr(resource, name))


def _required(resource: Message) -> list[str]:
    return [f.name for f in resource.DESCRIPTOR.fields if REQUIRED in _behaviors(f)]


def _behaviors(field: Any) -> Iterable[int]:
    behaviors: Iterable[int] = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return behaviors


def _missing(resource: Message, path: str, names: Iterable[str]) -> Iterator[Violation]:
    return (
        Violation(f"{path}.{name}", "is required") for name in names if not _is_set(resource, name)
    )


def _violations(request: Message) -> Iterator[Violation]:
    if _can_be_large(request.DESCRIPTOR):
        # protovalidate looks at each item of a list that is too long, which takes minutes and GiB.
        if found := list(_too_long(request)):
            return iter(found)
        request = _without_structs(request)
    return map(_violation, protovalidate.collect_violations(request))


@cache
def _can_be_large(kind: Any) -> bool:
    return any(
        field.is_repeated
        or field.message_type is Struct.DESCRIPTOR
        or (field.message_type and _can_be_large(field.message_type))
        for field in kind.fields
    )


def _without_structs(request: Message) -> Message:
    # No rule speaks of what is in them, and a large one takes protovalidate seconds.
    copy = type(request)()
    copy.CopyFrom(request)
    _clear_structs(copy)
    return copy


def _clear_structs(message: Message) -> None:
    for field, value in message.ListFields():
        if field.message_type is Struct.DESCRIPTOR:
            message.ClearField(field.name)
        elif field.message_type and not field.is_repeated:
            _clear_structs(value)


def _too_long(message: Message, path: str = "") -> Iterator[Violation]:
    """The lists in a message that have too many items."""
    for field, value in message.ListFields():
        if field.is_repeated:
            if len(value) > (limit := _maximum_items(field)):
                yield Violation(path + field.name, f"must contain no more than {limit} item(s)")
        elif field.message_type:
            yield from _too_long(value, f"{path}{field.name}.")


@cache
def _maximum_items(field: Any) -> float:
    return field.GetOptions().Extensions[RULES].repeated.max_items or math.inf


def _refuse(violations: Iterable[Violation]) -> None:
    if found := list(violations):
        raise invalid_fields(found)


def _violation(violation: protovalidate.Violation) -> Violation:
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None and element.subscript.field == "index":
            path += f"[{element.subscript.value}]"
    if violation.proto.rule_id == "string.not_contains":  # its message would contain the character
        return Violation(path, "must not contain U+0000")
    return Violation(path, violation.proto.message)


def _contains_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _contains_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_contains_nul, value))
    return False


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
