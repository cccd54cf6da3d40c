"""A service loads nothing that only the command line or a developer's machine needs."""

import subprocess
import sys

import pytest

FOREIGN = {"alembic", "cli", "local", "migrations", "psutil", "typer"}
LOADED = "import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"


@pytest.mark.parametrize("module", ["agent_service.__main__", "task_service.__main__"])
def test_a_service_loads_only_what_it_needs(module: str) -> None:
    program = [sys.executable, "-c", LOADED.format(module=module)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"asyncpg", "grpc", "shared"} <= loaded
    assert loaded & FOREIGN == set()
