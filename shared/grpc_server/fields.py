"""Counts the fields of a message before it is parsed, because very many of them take long.

4 MiB can be two million empty items: parsed, they take a hundred times their bytes, and each step
behind the parser walks them once more.
"""

import asyncio
from functools import cache
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor

from shared.errors import Reason, Refusal

# Of each of these, the parser and what follows take about a microsecond. In a Struct, an item of a
# list is two fields, and an entry of an object four: entry, key, value and kind.
MAXIMUM_FIELDS = 20_000
# Each has a tag and at least one byte more, so a smaller message cannot have too many.
UNCOUNTED_BYTES = 2 * MAXIMUM_FIELDS
MANY_FIELDS = 2_000  # other calls come in between before as many are parsed
PAUSE_SECONDS = 0.005
VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5

# A kind of message: by their tags, the kinds of the messages in it.
_Kind: TypeAlias = "dict[int, _Kind]"


async def require_few_fields(message: bytes, parse: Any) -> None:
    """Raise Refusal(INVALID_FIELD) if there are too many fields, at all levels, to be parsed.

    `parse` is the method FromString of its class. A malformed message is left to it: it reads no
    further than this does.
    """
    try:
        fields = _count(message, _kind(parse.__self__.DESCRIPTOR))
    except IndexError:
        fields = 0
    if fields > MAXIMUM_FIELDS:
        limit = f"{MAXIMUM_FIELDS} fields, counting those of all messages, items and entries"
        raise Refusal(Reason.INVALID_FIELD, f"The request has more than {limit} in it.")
    if fields > MANY_FIELDS:
        await asyncio.sleep(PAUSE_SECONDS)


def _count(data: bytes, kind: _Kind) -> int:
    """The fields, counted to the first that is too many.

    One loop, because a call for each field would take longer than all the rest.
    """
    at, end, fields = 0, len(data), 0
    around: list[tuple[int, _Kind]] = []
    while fields <= MAXIMUM_FIELDS:
        while at >= end:
            if not around:
                return fields
            at = end  # also if something in it would reach beyond
            end, kind = around.pop()
        fields += 1
        tag, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
        wire = tag & 7
        if wire == BYTES:
            size, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
            inner = kind.get(tag)
            if inner is None:
                at += size
            else:
                around.append((end, kind))
                end, kind = min(end, at + size), inner
        elif wire == VARINT:
            at = _varint(data, at)[1]
        elif wire in (DOUBLE, FLOAT):
            at += 8 if wire == DOUBLE else 4
    return fields


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
    if of.full_name not in known:
        kind = known[of.full_name] = {}
        for each in of.fields:
            if each.message_type:
                kind[each.number << 3 | BYTES] = _described(each.message_type, known)
    return known[of.full_name]
