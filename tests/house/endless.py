"""A test that goes on until it is ended, beside a process of its own.

It has no name that pytest collects by itself: tests/house/test_cleanup.py runs it.
"""

import os
import subprocess
from pathlib import Path

STARTED = "ENDLESS_STARTED"
"""The environment variable with the path of a file that is created once everything runs."""


def test_that_goes_on(database_url: str) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        Path(os.environ[STARTED]).write_text(database_url)
        process.wait()
