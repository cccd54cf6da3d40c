"""The client knows every method of the protos: what is added to them has to be added here, too."""

import importlib
from collections.abc import Callable
from typing import Any, get_args, get_overloads, get_type_hints

import pytest

from tandem_client import Pages, connect
from tests.client.fake import Services
from tests.client.test_generated_code import MODULES

SERVICES = [
    service
    for module in map(importlib.import_module, MODULES)
    if hasattr(module, "DESCRIPTOR")
    for service in module.DESCRIPTOR.services_by_name.values()
]
METHODS = [method for service in SERVICES for method in service.methods]
READS = (
    "Get",
    "List",
    "Lookup",
    "BatchGet",
    "Count",
    "Verify",
    "Validate",
    "WhoAmI",
    "ExchangeApiKey",
    "Wait",
    "Heartbeat",
    "Watch",
)


def test_every_service_has_a_stub(services: Services) -> None:
    assert {f"{service.name}Stub" for service in SERVICES} == stubs_of(services.client())


async def test_every_service_has_a_stub_in_the_asynchronous_client() -> None:
    async with connect() as tandem:
        assert {f"{service.name}Stub" for service in SERVICES} == stubs_of(tandem)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_can_be_repeated(method: Any) -> None:
    """A read changes nothing, a change has a request id; the client knows one stream."""
    assert not method.client_streaming
    assert method.server_streaming == (method.name == "WatchEvents")
    is_read = method.name.startswith(READS)
    assert is_read != ("request_id" in method.input_type.fields_by_name), (
        f"{method.input_type.name} needs a request_id if {method.name} changes something; if it "
        "only reads, add the verb to READS."
    )


def test_the_type_of_the_rows_is_known_for_every_list() -> None:
    lists = [m for m in METHODS if "page_size" in m.input_type.fields_by_name]
    assert len(lists) >= 6
    assert sorted(map(typed, get_overloads(Pages.__init__))) == sorted(map(described, lists))


def stubs_of(client: object) -> set[str]:
    names = {type(value).__name__ for value in vars(client).values()}
    return {name for name in names if name.endswith("Stub")}


def typed(overload: Callable[..., Any]) -> tuple[str, ...]:
    """The full names of the request, the page and the row that an overload is about."""
    hints = get_type_hints(overload)
    (row,) = get_args(hints["self"])
    (request,), answer = get_args(hints["method"])
    assert request is hints["request"]
    page = next(kind for kind in get_args(answer) if hasattr(kind, "DESCRIPTOR"))
    return tuple(kind.DESCRIPTOR.full_name for kind in (request, page, row))


def described(method: Any) -> tuple[str, ...]:
    """The same, of a method."""
    (rows,) = (field for field in method.output_type.fields if field.is_repeated)
    kinds = (method.input_type, method.output_type, rows.message_type)
    return tuple(kind.full_name for kind in kinds)
