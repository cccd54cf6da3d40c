"""`tandem db downgrade` lists what will be lost, and loses nothing until that is confirmed."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from cli import schema
from migrations.history import BASE_WITH_CREATORS
from tests.cli.conftest import Tandem
from tests.migrations.database import Database
from tests.schema.rows import add_project

LIST = (
    "agents: 1 row will be lost.",
    "tasks: 1 row will be lost.",
)
COMMAND = (
    sys.executable,
    "-c",
    "from cli.main import app; app()",
)
ARGUMENTS = ("db", "downgrade", BASE_WITH_CREATORS)


@pytest.fixture
def filled(database_url: str) -> Database:
    database = Database(database_url)
    database.make(add_project)
    return database


def test_without_a_terminal_it_lists_and_refuses(tandem: Tandem, filled: Database) -> None:
    said = tandem.refuses("db", "downgrade", BASE_WITH_CREATORS)
    assert said.splitlines() == [*LIST, "Nothing was changed. Add --yes to accept the loss."]
    assert_unchanged(filled)


def test_with_yes_it_lists_before_it_does_it(tandem: Tandem, filled: Database) -> None:
    result = tandem("db", "downgrade", BASE_WITH_CREATORS, "--yes")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert tuple(lines[:2]) == LIST
    assert lines[2].endswith(f"Undo {schema.newest()}")
    assert lines[-1] == f"The database is at {BASE_WITH_CREATORS}."
    assert filled.current() == BASE_WITH_CREATORS


def test_on_a_terminal_a_no_changes_nothing(tandem: Tandem, filled: Database) -> None:
    with on_a_terminal(tandem) as run:
        assert all(line in run.question for line in LIST)
        assert run.answer("n") == 1
        assert "Nothing was changed." in run.read()
    assert_unchanged(filled)


def test_on_a_terminal_a_yes_is_enough(tandem: Tandem, filled: Database) -> None:
    with on_a_terminal(tandem) as run:
        assert run.answer("y") == 0
        assert f"The database is at {BASE_WITH_CREATORS}." in run.read()
    assert filled.current() == BASE_WITH_CREATORS


def test_who_agreed_to_less_has_not_agreed(tandem: Tandem, filled: Database) -> None:
    """No lock is held while the question is open, so rows may be added meanwhile."""
    with on_a_terminal(tandem) as run:
        filled.make(add_project)
        assert run.answer("y") == 1
        assert "Nothing was changed" in run.read()
    assert_unchanged(filled)


def assert_unchanged(database: Database) -> None:
    assert database.current() == schema.newest()
    assert database.values("SELECT count(*) > 0 FROM agents") == [True]


@dataclass
class Terminal:
    """A command that was started on a terminal and asked its question."""

    process: "subprocess.Popen[bytes]"
    terminal: int
    question: str = ""

    def read(self, until: str = "\0") -> str:
        """What it says, up to its end or to `until`."""
        said = ""
        while until not in said:
            try:
                said += os.read(self.terminal, 4096).decode()
            except OSError:  # no process has it open any more
                break
        return said

    def answer(self, word: str) -> int:
        """Type an answer; its exit status."""
        os.write(self.terminal, f"{word}\n".encode())
        return self.process.wait(30)


@contextmanager
def on_a_terminal(tandem: Tandem, *arguments: str) -> Iterator[Terminal]:
    """A command on a terminal, a downgrade unless other arguments are given."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *(arguments or ARGUMENTS)],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, **tandem.environment},
    )
    os.close(its)
    run = Terminal(process, ours)
    try:
        run.question = run.read(until="Go on?")
        yield run
    finally:
        process.kill()
        process.wait()
        os.close(ours)
