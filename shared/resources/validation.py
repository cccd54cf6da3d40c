"""Checks requests against the rules in the protos, and parses their fields."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast
from uuid import UUID

import protovalidate
from google.api import field_behavior_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import Reason, Refusal, Violation, invalid_field, invalid_fields
from shared.resources import nesting
from shared.resources.struct_json import from_struct

T = TypeVar("T")
M = TypeVar("M", bound=Message)
# What a client may write: columns, each with what reads it from a message of the resource.
Columns: TypeAlias = Mapping[str, Callable[[Any], Any]]
NOTHING: Columns = {}
KIB = 1024
# Of an update mask that names what cannot be changed.
PATHS_NAMED = 5
REQUIRED: int = field_behavior_pb2.REQUIRED
# What a Create ignores, whatever it is: an Update gives these a meaning, and so limits.
SET_BY_SERVICE = ("id", "status", "revision")


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """What a request says, or the refusal of it, which is raised when its turn comes.

    A request is parsed before anything is done, but access comes before content: what a request
    is refused for depends on what its caller may.
    """

    _value: T | None
    refusal: Refusal | None

    @property
    def value(self) -> T:
        """What the request says. Raises the refusal."""
        if self.refusal is not None:
            raise self.refusal
        return cast(T, self._value)


class Survey(NamedTuple):
    """Lists with too many items, each with its limit; Durations that are none; any Structs."""

    too_long: Sequence[tuple[str, int]]
    malformed: Sequence[str]
    has_structs: bool


def parse(read: Callable[..., T], *arguments: Any) -> Parsed[T]:
    """What `read` makes of its arguments, the first of which is a request."""
    try:
        return Parsed(read(*arguments), None)
    except Refusal as refusal:
        return Parsed(None, refusal)


@dataclass(frozen=True, slots=True)
class Stated:
    """What the column of a row must be already, because no update changes it."""

    value: Any


async def parse_in_turns(read: Callable[..., Awaitable[T]], *arguments: Any) -> Parsed[T]:
    """As `parse`, of what takes long, and lets other calls go on meanwhile."""
    try:
        return Parsed(await read(*arguments), None)
    except Refusal as refusal:
        return Parsed(None, refusal)


def as_uuid(text: str) -> UUID | None:
    """The id, None if it is not one in the 36-character form."""
    try:
        known = UUID(text)
    except ValueError:
        return None
    return known if str(known) == text.lower() else None


def validate(request: Message) -> None:
    """Check a request. Raises Refusal(INVALID_FIELD) with one violation per bad field."""
    if found := _violations(request):
        raise invalid_fields(found)


def validate_new(request: Message, resource: str, *others: str) -> None:
    """Check a Create request, whose field `resource` must have every field that is REQUIRED.

    `others` are fields with resources that are to be created with it.

    Raises Refusal(INVALID_FIELD).
    """
    created: Message = getattr(request, resource)
    missing = _missing(created, resource, _required(created.DESCRIPTOR))
    ignored = {f"{each}.{name}" for each in (resource, *others) for name in SET_BY_SERVICE}
    found = [*missing, *(v for v in _violations(request) if v.subject not in ignored)]
    if found:
        raise invalid_fields(found)


def validate_changes(
    request: Any,
    resource: str,
    allowed: tuple[str, ...],
    key: tuple[str, ...] = ("id",),
    stated: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Check an Update request, and say which fields of its field `resource` it changes.

    The fields of the `key` say which one it is. Only what it changes is looked at, and what it has
    `stated`.
    Raises Refusal: INVALID_UPDATE_MASK, INVALID_FIELD.
    """
    given: Message = getattr(request, resource)
    names = _masked(given, request.update_mask, allowed)
    looked_at = type(request)(
        request_id=request.request_id,
        **{resource: _only(given, (*names, *stated, *key, "revision"))},
    )
    required = [*key, *(name for name in _required(given.DESCRIPTOR) if name in names)]
    found = [*_missing(given, resource, required), *_violations(looked_at)]
    if found:
        raise invalid_fields(found)
    return names


def read_new(request: Message, resource: str, columns: Columns, *others: str) -> dict[str, Any]:
    """The columns of a Create request's field `resource`. Raises Refusal(INVALID_FIELD)."""
    validate_new(request, resource, *others)
    created = getattr(request, resource)
    return {name: read(created) for name, read in columns.items()}


def read_changes(
    request: Any,
    resource: str,
    columns: Columns,
    fixed: Columns = NOTHING,
    key: tuple[str, ...] = ("id",),
) -> dict[str, Any]:
    """The columns that an Update request changes.

    `fixed` are columns that no Update changes. Without a mask a client may mean those that it sets,
    or send back what it has read: they are Stated, to be compared with the row.
    Raises Refusal: INVALID_UPDATE_MASK, INVALID_FIELD.
    """
    changed = getattr(request, resource)
    is_masked = bool(request.update_mask.paths)
    stated = () if is_masked else tuple(name for name in fixed if _is_set(changed, name))
    names = validate_changes(request, resource, tuple(columns), key, stated)
    return {
        **{name: columns[name](changed) for name in names},
        **{name: Stated(fixed[name](changed)) for name in stated},
    }


