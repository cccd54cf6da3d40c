"""Without the extra `local`, commands work on a configured database, and others say what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import schema

# An installation without the extra, as an image is.
WITHOUT = "import sys; sys.modules['psutil'] = None; from cli.main import app; app()"
INSTALL = "install requirements/local.txt, as `make run` does.\n"


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("TANDEM_")}
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("command", "start"),
    [("up", "`tandem up` needs"), ("db current", "TANDEM_DATABASE_URL is not set, and")],
)
def test_what_needs_the_extra_says_what_to_install(
    tmp_path: Path, command: str, start: str
) -> None:
    done = run(*command.split(), TANDEM_DATA_DIR=str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(start)
    assert done.stderr.endswith(INSTALL)
    assert done.stderr.count("\n") == 1


def test_everything_else_works_without_it(database_url: str) -> None:
    assert run("--help").returncode == 0
    done = run("db", "doctor", TANDEM_DATABASE_URL=database_url)
    assert done.stdout.splitlines()[-1] == "No problems were found."
    current = run("db", "current", TANDEM_DATABASE_URL=database_url)
    assert current.stdout == f"{schema.newest()}\n"
