"""Nothing of a list is forgotten between its request, its parser and its statement."""

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_type_hints
from uuid import UUID

import pytest
from google.protobuf.descriptor import FieldDescriptor

from shared.errors import Refusal
from shared.resources.listing import Lister
from shared.resources.pagination import Pager, Query
from tests.house.resources import ROOT

PAGING = {"page_size", "page_token", "order_by", "include_total"}
# Pages of what belongs to one resource, in the one order that makes sense, without filters.
WITHOUT_ORDER = {"tandem.task.v1.ListAttemptsRequest"}
# Good for every text and for every id.
TEXT = str(UUID(int=1))
PAGER = Pager(b"key")


@dataclass(frozen=True)
class List:
    """A list: what parses its request, and its statements."""

    name: str
    parse: Callable[[Any, Pager], Query]
    request: Any
    lister: Lister

    def asked(self, **fields: Any) -> Query:
        """What a request with every filter, and these fields, is parsed to."""
        filters = [f for f in self.request.DESCRIPTOR.fields if f.name not in PAGING]
        return self.parse(self.request(**{f.name: value_of(f) for f in filters}, **fields), PAGER)


def lists() -> Iterator[List]:
    """Every Lister of a queries.py: LIST_THINGS is parsed by query_of_things in messages.py."""
    for path in sorted(ROOT.glob("*_service/*/queries.py")):
        package = f"{path.parent.parent.name}.{path.parent.name}"
        for name, value in vars(importlib.import_module(f"{package}.queries")).items():
            if isinstance(value, Lister):
                parser = name.lower().replace("list_", "query_of_").replace("list", "query")
                parse = getattr(importlib.import_module(f"{package}.messages"), parser)
                request: Any = get_type_hints(parse)["request"]
                yield List(request.DESCRIPTOR.full_name, parse, request, value)


LISTS = list(lists())
every_list = pytest.mark.parametrize("one", LISTS, ids=lambda one: one.name)


def test_every_list_is_found(comments: dict[str, str]) -> None:
    declared = {name.rpartition(".")[0] for name in comments if name.endswith(".page_token")}
    assert {one.name for one in LISTS} == declared - WITHOUT_ORDER


@every_list
def test_every_filter_is_parsed_and_applied(one: List) -> None:
    declared = {*one.request.DESCRIPTOR.fields_by_name} - PAGING
    parsed = {name for name, value in one.asked().filters.items() if value is not None}
    assert parsed == declared, f"{one.name} and what messages.py reads of it have other filters."
    assert {*one.lister.filters} == declared, f"{one.name} and queries.py have other filters."


@every_list
def test_every_order_is_parsed_and_described(one: List, comments: dict[str, str]) -> None:
    orders = {name.partition(" ")[0] for name in one.lister.orders}
    with pytest.raises(Refusal) as raised:
        one.asked(order_by="no order")
    offered = str(raised.value).partition("must be one of ")[2].partition(", with")[0]
    assert {*offered.split(", ")} == orders, (
        f"{one.name}: ORDERS of messages.py are not those of queries.py."
    )
    described = re.findall(r"`(\w+)`", comments[f"{one.name}.order_by"].partition(", optional")[0])
    assert {*described} == orders, f"{one.name}: the comment of order_by names other orders."


def value_of(field: FieldDescriptor) -> Any:
    """A value of a filter that lets not everything through."""
    if field.message_type:
        return {"seconds": 1}
    values = {
        FieldDescriptor.CPPTYPE_STRING: TEXT,
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_ENUM: 1,
    }
    value = values[field.cpp_type]
    return [value] if field.is_repeated else value