def read_id(request: Any, name: str) -> UUID:
    """The one id of a request, in its field `name`. Raises Refusal(INVALID_FIELD)."""
    validate(request)
    return UUID(getattr(request, name))


def read_ids(request: Any, name: str) -> list[UUID]:
    """The ids of a request, in its field `name`. Raises Refusal(INVALID_FIELD)."""
    validate(request)
    return list(map(UUID, getattr(request, name)))


def read_revision(request: Any) -> int:
    """The revision that a Delete request asks for, 0 for any. Raises Refusal(INVALID_FIELD)."""
    validate(request)
    revision: int = request.revision
    return revision


def optional(message: Message, name: str, of: Callable[[Any], Any] | None = None) -> Any:
    """The optional field `name`, or what `of` makes of it; None if it is not set."""
    if not message.HasField(name):
        return None
    value = getattr(message, name)
    return of(value) if of else value


def struct(message: Message, name: str, path: str, limit: int) -> dict[str, Any] | None:
    """The Struct field `name` as JSON, None if it is not set.

    Raises Refusal(INVALID_FIELD) if it is larger than `limit` bytes or cannot be kept as JSON.
    """
    if not message.HasField(name):
        return None
    value: Struct = getattr(message, name)
    if value.ByteSize() > limit:
        raise invalid_field(path, f"must be at most {limit // KIB} KiB serialized")
    try:
        return from_struct(value)
    except ValueError as rule:
        raise invalid_field(path, str(rule)) from None


def timestamp(message: Message, name: str, path: str) -> datetime | None:
    """The Timestamp field `name` in UTC, cut to microseconds; None if it is not set.

    Raises Refusal(INVALID_FIELD) if it is not a time between the years 1 and 9999.
    """
    if not message.HasField(name):
        return None
    value: Timestamp = getattr(message, name)
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid_field(path, "must be a time between the years 1 and 9999") from None


def _masked(resource: M, mask: FieldMask, allowed: tuple[str, ...]) -> tuple[str, ...]:
    if not mask.paths:
        return tuple(name for name in allowed if _is_set(resource, name))
    if list(mask.paths) == ["*"]:
        return allowed
    wrong = [name for name in mask.paths if name not in allowed]
    if wrong:
        names = ", ".join(name[:100] for name in wrong[:PATHS_NAMED])
        description = f"names {names}; allowed: {', '.join(allowed)}, or * alone"
        message = f"update_mask {description}."
        fields = [Violation("update_mask", description)]
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


@cache
def _required(kind: Any) -> tuple[str, ...]:
    options = ((f.name, f.GetOptions().Extensions) for f in kind.fields)
    return tuple(name for name, of in options if REQUIRED in of[field_behavior_pb2.field_behavior])


def _missing(resource: Message, path: str, names: Iterable[str]) -> list[Violation]:
    return [Violation(f"{path}.{n}", "is required") for n in names if not _is_set(resource, n)]


def _violations(request: Message) -> list[Violation]:
    too_long, malformed, has_structs = survey(request)
    # protovalidate looks at each item of a list that is too long, which takes minutes and GiB.
    if too_long:
        return [Violation(p, f"must contain no more than {limit} item(s)") for p, limit in too_long]
    outline = nesting.without_structs(request) if has_structs else request
    found = list(map(_violation, protovalidate.collect_violations(outline)))
    named = {each.subject for each in found}
    durations = (Violation(p, "must be a valid duration") for p in malformed if p not in named)
    return [*found, *durations]


def survey(request: Any) -> Survey:
    """What there is in a request and in all messages in it.

    If a list is too long, no more is looked at.
    """
    malformed: list[str] = []
    has_structs = False
    places: list[tuple[str, Any, nesting.Plan]] = [
        ("", request, nesting.plan_of(request.DESCRIPTOR))
    ]
    for prefix, message, here in places:  # which grows
        long = [(n, limit) for n, limit in here.lists if len(getattr(message, n)) > limit]
        if long:
            return Survey([(prefix + name, limit) for name, limit in long], (), has_structs=False)
        has_structs = has_structs or any(message.HasField(name) for name in here.structs)
        durations = (name for name in here.durations if message.HasField(name))
        malformed += [prefix + n for n in durations if not nesting.is_duration(getattr(message, n))]
        for name, is_list, plan in here.inner:
            if is_list:
                items = enumerate(getattr(message, name))
                places += [(f"{prefix}{name}[{number}].", each, plan) for number, each in items]
            elif message.HasField(name):
                places.append((f"{prefix}{name}.", getattr(message, name), plan))
    return Survey((), malformed, has_structs)


def _violation(violation: protovalidate.Violation) -> Violation:
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None and element.subscript.field == "index":
            path += f"[{element.subscript.value}]"
    if violation.proto.rule_id == "string.not_contains":  # its message would contain the character
        return Violation(path, "must not contain U+0000")
    return Violation(path, violation.proto.message)
