"""While a migration runs, the command line says which step it is at."""

import os
import pty
import re
import subprocess
import sys

import pytest

from cli import schema
from tests.cli.conftest import Tandem
from tests.migrations.database import Database
from tests.migrations.legacy import Mix, make_legacy

COMMAND = (sys.executable, "-c", "from cli.main import app; app()", "db", "upgrade")
AT_THE_END = f"The database is at {schema.newest()}."


@pytest.fixture
def legacy(tandem: Tandem, empty_database_url: str) -> Tandem:
    make_legacy(Database(empty_database_url), Mix(in_both=1))
    return Tandem({**tandem.environment, "TANDEM_DATABASE_URL": empty_database_url})


def test_without_a_terminal_each_step_is_a_line_with_its_time(legacy: Tandem) -> None:
    lines = legacy("db", "upgrade").stderr.splitlines()
    steps = [
        re.fullmatch(r" +\d+\.\d s  (Upgrade to \w+|Step \d of 7: .*)", line) for line in lines
    ]
    assert [step[1] for step in steps[:2] if step] == [
        "Upgrade to 003_create_agent_and_task_tables",
        "Step 1 of 7: create the table of agents",
    ]
    others = [line for line, step in zip(lines, steps, strict=True) if not step]
    assert others == [
        "Placeholder agents created, for ids without an agent: 1",
        AT_THE_END,
    ]


def test_on_a_terminal_one_line_stays_current_and_then_goes(legacy: Tandem) -> None:
    said = on_a_terminal({**os.environ, **legacy.environment, "TERM": "xterm"})
    assert "Waiting for the database" in said
    assert re.search(r"0:00:\d\d.* Upgrade to|0:00:\d\d.* Step \d of 7", said)
    assert "Placeholder agents created" in said
    assert said.rstrip().endswith(AT_THE_END)
    left = re.split(r"\x1b\[2K", said)[-1]
    assert "Upgrade to" not in left


def on_a_terminal(environment: dict[str, str]) -> str:
    """Everything that the command writes to its terminal."""
    ours, its = pty.openpty()
    with subprocess.Popen(COMMAND, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        said = b""
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:  # no process has it open any more
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return said.decode()
