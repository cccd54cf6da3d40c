"""Structs become the JSON that json_format makes of them, and Structs again."""

import math
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import example, given
from hypothesis import strategies as st

from shared.resources.struct_json import MAXIMUM_DEPTH, from_struct, to_struct

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=40,
)


def built(content: dict[str, Any]) -> Struct:
    """The Struct that protobuf itself makes of an object."""
    value = Struct()
    value.update(content)
    return value


def text(content: dict[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


@given(st.dictionaries(TEXT, JSON, max_size=5))
@example({"": "", "-0": -0.0, "least": 5e-324, "most": 1.7976931348623157e308})
@example({"no U+0000": "\\u0000", "\\u0000": [{}, []]})
def test_both_ways_agree_with_json_format(content: dict[str, Any]) -> None:
    value = built(content)
    read = from_struct(value)
    # As text, because 1 == 1.0 == True and 0.0 == -0.0.
    assert text(read) == text(MessageToDict(value))
    assert to_struct(text(read)) == to_struct(text(content)) == value


def test_numbers_are_read_as_jsonb_writes_them_out() -> None:
    assert to_struct(b'{"a": 0.%s11234567890123456}' % (b"0" * 299)) == built(
        {"a": 1.1234567890123456e-300}
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="NaN, infinite numbers"):
        from_struct(built({"a": [number]}))


def test_values_without_a_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="values without a kind"):
        from_struct(Struct(fields={"a": Value()}))


@pytest.mark.parametrize("content", [{"a": ["\0"]}, {"\0": 1}, {"a": [{"b\0": 1}]}])
def test_the_character_that_postgresql_has_not_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"U\+0000"):
        from_struct(built(content))


def test_levels_are_counted() -> None:
    deepest: Any = 1
    for _ in range(MAXIMUM_DEPTH - 1):
        deepest = [deepest]
    assert from_struct(built({"a": deepest})) == {"a": deepest}
    with pytest.raises(ValueError, match="30 levels"):
        from_struct(built({"a": [deepest]}))
