"""Puts the events that a response has together: whole transactions, about RESPONSE_BYTES of them.

An event is serialized once for all who watch. A response is the bytes of its events, and behind
them those of its other fields, which is how protobuf has it, too.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from task_service.events.selection import Facts

RESPONSE_BYTES = 256 * 1024
# A transaction with more events, or RESPONSE_BYTES, is cut.
BATCH_EVENTS = 1000
REPEATED_FIELD_1 = b"\x0a"


class Entry(NamedTuple):
    """An event of the log: what filters look at, and its bytes as an item of a response."""

    sequence: int
    batch: int
    facts: Facts
    item: bytes


class Position(NamedTuple):
    """How far a watch is: all up to `sent` was looked at, and what matches was sent.

    `through` is where to resume: within a transaction it is the number before that.
    """

    sent: int
    through: int
    is_within: bool = False


class Piece(NamedTuple):
    """The events of a response, which may be none, and the position behind them."""

    items: bytes
    position: Position


# The other fields of a response: `through`, and whether the transaction goes on.
Tail = Callable[[int, bool], bytes]


def item(event: bytes) -> bytes:
    """A serialized event as an item of a response."""
    return REPEATED_FIELD_1 + _varint(len(event)) + event


def assemble(matching: Sequence[Entry], whole: int, at: Position) -> Piece:
    """The next response, out of the events after `at` that match; up to `whole` there are all.

    `whole` ends a transaction. The piece without items says that nothing matches up to there.
    """
    taken: list[bytes] = []
    size, start = 0, 0
    while start < len(matching):
        batch = matching[start].batch
        end, weight = _batch(matching, start)
        is_large = (weight > RESPONSE_BYTES and end - start > 1) or end - start > BATCH_EVENTS
        if taken and (is_large or size + weight > RESPONSE_BYTES):
            return Piece(b"".join(taken), Position(batch - 1, batch - 1))
        if is_large:
            return _cut(matching[start:end], at)
        taken += [entry.item for entry in matching[start:end]]
        size, start = size + weight, end
    return Piece(b"".join(taken), Position(whole, whole))


def assemble_within(matching: Sequence[Entry], read: int, at: Position) -> Piece:
    """A part of a transaction, of which the events up to `read` are known."""
    if not matching:
        return Piece(b"", Position(read, at.through, at.is_within))
    through = max(at.through, matching[0].batch - 1)
    items = b"".join(entry.item for entry in matching)
    return Piece(items, Position(read, through, is_within=True))


def _batch(matching: Sequence[Entry], start: int) -> tuple[int, int]:
    """Where the transaction ends that begins there, and how many bytes its events have."""
    batch, end, weight = matching[start].batch, start, 0
    while end < len(matching) and matching[end].batch == batch:
        weight += len(matching[end].item)
        end += 1
    return end, weight


def _cut(batch: Sequence[Entry], at: Position) -> Piece:
    """The first part of a transaction that is too large."""
    taken: list[bytes] = []
    size = 0
    for entry in batch[:BATCH_EVENTS]:
        if taken and size + len(entry.item) > RESPONSE_BYTES:
            break
        taken.append(entry.item)
        size += len(entry.item)
    last = batch[len(taken) - 1]
    through = max(at.through, last.batch - 1)
    return Piece(b"".join(taken), Position(last.sequence, through, is_within=True))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
