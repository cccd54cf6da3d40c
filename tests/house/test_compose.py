"""The container set-up, as far as it can be tested without a container engine."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from shared.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "tandem"}


def test_the_parts_start_one_after_the_other() -> None:
    assert waits_for("migrate") == {"database": "service_healthy"}
    assert waits_for("agents") == {"migrate": "service_completed_successfully"}
    assert waits_for("tasks") == {"agents": "service_healthy"}


def test_every_setting_that_is_passed_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    assert {name for service in OURS.values() for name in service["environment"]} <= known


def test_no_secret_has_a_default() -> None:
    substituted = re.findall(r"\$\{(\w+)(.?.?)", (ROOT / "docker-compose.yml").read_text())
    assert {name for name, _ in substituted} == {"POSTGRES_PASSWORD", "TANDEM_JWT_SECRET"}
    assert {operator for _, operator in substituted} == {":?"}


def test_only_the_services_are_reachable_and_from_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"agents": ["127.0.0.1:50051:50051"], "tasks": ["127.0.0.1:50052:50052"]}


def test_the_image_does_not_run_as_root_and_checks_every_hash() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", dockerfile, re.MULTILINE)
    steps = re.split(r"&&|\nRUN ", dockerfile)
    installs = [step for step in steps if "--requirement" in step]
    assert len(installs) == 2
    assert all("--require-hashes" in step for step in installs)


def test_the_image_gets_every_package_of_the_project() -> None:
    packages = re.search(r"^packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.M)
    assert packages
    sent = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert {*re.findall(r'"(\w+)"', packages[1]), "tandem", "clients/python"} <= sent


@pytest.mark.parametrize("service", ["agents", "tasks"])
@pytest.mark.parametrize(("status", "healthy"), [("SERVING", True), ("NOT_SERVING", False)])
async def test_a_health_check_believes_the_service(
    service: str, status: str, healthy: bool
) -> None:
    server, port = await serve(status)
    kind, command = SERVICES[service]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    try:
        assert await runs(re.sub(r":5005\d/", f":{port}/", command)) is healthy
    finally:
        await server.stop(None)


def waits_for(service: str) -> dict[str, str]:
    waiting = SERVICES[service]["depends_on"].items()
    return {other: state["condition"] for other, state in waiting}


async def serve(status: str) -> tuple[grpc.aio.Server, int]:
    server, servicer = grpc.aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection([health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    await servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def runs(command: str) -> bool:
    """Run a shell command with the tools of the virtual environment, as the image does."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_shell(command, env={**os.environ, "PATH": path})
    return await process.wait() == 0
