"""Processes that end while one looks at them."""

import subprocess
import sys

import psutil
import pytest

from local.embedded_postgres.processes import has_ended

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


def test_a_process_that_goes_between_two_looks_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(process: psutil.Process) -> str:
        raise psutil.NoSuchProcess(process.pid)

    with subprocess.Popen(SLEEPER) as child:
        process = psutil.Process(child.pid)
        assert not has_ended(process)
        monkeypatch.setattr(psutil.Process, "status", gone)
        assert has_ended(process)
        child.kill()
