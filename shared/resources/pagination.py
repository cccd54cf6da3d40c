"""Pages by key: the last row's key says where the next page begins, never an offset."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import orjson

from shared.database.pool import Record
from shared.errors import Reason, Refusal, Violation
from shared.resources.building import M, Messages, Row, build_all

DEFAULT_PAGE_SIZE = 50
MAXIMUM_PAGE_SIZE = 1000
# Clients take messages of 4 MiB by default; a page ends before it is larger than that.
PAGE_BYTES = 3 * 1024 * 1024
DIGEST_BYTES = 16


class ListRequest(Protocol):
    """What every List request has besides its filters."""

    page_size: int
    page_token: str
    order_by: str
    include_total: bool


@dataclass(frozen=True, slots=True)
class Order:
    """A field to order by, and the direction. Rows with the same value are ordered by id."""

    field: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows are asked for: `size` at most, in `order`, behind the row with the key `after`.

    `list` names the list, because others may have the same filters and orders.
    """

    list: str
    size: int
    order: Order
    after: tuple[Any, UUID] | None
    include_total: bool


@dataclass(frozen=True, slots=True)
class Query:
    """What a list is asked for. A filter that is None filters nothing."""

    filters: Mapping[str, Any]
    page: Page


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list has found: one row more than its page if more follow.

    `truncated`: more follow, but were not fetched, because these are more than a page holds.
    """

    query: Query
    rows: list[Record]
    total: int | None
    truncated: bool


class Pager:
    """Reads and writes the page tokens of the lists of one service.

    A token is signed together with what the list was asked for, so that it fits that list only. Its
    key is one that every process of a service shares.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"tandem page token" + key).digest()

    def read(
        self,
        request: ListRequest,
        filters: Mapping[str, Any],
        orders: Sequence[str],
        parse: Mapping[str, Callable[[Any], Any]],
        default: str = "created_at desc",
    ) -> Page:
        """The page that a request asks for. `orders` are the fields to order by.

        `parse` makes the key of an order out of its JSON, if that is not the key itself.
        Raises Refusal(INVALID_ORDER_BY) and Refusal(INVALID_PAGE_TOKEN).
        """
        name = type(request).__name__
        order = parse_order(request.order_by or default, orders)
        after = None
        if request.page_token:
            value, row_id = self._open(request.page_token, self._context(name, filters, order))
            after = (parse.get(order.field, _itself)(value), UUID(row_id))
        size = min(request.page_size, MAXIMUM_PAGE_SIZE) or DEFAULT_PAGE_SIZE
        return Page(name, size, order, after, request.include_total)

    def token(self, page: Page, filters: Mapping[str, Any], row: Record) -> str:
        """The token of the page that begins behind `row`."""
        key = orjson.dumps([row["page_key"], row["id"]], default=str)
        digest = self._digest(self._context(page.list, filters, page.order), key)
        return _encode(digest + key)

    async def fit(self, found: Listing, message: Callable[[Row], M], page: Messages[M]) -> str:
        """Append the messages of a page, and return the next page's token, empty without one.

        `page` is the field of the response, because to copy many messages takes long.
        """
        asked, rows = found.query.page, found.rows
        left = PAGE_BYTES
        async for each, size in build_all(rows[: asked.size], message):
            left -= size
            if left < 0 and page:
                break
            page.append(each)
        if len(page) == len(rows) and not found.truncated:
            return ""
        return self.token(asked, found.query.filters, rows[len(page) - 1])

    def _open(self, token: str, context: bytes) -> tuple[Any, str]:
        try:
            data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            data = b""
        digest, key = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        signed = hmac.compare_digest(digest, self._digest(context, key))
        if not signed or token != _encode(data):  # base64 has many spellings, a token has one
            raise Refusal(
                Reason.INVALID_PAGE_TOKEN,
                "The page_token was not given by this list with these filters and this order.",
                fields=[Violation("page_token", "must be one that this very list has given")],
            )
        value, row_id = orjson.loads(key)
        return value, row_id

    def _context(self, name: str, filters: Mapping[str, Any], order: Order) -> bytes:
        said = {name: value for name, value in filters.items() if value is not None}
        return orjson.dumps([name, order, said], default=str, option=orjson.OPT_SORT_KEYS)

    def _digest(self, context: bytes, key: bytes) -> bytes:
        size = len(context).to_bytes(8, "big")
        return hmac.digest(self._key, size + context + key, "sha256")[:DIGEST_BYTES]


def parse_order(order_by: str, orders: Sequence[str]) -> Order:
    """`field` or `field desc` (or `asc`), with one of the fields in `orders`.

    Raises Refusal(INVALID_ORDER_BY).
    """
    field, _, direction = order_by.strip().partition(" ")
    if field not in orders or direction.strip() not in ("", "asc", "desc"):
        allowed = f"must be one of {', '.join(orders)}, with or without desc"
        raise Refusal(
            Reason.INVALID_ORDER_BY,
            f"order_by {allowed}.",
            fields=[Violation("order_by", allowed)],
        )
    return Order(field, direction.strip() == "desc")


def instant(value: str) -> datetime:
    """The key of an order by time."""
    return datetime.fromisoformat(value)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _itself(value: Any) -> Any:
    return value
