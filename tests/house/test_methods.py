"""Every method of the protos is implemented, and has a rule for its callers."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.api.field_behavior_pb2 import OUTPUT_ONLY, field_behavior
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.struct_pb2 import Struct

import agent_service.access
import task_service.access
from shared.resources.nesting import RULES
from tests.access.stage import DECLARED
from tests.house.resources import ROOT

SERVICES: dict[str, Any] = {
    m.containing_service.name: m.containing_service for m in DECLARED.values()
}
# Texts that no statement takes.
IN_PYTHON = {"page_token", "order_by", "update_mask.paths", "api_key"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_method_is_implemented(name: str) -> None:
    service = SERVICES[name]
    for path in ROOT.glob("*_service/**/servicer.py"):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    generated = importlib.import_module(service.file.name.replace("/", ".")[:-6] + "_pb2_grpc")
    (servicer,) = {*whole(base := getattr(generated, f"{name}Servicer"))}
    missing = {
        method.name
        for method in service.methods
        if getattr(servicer, method.name) is getattr(base, method.name)
    }
    assert not missing, f"The servicer of {service.full_name} has no {missing}."


def whole(base: type) -> Iterator[type]:
    """What inherits from a servicer and is no part of another."""
    parts: list[type] = base.__subclasses__()
    for part in parts:
        yield from whole(part)
    if not parts:
        yield base


def test_every_method_has_a_test_besides_those_of_all_methods() -> None:
    tests = "".join(path.read_text() for path in ROOT.glob("tests/*_service/**/test_*.py"))
    untested = {m.name for m in DECLARED.values() if not re.search(rf"\b{m.name}\b", tests)}
    assert not untested, f"No test in tests/agent_service or tests/task_service calls {untested}."


def test_every_method_has_its_rule_and_no_rule_is_left_over() -> None:
    rules = {**agent_service.access.ACCESS, **task_service.access.ACCESS}
    assert {*rules} == {f"/{name}" for name in DECLARED}, (
        "access.py of a service has to have a rule for each of its methods, and no other."
    )


@pytest.mark.parametrize("name", DECLARED)
def test_no_text_with_nul_reaches_the_database(name: str) -> None:
    """PostgreSQL cannot store U+0000, so a field without a rule against it ends in INTERNAL."""
    for path, field in every_field_of(DECLARED[name].input_type):
        rules = field.GetOptions().Extensions[RULES]
        text = rules.repeated.items.string if field.is_repeated else rules.string
        is_text = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
        if is_text and path not in IN_PYTHON and not is_output(field):
            assert text.uuid or text.pattern or "\0" in text.not_contains, (
                f'{field.full_name} in the proto needs the rule `not_contains: "\\000"`.'
            )


def every_field_of(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each field of a kind of message, and of the messages in it, by its path."""
    for field in kind.fields:
        path = prefix + field.name
        yield path, field
        if field.message_type and field.message_type is not Struct.DESCRIPTOR:
            yield from every_field_of(field.message_type, f"{path}.")


def is_output(field: FieldDescriptor) -> bool:
    return OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior]
