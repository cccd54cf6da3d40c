"""Counts the fields in a message before it is parsed, so that parsing it takes little.

4 MiB can be two million empty items: parsed, they take seconds and a hundred times their bytes.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor

from shared.errors import invalid_field

# A Struct may have 10,000 values; an entry of it is four fields: entry, key, value, kind.
MAXIMUM_FIELDS = 50_000
# Each has a tag and at least one byte more, so a smaller message cannot have more of them.
UNCOUNTED_BYTES = 2 * MAXIMUM_FIELDS
VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5


@dataclass(slots=True)
class _Kind:
    """A kind of message: the names of its fields by their tags, which of them are lists in few
    bytes, and which are messages."""

    names: dict[int, str] = field(default_factory=dict)
    packed: set[int] = field(default_factory=set)
    messages: "dict[int, _Kind]" = field(default_factory=dict)


async def require_few_fields(message: bytes, parse: Any) -> None:
    """Raise Refusal(INVALID_FIELD) if there are too many fields, at all levels, to be parsed.

    `parse` is the method FromString of its class. A malformed message is left to it: it reads no
    further than this does.
    """
    try:
        path = _crowded(message, _kind(parse.__self__.DESCRIPTOR))
    except IndexError:
        path = None
    if path is not None:
        rule = f"makes more than {MAXIMUM_FIELDS} fields, items and entries of the request"
        raise invalid_field(path, rule)
    await asyncio.sleep(0)  # others have waited for this, and parsing comes next


def _crowded(data: bytes, kind: _Kind) -> str | None:  # noqa: C901
    """The path of the field of which there is one too many; None if there are not so many.

    It is one loop, because a call for each field would take longer than all the rest.
    """
    at, end, tag, left = 0, len(data), 0, MAXIMUM_FIELDS
    around: list[tuple[int, _Kind, int]] = []
    while True:
        if left < 0:
            return _path([*((of, its) for _, of, its in around), (kind, tag)])
        while at >= end:
            if not around:
                return None
            at = end  # also if something in it would reach beyond
            end, kind, tag = around.pop()
        left -= 1
        tag, at = data[at], at + 1
        if tag > 0x7F:
            tag, at = _varint(data, at - 1)
        wire = tag & 7
        if wire == BYTES:
            size, at = data[at], at + 1
            if size > 0x7F:
                size, at = _varint(data, at - 1)
            inner = kind.messages.get(tag)
            if inner is not None:
                around.append((end, kind, tag))
                end, kind, tag = min(end, at + size), inner, 0
            else:
                left -= size if tag in kind.packed else 0
                at += size
        elif wire == VARINT:
            while data[at] > 0x7F:
                at += 1
            at += 1
        elif wire in (DOUBLE, FLOAT):
            at += 8 if wire == DOUBLE else 4


def _path(fields: Iterable[tuple[_Kind, int]]) -> str:
    return ".".join(kind.names[tag] for kind, tag in fields if tag in kind.names)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and the index behind it."""
    number = shift = 0
    while True:
        byte, at = data[at], at + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


@cache
def _kind(of: Descriptor) -> _Kind:
    return _described(of, {})


def _described(of: Descriptor, known: dict[str, _Kind]) -> _Kind:
    """A Struct has Structs in it, so each kind is described once."""
    if of.full_name in known:
        return known[of.full_name]
    kind = known[of.full_name] = _Kind()
    for each in of.fields:
        tag = each.number << 3 | BYTES
        if of.file.package != "google.protobuf":  # in a Struct, the path ends
            kind.names |= {each.number << 3 | wire: each.name for wire in range(6)}
        if each.message_type:
            kind.messages[tag] = _described(each.message_type, known)
        elif each.is_packed:
            kind.packed.add(tag)
    return kind
