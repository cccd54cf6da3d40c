"""Pages: sizes, orders, and tokens that only their own list and key can read."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reason, Refusal
from shared.resources.pagination import Order, Pager, instant, parse_order

ORDERS = ("created_at", "name")
PAGER = Pager(b"key")


@dataclass
class ListThings:
    """What a List request has."""

    page_size: int = 0
    page_token: str = ""
    order_by: str = ""
    include_total: bool = False


class ListOthers(ListThings):
    """The same of another list."""


def token(key: object, row_id: UUID, filters: dict[str, Any], pager: Pager = PAGER) -> str:
    page = pager.read(ListThings(order_by="name"), filters, ORDERS, {})
    row: Any = {"page_key": key, "id": row_id}
    return pager.token(page, filters, row)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("name", Order("name", False)),
        ("name asc", Order("name", False)),
        ("  name   desc ", Order("name", True)),
        ("created_at desc", Order("created_at", True)),
    ],
)
def test_orders(text: str, order: Order) -> None:
    assert parse_order(text, ORDERS) == order


@pytest.mark.parametrize("text", ["", "id", "name,", "name desc desc", "name\tdesc", "desc name"])
def test_no_orders(text: str) -> None:
    with pytest.raises(Refusal) as raised:
        parse_order(text, ORDERS)
    assert raised.value.reason is Reason.INVALID_ORDER_BY


@given(st.text(max_size=255), st.uuids())
def test_a_token_brings_back_its_key(key: str, row_id: UUID) -> None:
    filters = {"project_id": row_id, "none": None}
    asked = ListThings(order_by="name", page_token=token(key, row_id, filters))
    assert PAGER.read(asked, filters, ORDERS, {}).after == (key, row_id)


@given(st.datetimes(min_value=datetime(1, 1, 1), timezones=st.just(UTC)))
def test_a_token_keeps_a_time_to_the_microsecond(key: datetime) -> None:
    asked = ListThings(order_by="name", page_token=token(key, UUID(int=1), {}))
    assert PAGER.read(asked, {}, ORDERS, {"name": instant}).after == (key, UUID(int=1))


@pytest.mark.parametrize(
    ("asked", "filters", "pager"),
    [
        (ListThings(order_by="name desc"), {"a": 1}, PAGER),
        (ListThings(order_by="created_at"), {"a": 1}, PAGER),
        (ListThings(order_by="name"), {"a": 2}, PAGER),
        (ListThings(order_by="name"), {"b": 1}, PAGER),
        (ListThings(order_by="name"), {}, PAGER),
        (ListOthers(order_by="name"), {"a": 1}, PAGER),
        (ListThings(order_by="name"), {"a": 1}, Pager(b"another key")),
    ],
)
def test_a_token_fits_nothing_else(
    asked: ListThings, filters: dict[str, Any], pager: Pager
) -> None:
    asked.page_token = token("key", UUID(int=1), {"a": 1})
    with pytest.raises(Refusal) as raised:
        pager.read(asked, filters, ORDERS, {})
    assert raised.value.reason is Reason.INVALID_PAGE_TOKEN


@given(st.text(max_size=300))
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(Refusal) as raised:
        PAGER.read(ListThings(page_token=text or "x"), {}, ORDERS, {})
    assert raised.value.reason is Reason.INVALID_PAGE_TOKEN


@pytest.mark.parametrize(("asked", "got"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000)])
def test_sizes(asked: int, got: int) -> None:
    assert PAGER.read(ListThings(page_size=asked), {}, ORDERS, {}).size == got
