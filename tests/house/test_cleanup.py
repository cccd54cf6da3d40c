"""A run of the tests leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.cleanup import clean
from tests.house.endless import STARTED
from tests.local.embedded_postgres.folders import reachable_folder

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PYTEST = (sys.executable, "-m", "pytest", "-q", "tests/house/endless.py")
MARK = "MARK_OF_A_RUN"


@pytest.fixture
def temp() -> Iterator[Path]:
    """A folder in which a run keeps its temporary files."""
    folder = reachable_folder()
    yield folder
    clean(folder)  # after a failure


def test_nothing_is_left_of_a_run_whose_terminal_is_closed(temp: Path) -> None:
    run = Run(temp, *PYTEST)
    run.end_by(os.killpg, signal.SIGHUP)  # every process of the terminal gets it
    run.assert_nothing_is_left()


def test_nothing_is_left_of_a_run_that_is_killed(temp: Path) -> None:
    run = Run(temp, *PYTEST, "-n", "1")
    run.end_by(os.kill, signal.SIGKILL)
    run.assert_nothing_is_left()


def test_nothing_is_left_when_make_is_ended(temp: Path, tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"test:\n\t@{' '.join(PYTEST)} -n 1\n")
    run = Run(temp, "make", "-f", str(makefile), "test")
    run.end_by(os.kill, signal.SIGTERM)
    run.assert_nothing_is_left()


class Run:
    """A run of the endless test, in a session of its own."""

    def __init__(self, temp: Path, *command: str) -> None:
        self._temp = temp
        self._mark = uuid4().hex
        started = temp / "started"
        inherited = {name: v for name, v in os.environ.items() if not name.startswith("TANDEM_")}
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**inherited, "TMPDIR": str(temp), MARK: self._mark, STARTED: str(started)},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not started.exists():
            assert self._process.poll() is None
            time.sleep(0.05)
        started.unlink()
        assert len(self.left()) > 5  # PostgreSQL alone is as many processes

    def end_by(self, send: Callable[[int, int], None], number: signal.Signals) -> None:
        """Send the signal to the first process or to its group, and wait for its end."""
        send(self._process.pid, number)
        self._process.wait(60)

    def assert_nothing_is_left(self) -> None:
        """Neither processes nor files, soon."""
        deadline = time.monotonic() + 60
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []

    def left(self) -> list[str]:
        processes = [str(p) for p in psutil.process_iter() if self._is_ours(p)]
        files = [str(path) for path in self._temp.iterdir()]
        # pytest itself keeps the temporary files of the last runs.
        return processes + [path for path in files if "pytest-of-" not in path]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            marked = process.environ().get(MARK) == self._mark
            return marked or Path(process.cwd()).is_relative_to(self._temp)
        except psutil.Error:
            return False
