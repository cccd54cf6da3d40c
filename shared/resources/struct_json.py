"""Between a Struct and the JSON that is kept of it.

The conversions are those of protobuf-py, on which protovalidate stands: it takes 1 µs for a value,
and json_format 2 to 5 µs.
"""

from typing import Any, TypeAlias, cast

import orjson
from google.protobuf.struct_pb2 import Struct
from protobuf import message_to_json_value
from protobuf.wkt import Struct as NativeStruct

Json: TypeAlias = Any
# Most clients read messages in messages 100 deep. A level of a Struct is up to three of them, and a
# list of rows lies deeper than the request that a Struct came in.
MAXIMUM_DEPTH = 30


def from_struct(value: Struct) -> dict[str, Json]:
    """The JSON of a Struct. Raises ValueError, whose text is the rule that the Struct breaks."""
    try:
        content = message_to_json_value(NativeStruct.from_binary(value.SerializeToString()))
    except ValueError:
        rule = "must not contain NaN, infinite numbers or values without a kind"
        raise ValueError(rule) from None
    _check(content, MAXIMUM_DEPTH)
    return cast(dict[str, Json], content)


def to_struct(value: bytes | Struct) -> Struct:
    """The Struct of the text of an object, if it is not read yet; numbers become doubles."""
    if isinstance(value, Struct):
        return value
    return Struct.FromString(NativeStruct.from_json(value).to_binary())


def to_struct_in_thread(text: bytes) -> Struct:
    """The same. It is built in Python, so that other threads go on."""
    value = Struct()
    value.update(orjson.loads(text))
    return value


def most_values(text: bytes, start: int = 0, end: int | None = None) -> int:
    """No fewer values than a (part of a) text has: each has a comma or a bracket before it."""
    return (
        text.count(b",", start, end) + text.count(b"[", start, end) + text.count(b"{", start, end)
    )


def _check(value: Json, levels: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("must not contain U+0000")
    elif isinstance(value, dict | list):
        if not levels:
            raise ValueError(f"must not be nested more than {MAXIMUM_DEPTH} levels deep")
        for item in value:
            _check(item, levels - 1)
        if isinstance(value, dict):
            for item in value.values():
                _check(item, levels - 1)
