"""Between a Struct and the JSON that is kept of it, by the bytes of the wire.

json_format takes 5 to 8 µs for each value, because each look into a message makes Python objects.
The bytes are written and read natively, and these few fields are all that a Struct has:

    Struct     1: entries, each 1: key, 2: Value
    Value      1: null  2: number  3: string  4: bool  5: Struct  6: ListValue
    ListValue  1: Values
"""

from math import log10
from struct import Struct as Layout
from typing import Any, Final, TypeAlias

import orjson
from google.protobuf.struct_pb2 import Struct

Json: TypeAlias = Any
KIB = 1024
MAXIMUM_VALUES = 10_000
# Most clients read messages in messages 100 deep. A level of a Struct is up to three of them, and a
# list of rows lies deeper than the request that a Struct came in.
MAXIMUM_DEPTH = 30
# What PostgreSQL keeps may be larger than the message, but not by any factor.
STORED_FACTOR = 2
# Beyond these, JSON has an exponent, which jsonb writes out as digits.
SMALLEST, LARGEST = 1e-4, 1e16
LARGEST_DOUBLE = 1.7976931348623157e308
ITEM, KEY, VALUE = b"\x0a", b"\x0a", b"\x12"  # an entry is an item, too
NULL, NUMBER, STRING, BOOL, OBJECT, LIST = 0x08, 0x11, 0x1A, 0x20, 0x2A, 0x32
_double: Final = Layout("<d").unpack_from
_number: Final = Layout("<Bd").pack


class StructError(ValueError):
    """The Struct cannot be kept. The message is the rule that it breaks."""


class _UnknownFieldError(Exception):
    """The bytes have fields that no Struct has."""


def from_struct(value: Struct, limit: int) -> dict[str, Json]:
    """The JSON of a Struct of at most `limit` bytes. Raises StructError."""
    if value.ByteSize() > limit:
        raise StructError(f"must be at most {limit // KIB} KiB serialized")
    try:
        reader = _Reader(value.SerializeToString())
        content = reader.read()
    except _UnknownFieldError:
        known = Struct()
        known.CopyFrom(value)
        known.DiscardUnknownFields()
        reader = _Reader(known.SerializeToString())
        content = reader.read()
    text = orjson.dumps(content)
    if b"\\u0000" in text and _contains_nul(content):
        raise StructError("must not contain U+0000")
    if len(text) + reader.more_digits > limit * STORED_FACTOR:
        size = limit * STORED_FACTOR // KIB
        raise StructError(f"must be at most {size} KiB as JSON with all digits of its numbers")
    return content


def to_struct(content: dict[str, Json]) -> Struct:
    """The Struct of an object; numbers become doubles. Raises OverflowError for one too large."""
    return Struct.FromString(_entries(content))


class _Reader:
    """Reads the bytes of one Struct, no further than to the first rule that it breaks."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAXIMUM_VALUES
        self.more_digits = 0  # that jsonb has than JSON, about

    def read(self) -> dict[str, Json]:
        """The JSON."""
        return self._object(0, len(self._data), 1)

    def _object(self, at: int, end: int, depth: int) -> dict[str, Json]:
        _require_depth(depth)
        data, content, read = self._data, {}, self._value
        while at < end:
            if data[at] != 0x0A:
                raise _UnknownFieldError
            size, at = data[at + 1], at + 2
            if size > 0x7F:
                size, at = _varint(data, at - 1)
            behind = at + size
            if not size or data[at] != 0x0A:
                raise _UnknownFieldError
            size, at = data[at + 1], at + 2
            if size > 0x7F:
                size, at = _varint(data, at - 1)
            of_value = at + size
            if of_value >= behind or data[of_value] != 0x12:
                raise _UnknownFieldError
            content[data[at:of_value].decode()], at = read(of_value + 1, depth)
            if at != behind:
                raise _UnknownFieldError
        return content

    def _list(self, at: int, end: int, depth: int) -> list[Json]:
        _require_depth(depth)
        data, read = self._data, self._value
        content = []
        while at < end:
            if data[at] != 0x0A:
                raise _UnknownFieldError
            value, at = read(at + 1, depth)
            content.append(value)
        return content

    def _value(self, at: int, depth: int) -> tuple[Json, int]:
        """The Value whose size is at `at`, and the index behind it."""
        self._left -= 1
        if self._left < 0:
            raise StructError(f"must have at most {MAXIMUM_VALUES} values")
        data = self._data
        size, at = data[at], at + 1
        if size > 0x7F:
            size, at = _varint(data, at - 1)
        end = at + size
        if not size:
            return None, end
        kind = data[at]
        if kind == NUMBER:
            if size != 9:
                raise _UnknownFieldError
            (number,) = _double(data, at + 1)
            if not SMALLEST <= number < LARGEST:
                self._count_digits(number)
            return number, end
        if kind == STRING and data[at + 1] == size - 2:
            return data[at + 2 : end].decode(), end
        return self._other(kind, at + 1, end, depth), end

    def _other(self, kind: int, at: int, end: int, depth: int) -> Json:
        data = self._data
        if kind == BOOL and end == at + 1:
            return data[at] != 0
        if kind == NULL and _varint(data, at)[1] == end:
            return None
        if kind not in (STRING, OBJECT, LIST):
            raise _UnknownFieldError
        size, at = data[at], at + 1
        if size > 0x7F:
            size, at = _varint(data, at - 1)
        if at + size != end:
            raise _UnknownFieldError
        if kind == STRING:
            return data[at:end].decode()
        return (self._object if kind == OBJECT else self._list)(at, end, depth + 1)

    def _count_digits(self, number: float) -> None:
        size = abs(number)
        if not size <= LARGEST_DOUBLE:
            raise StructError("must not contain NaN or infinite numbers")
        if size and not SMALLEST <= size < LARGEST:
            self.more_digits += abs(int(log10(size)))


def _require_depth(depth: int) -> None:
    if depth > MAXIMUM_DEPTH:
        raise StructError(f"must not be nested more than {MAXIMUM_DEPTH} levels deep")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and the index behind it."""
    number = shift = 0
    while True:
        byte, at = data[at], at + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _entries(content: dict[str, Json]) -> bytes:
    parts: list[bytes] = []
    for key, value in content.items():
        name, kind = key.encode(), _value(value)
        name_size, size = _size(len(name)), _size(len(kind))
        entry_size = 2 + len(name_size) + len(name) + len(size) + len(kind)
        parts += ITEM, _size(entry_size), KEY, name_size, name, VALUE, size, kind
    return b"".join(parts)


def _items(content: list[Json]) -> bytes:
    parts: list[bytes] = []
    for item in content:
        kind = _value(item)
        parts += ITEM, _size(len(kind)), kind
    return b"".join(parts)


def _value(value: Json) -> bytes:
    """A Value without its size."""
    kind = type(value)
    if kind is float or kind is int:
        number: bytes = _number(NUMBER, value)
        return number
    if kind is str:
        text: bytes = value.encode()
        return b"\x1a" + _size(len(text)) + text
    if value is None:
        return b"\x08\x00"
    if kind is bool:
        return b"\x20\x01" if value else b"\x20\x00"
    if kind is dict:
        inner = _entries(value)
        return b"\x2a" + _size(len(inner)) + inner
    inner = _items(value)
    return b"\x32" + _size(len(inner)) + inner


def _size(number: int) -> bytes:
    return _SMALL[number] if number < 0x80 else _long_size(number)


def _long_size(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _contains_nul(value: Json) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _contains_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_contains_nul, value))


_SMALL: Final = [bytes([number]) for number in range(0x80)]
