"""Values that no field may have, derived from the protos: a new field is covered by itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, nan
from typing import Any, TypeAlias

from google.api.field_behavior_pb2 import OUTPUT_ONLY, field_behavior
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from shared.resources.nesting import RULES

# The highest limits of a Struct in the protos.
BYTES, LEVELS = 1024 * 1024, 30
# A text, and the bytes that take its place in a message: lone surrogates, which are no text.
MARK, SURROGATES = "lone surrogates", b"\xed\xa0\x80" * 5
INT32, INT64 = FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64
TEXT, ENUM = FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_ENUM
BITS = {INT32: 31, INT64: 63}
DURATIONS = [(2**62, 0), (-(2**62), 0), (-1, 0), (0, -1), (1, 10**9), (1, -1), (315576000001, 0)]
TIMES = [(253402300800, 0), (-62135596801, 0), (2**62, 0), (-(2**62), 0), (0, -1), (0, 10**9)]

Find: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Hostile:
    """A value, the path of its field as a refusal names it, and what gives it to a request."""

    path: str
    value: Any
    put: Callable[[Any], None]


def wrong(request: Message) -> Iterator[Hostile]:
    """Every wrong value for each field of a request, of the messages and of the first items in it.

    `request` is one with the items. What only services set is left out.
    """
    for path, field, of in _fields(request):
        for value in _values(field):
            yield Hostile(path, value, _putting(of, field, value))


def texts(request: Message) -> Iterator[Hostile]:
    """For each field that can have text in it, MARK in its place."""
    for path, field, of in _fields(request):
        if field.message_type is Struct.DESCRIPTOR:
            for content in ({"a": MARK}, {MARK: 1}):
                yield Hostile(path, content, _putting(of, field, struct(content)))
        elif field.cpp_type == TEXT:
            yield Hostile(path, MARK, _putting(of, field, [MARK] if field.is_repeated else MARK))


def extremes(request: Message) -> Iterator[Hostile]:
    """The highest numbers, and the first and last times, which may be allowed."""
    for path, field, of in _fields(request):
        if field.cpp_type in BITS and not field.is_repeated:
            value = 2 ** BITS[field.cpp_type] - 1
            yield Hostile(path, value, _putting(of, field, value))
        elif field.message_type is Timestamp.DESCRIPTOR:
            for seconds, _ in TIMES[:2]:
                inside = seconds - 1 if seconds > 0 else seconds + 1
                yield Hostile(path, inside, _putting(of, field, Timestamp(seconds=inside)))


def struct(content: dict[str, Any]) -> Struct:
    """A Struct with this content."""
    found = Struct()
    found.update(content)
    return found


def _fields(request: Message) -> Iterator[tuple[str, FieldDescriptor, Find]]:
    """Each field: its path, itself, and what finds the message that it is in."""
    yield from _fields_of(request.DESCRIPTOR, lambda it: it, "", request)


def _fields_of(
    kind: Any, of: Find, prefix: str, example: Any
) -> Iterator[tuple[str, FieldDescriptor, Find]]:
    for field in kind.fields:
        if OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior]:
            continue
        yield prefix + field.name, field, of
        nested = field.message_type
        if not nested or nested.file.package == "google.protobuf":
            continue
        inner = getattr(example, field.name)
        if not field.is_repeated:
            path = f"{prefix}{field.name}."
            yield from _fields_of(nested, _member(of, field.name), path, inner)
        else:
            assert inner, f"the request of the table needs an item in {prefix}{field.name}"
            path = f"{prefix}{field.name}[0]."
            yield from _fields_of(nested, _first(of, field.name), path, inner[0])


def _member(of: Find, name: str) -> Find:
    return lambda request: getattr(of(request), name)


def _first(of: Find, name: str) -> Find:
    return lambda request: getattr(of(request), name)[0]


def _putting(of: Find, field: FieldDescriptor, value: Any) -> Callable[[Any], None]:
    def put(request: Any) -> None:
        message = of(request)
        message.ClearField(field.name)
        if field.is_repeated:
            getattr(message, field.name).extend(value)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)

    return put


def _values(field: FieldDescriptor) -> Iterator[Any]:
    rules = field.GetOptions().Extensions[RULES]
    if not field.is_repeated:
        yield from _messages(field.message_type) if field.message_type else _scalars(field, rules)
        return
    some = GetMessageClass(field.message_type)() if field.message_type else _some(field, rules)
    if limit := rules.repeated.max_items:
        yield [some] * (limit + 1)
    if rules.repeated.unique:
        yield [some] * 2
    if not field.message_type:
        yield from ([value] for value in _scalars(field, rules.repeated.items))


def _some(field: FieldDescriptor, rules: Any) -> Any:
    is_id = rules.repeated.items.string.uuid
    text = "00000000-0000-0000-0000-000000000000" if is_id else "x"
    return text if field.cpp_type == TEXT else 1


def _messages(kind: Any) -> Iterator[Message]:
    if kind is Struct.DESCRIPTOR:
        yield from _structs()
    elif kind is Duration.DESCRIPTOR:
        yield from (Duration(seconds=seconds, nanos=nanos) for seconds, nanos in DURATIONS)
    elif kind is Timestamp.DESCRIPTOR:
        yield from (Timestamp(seconds=seconds, nanos=nanos) for seconds, nanos in TIMES)
    elif kind is FieldMask.DESCRIPTOR:
        yield from (FieldMask(paths=[path]) for path in ("nonsense", "\0", "*,*"))


def _structs() -> Iterator[Struct]:
    deep: Any = 1
    for _ in range(LEVELS + 1):
        deep = [deep]
    for value in ([nan], {"b": inf}, "\0", {"\0": 1}, deep, "x" * BYTES):
        yield struct({"a": value})
    for of_no_kind in (Value(), Value(list_value=ListValue(values=[Value()]))):
        yield Struct(fields={"a": of_no_kind})


def _scalars(field: FieldDescriptor, rules: Any) -> Iterator[Any]:
    if field.cpp_type == TEXT:
        yield "\0"
        if rules.string.uuid:
            yield from ("x", "0" * 32, "0" * 36)
        if rules.string.max_len:
            yield "x" * (rules.string.max_len + 1)
    elif field.cpp_type == ENUM:
        yield from (-1, 99, 2**31 - 1, -(2**31))
    elif field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        yield from (nan, inf, -inf, -1.0)
    elif field.cpp_type in BITS:
        yield from (-1, -(2 ** BITS[field.cpp_type]))
