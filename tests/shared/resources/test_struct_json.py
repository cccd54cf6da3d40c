"""Structs become the JSON that json_format makes of them, and Structs again, within limits."""

import math
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import example, given
from hypothesis import strategies as st

from shared.resources.struct_json import (
    KIB,
    MAXIMUM_DEPTH,
    MAXIMUM_VALUES,
    StructError,
    from_struct,
    to_struct,
)

LIMIT = 64 * KIB
# Sizes of one and of more bytes, which begin at 128.
TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8")) | st.integers(100, 300).map(
    lambda size: "é" * size
)
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
    read = from_struct(value, 10**6)
    # As text, because 1 == 1.0 == True and 0.0 == -0.0.
    assert text(read) == text(MessageToDict(value))
    assert to_struct(read) == to_struct(content) == value


def test_an_empty_object_is_one() -> None:
    assert from_struct(Struct(), LIMIT) == {}
    assert to_struct({}) == Struct()


def test_values_without_a_kind_and_unknown_nulls_are_null() -> None:
    value = Struct(fields={"a": Value(), "b": Value(list_value=ListValue(values=[Value()]))})
    value.fields["c"].MergeFromString(b"\x08\xff\xff\xff\xff\x0f")
    assert from_struct(value, LIMIT) == MessageToDict(value) == {"a": None, "b": [None], "c": None}


@pytest.mark.parametrize(
    "unknown", [b"\x78\x01", b"\x7a\x00", b"\x79" + bytes(8), b"\x3d" + bytes(4), b"\x3b\x3c"]
)
def test_fields_that_no_struct_has_are_passed_over(unknown: bytes) -> None:
    value = built({"a": [1.5, "text", {"b": True}, None], "e": {}})
    items = value.fields["a"].list_value.values
    for part in (value, value.fields["a"], items[2], value.fields["e"]):
        part.MergeFromString(unknown)
    before = value.SerializeToString(deterministic=True)
    assert from_struct(value, LIMIT) == {"a": [1.5, "text", {"b": True}, None], "e": {}}
    assert value.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused(number: float) -> None:
    with pytest.raises(StructError, match="NaN or infinite"):
        from_struct(built({"a": [number]}), LIMIT)


@pytest.mark.parametrize("content", [{"a": ["\0"]}, {"\0": 1}, {"a": [{"b\0": 1}]}])
def test_the_character_that_postgresql_has_not_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(StructError, match=r"U\+0000"):
        from_struct(built(content), LIMIT)


@pytest.mark.parametrize("item", [[], {}, None, 0, "", True])
def test_values_are_counted_wherever_they_are(item: Any) -> None:
    # The list is a value itself.
    most = {"a": [item] * (MAXIMUM_VALUES - 1)}
    assert from_struct(built(most), 10**6) == most
    with pytest.raises(StructError, match="at most 10000 values"):
        from_struct(built({"a": [item] * MAXIMUM_VALUES}), 10**6)
    with pytest.raises(StructError, match="at most 10000 values"):
        from_struct(built({f"{n}": item for n in range(MAXIMUM_VALUES + 1)}), 10**6)


def test_levels_are_counted() -> None:
    deepest: Any = 1
    for _ in range(MAXIMUM_DEPTH - 1):
        deepest = [deepest]
    assert from_struct(built({"a": deepest}), LIMIT) == {"a": deepest}
    with pytest.raises(StructError, match="30 levels"):
        from_struct(built({"a": [deepest]}), LIMIT)


@pytest.mark.parametrize("number", [1.1234567890123456e-300, -1e-300, 1e300, -5e-324])
def test_digits_that_jsonb_writes_out_are_counted(number: float) -> None:
    numbers = [number] * 600
    assert built({"a": numbers}).ByteSize() < 8 * KIB
    with pytest.raises(StructError, match="at most 128 KiB as JSON"):
        from_struct(built({"a": numbers}), LIMIT)
    assert from_struct(built({"a": numbers[:350]}), LIMIT) == {"a": numbers[:350]}


def test_numbers_of_usual_sizes_are_kept_as_far_as_the_message_holds_them() -> None:
    numbers = [1.1234567890123456 * 1.001**n for n in range(5_500)]
    assert from_struct(built({"a": numbers}), LIMIT) == {"a": numbers}


def test_a_message_that_is_too_large_is_not_read() -> None:
    with pytest.raises(StructError, match="at most 64 KiB serialized"):
        from_struct(built({"a": "x" * LIMIT}), LIMIT)
