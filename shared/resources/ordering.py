"""Orders: a key and the id say where a row stands, and an index has the rows in that order."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, bindparam, literal, true, tuple_

EVERYTHING: ColumnElement[bool] = true()


def _itself(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Part:
    """Rows that follow each other in an order: those with the condition `where`, by `key` and id.

    An index has the `key`. A page token has the `page_key`, of which `bound` makes a key again. If
    all rows have the same page key, that is `only`, and their ids alone say where they stand. If
    the key `is_unique` in each project, an index of both is in order without the id.
    """

    key: ColumnElement[Any]
    page_key: ColumnElement[Any]
    where: ColumnElement[bool] = EVERYTHING
    bound: Callable[[Any], Any] = _itself
    only: int | None = None
    is_unique: bool = False


# An order is made of parts, one behind the other: an index has NULLs at one end only, and there are
# orders in both directions that have them last.
Parts: TypeAlias = Sequence[Part]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page goes on: in a part of an order, behind the row with a page key and an id."""

    part: int
    after: tuple[Any, UUID] | None = None


def by(key: ColumnElement[Any]) -> Parts:
    """The order by a column that is never NULL."""
    return (Part(key, key),)


def by_unique(key: ColumnElement[Any]) -> Parts:
    """The order by a column that is never NULL, and unique in each project."""
    return (Part(key, key, is_unique=True),)


def last(where: ColumnElement[bool], key: ColumnElement[Any], only: int) -> Part:
    """The rows that come last, because they have nothing to order by."""
    return Part(key, literal(only), where, only=only)


def position_of(parts: Parts, after: tuple[Any, UUID] | None) -> Position:
    """Where an order goes on behind the row with this page key and id."""
    if after is not None and after[0] == parts[-1].only:
        return Position(len(parts) - 1, after)
    return Position(0, after)


def behind(part: Part, row_id: ColumnElement[Any], *, descending: bool) -> ColumnElement[bool]:
    """The rows of a part behind the parameters `after_key` and `after_id`."""
    after_id: ColumnElement[Any] = bindparam("after_id", type_=Uuid)
    if part.only is not None:
        return row_id < after_id if descending else row_id > after_id
    here = tuple_(part.key, row_id)
    after = tuple_(bindparam("after_key", type_=part.key.type), after_id)
    return here < after if descending else here > after


def parameters(part: Part, after: tuple[Any, UUID] | None) -> dict[str, Any]:
    """What `behind` needs to know; nothing if the part is read from its beginning."""
    if after is None:
        return {}
    key = {"after_key": part.bound(after[0])} if part.only is None else {}
    return {**key, "after_id": after[1]}


def in_order(by: Iterable[ColumnElement[Any]], *, descending: bool) -> list[ColumnElement[Any]]:
    """What ORDER BY says."""
    return [column.desc() if descending else column.asc() for column in by]
