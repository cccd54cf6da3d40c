"""Messages out of rows, in steps that are short for the calls that wait meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from shared.resources.struct_json import most_values, to_struct, to_struct_in_thread

T = TypeVar("T")
M = TypeVar("M", bound=Message)
M_contra = TypeVar("M_contra", bound=Message, contravariant=True)

# What a value in a Struct counts for at least: many small ones take longer than their bytes.
VALUE_BYTES = 16
SMALL_BYTES = 256  # their values are not counted: so few make no page long to build
# JSON with more values, or bytes, is read in a step of its own, and its bytes counted in some.
MANY_VALUES = 2_000
MANY_BYTES = 1024 * 1024
COUNTED_BYTES = 4 * MANY_BYTES
# More values are read in a thread. No request can bring as many; an older row may have them.
LARGE_VALUES = 25_000
# After so long it is the turn of other calls, for as long: each takes several steps.
TURN_SECONDS = 0.005


class Row(Protocol):
    """The columns of a row, JSON as its text or, once it is read, as a Struct."""

    def __getitem__(self, name: str, /) -> Any: ...
    def items(self) -> Iterable[tuple[str, Any]]: ...


class Messages(Protocol[M_contra]):
    """A repeated field."""

    def append(self, message: M_contra, /) -> None: ...
    def __len__(self) -> int: ...


async def build(row: Row, message: Callable[[Row], M]) -> M:
    """The message of a row. Other calls go on while large JSON is read."""
    built, _ = await _build(row, message)
    return built


async def build_all(
    rows: Iterable[Row], message: Callable[[Row], M]
) -> AsyncIterator[tuple[M, int]]:
    """The messages of rows, and what each counts for. Other calls go on between large ones."""
    began = time.monotonic()
    for row in rows:
        built, values = await _build(row, message)
        yield built, max(built.ByteSize(), VALUE_BYTES * values)
        if time.monotonic() - began > TURN_SECONDS:
            await asyncio.sleep(TURN_SECONDS)
            began = time.monotonic()


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Items of which each takes a moment. Other calls go on between them."""
    began = time.monotonic()
    for each in items:
        yield each
        if time.monotonic() - began > TURN_SECONDS:
            await asyncio.sleep(TURN_SECONDS)
            began = time.monotonic()


async def _build(row: Row, message: Callable[[Row], M]) -> tuple[M, int]:
    """The message of a row, and at least the values in its JSON that is not small."""
    values, read = 0, {}
    for name, value in row.items():
        if type(value) is bytes and len(value) > SMALL_BYTES:
            is_long = len(value) > MANY_BYTES
            values += (most := await _count(value) if is_long else most_values(value))
            if most > MANY_VALUES or is_long:
                read[name] = await _read(value, most)
    built = message({**dict(row.items()), **read} if read else row)
    if values > LARGE_VALUES:  # to copy or to serialize it takes as long again
        await asyncio.sleep(TURN_SECONDS)
    return built, values


async def _count(text: bytes) -> int:
    """At least the values in long JSON."""
    values = 0
    for start in range(0, len(text), COUNTED_BYTES):
        values += most_values(text, start, start + COUNTED_BYTES)
        await asyncio.sleep(TURN_SECONDS)
    return values


async def _read(text: bytes, values: int) -> Any:
    """The Struct of JSON that is large."""
    await asyncio.sleep(TURN_SECONDS)
    if values > LARGE_VALUES:
        return await asyncio.to_thread(to_struct_in_thread, text)
    value = to_struct(text)
    await asyncio.sleep(TURN_SECONDS)
    return value
