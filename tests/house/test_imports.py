"""Which modules may import which: the contracts hold, and each catches a planted import."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "importlinter.toml"
OPTIONS = tomllib.loads(CONTRACTS.read_text())["tool"]["importlinter"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [linter, CONTRACTS, "--no-logo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )


def name_of(contract: str) -> str:
    """The name that a report shows."""
    name: str = next(one["name"] for one in OPTIONS["contracts"] if one["id"] == contract)
    return name


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, in which a test can plant something."""
    folder = tmp_path_factory.mktemp("code")
    ignored = shutil.ignore_patterns("__pycache__")
    for package in OPTIONS["root_packages"]:
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


def test_the_contracts_hold(copy: Path) -> None:
    found = lint(copy)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


@pytest.mark.parametrize(
    ("contract", "file", "planted"),
    [
        ("house", "shared/resources/pagination.py", "from task_service.tasks import rules"),
        ("house", "shared/service.py", "import local.embedded_postgres"),
        ("house", "task_service/tasks/rules.py", "import agent_service.agents.rules"),
        ("house", "agent_service/__main__.py", "def f():\n    import cli.main"),
        ("house", "local/signals.py", "from cli import console"),
        ("shared", "shared/auth/caller.py", "from shared.resources import listing"),
        ("shared", "shared/errors.py", "import shared.database.pool"),
        ("shared", "shared/grpc_server/health.py", "import shared.resources.validation"),
        ("shared", "shared/a_new_module.py", "import shared.errors"),
        ("agent_service", "agent_service/rooms/rules.py", "from agent_service.agents import rules"),
        ("task_service", "task_service/assignees.py", "from task_service.tasks import rules"),
        ("migration_packages", "migrations/history.py", "import migrations.run"),
        ("resource", "agent_service/agents/rules.py", "from agent_service.agents import messages"),
        ("resource", "task_service/tasks/queries.py", "from task_service.tasks import rules"),
        ("resource", "agent_service/rooms/messages.py", "from agent_service.rooms import servicer"),
        ("servicers", "agent_service/agents/servicer.py", "import agent_service.agents.queries"),
        ("servicers", "task_service/tasks/servicer.py", "import shared.schema"),
        ("grpc", "agent_service/agents/rules.py", "import grpc"),
        ("grpc", "agent_service/agents/rules.py", "from tandem.agent.v1 import agent_service_pb2"),
        ("grpc", "agent_service/agents/queries.py", "def f():\n    import grpc"),
        ("grpc", "agent_service/agents/a_new_module.py", "import google.protobuf"),
        ("sql", "agent_service/agents/rules.py", "from sqlalchemy import select"),
        ("sql", "task_service/tasks/a_new_module.py", "import sqlalchemy.sql"),
        ("sql", "shared/grpc_server/server.py", "import sqlalchemy"),
        ("pure", "agent_service/agents/lifecycle.py", "import asyncpg"),
        ("migrations", "migrations/versions/001_create_base_tables.py", "import shared.schema"),
        ("circles", "shared/auth/keys.py", "import shared.auth.signing"),
    ],
)
def test_a_planted_import_breaks_its_contract(
    copy: Path, contract: str, file: str, planted: str
) -> None:
    name = name_of(contract)
    path = copy / file
    source = path.read_text() if path.exists() else None
    path.write_text(f"{source or ''}\n{planted}\n")
    try:
        found = lint(copy)
    finally:
        path.write_text(source) if source is not None else path.unlink()
    assert found.returncode == 1, found.stdout + found.stderr
    assert f"{name} BROKEN" in found.stdout


def test_a_new_resource_is_under_the_contract_of_all(copy: Path) -> None:
    new = copy / "agent_service" / "a_new_resource"
    new.mkdir()
    (new / "__init__.py").touch()
    (new / "rules.py").touch()
    (new / "queries.py").write_text(f"from agent_service.{new.name} import rules")
    try:
        found = lint(copy)
    finally:
        shutil.rmtree(new)
    assert f"{name_of('resource')} BROKEN" in found.stdout, found.stdout + found.stderr
