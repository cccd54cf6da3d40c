"""Every method of the protos is implemented, and has a rule for its callers."""

import importlib
from typing import Any

import pytest

import agent_service.access
import task_service.access
from tests.access.stage import DECLARED
from tests.house.resources import ROOT

SERVICES: dict[str, Any] = {
    m.containing_service.name: m.containing_service for m in DECLARED.values()
}


@pytest.mark.parametrize("name", SERVICES)
def test_every_method_is_implemented(name: str) -> None:
    service = SERVICES[name]
    for path in ROOT.glob("*_service/*/servicer.py"):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    generated = importlib.import_module(service.file.name.replace("/", ".")[:-6] + "_pb2_grpc")
    (servicer,) = getattr(generated, f"{name}Servicer").__subclasses__() or (object,)
    missing = {method.name for method in service.methods} - {*vars(servicer)}
    assert not missing, f"The servicer of {service.full_name} has no {missing}."


def test_every_method_has_its_rule_and_no_rule_is_left_over() -> None:
    rules = {**agent_service.access.ACCESS, **task_service.access.ACCESS}
    assert {*rules} == {f"/{name}" for name in DECLARED}
