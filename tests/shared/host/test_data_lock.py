"""A data folder has one owner at a time."""

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest

from shared.host.data_lock import DataInUseError, lock

LOCK_AND_DIE = """
import os, sys
from pathlib import Path
from shared.host.data_lock import lock
with lock(Path(sys.argv[1]), "a test"):
    os.kill(os.getpid(), 9)
"""


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    second = lock(tmp_path, "the second")
    with lock(tmp_path, "the first"), pytest.raises(DataInUseError) as refused:
        second.__enter__()
    assert str(refused.value) == (
        f"The data in {tmp_path} is in use by process {os.getpid()} (the first)."
    )


def test_an_owner_who_is_killed_owns_no_more(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LOCK_AND_DIE, tmp_path], check=False)
    assert (tmp_path / "lock").read_text().endswith(" a test")
    with lock(tmp_path, "the next"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()} the next"


def test_only_a_passing_owner_is_waited_for(tmp_path: Path) -> None:
    passing = lock(tmp_path, "passing")
    passing.__enter__()
    Timer(0.2, passing.__exit__, (None, None, None)).start()
    began = time.monotonic()
    with lock(tmp_path, "the next", wait_for="passing", timeout=10):
        assert time.monotonic() - began >= 0.15
        with pytest.raises(DataInUseError):
            lock(tmp_path, "another", wait_for="passing", timeout=10).__enter__()
