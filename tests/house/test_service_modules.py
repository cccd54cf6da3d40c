"""A service loads nothing that only the command line or a developer's machine needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
FOREIGN = {"alembic", "cli", "click", "local", "migrations", "psutil"}
LOADED = "import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"


@pytest.mark.parametrize("module", ["agent_service.__main__", "task_service.__main__"])
def test_a_service_loads_only_what_it_needs(module: str) -> None:
    program = [sys.executable, "-c", LOADED.format(module=module)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"asyncpg", "grpc", "shared"} <= loaded
    assert loaded & FOREIGN == set()


@pytest.mark.parametrize("file", ["runtime.txt", "local.txt"])
def test_nothing_is_installed_that_structlog_would_load_unasked(file: str) -> None:
    """It imports rich and better-exceptions if they are there: 60 ms and 5 MB of a service."""
    pinned = pins(file).keys()
    assert "structlog" in pinned
    assert pinned & {"better-exceptions", "rich"} == set()


def test_the_requirement_files_agree_on_every_version() -> None:
    runtime, local, dev = (pins(name) for name in ("runtime.txt", "local.txt", "dev.txt"))
    assert runtime.items() <= local.items() <= dev.items()


def pins(file: str) -> dict[str, str]:
    """Each package of a file with its version."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", (REQUIREMENTS / file).read_text(), re.MULTILINE))
