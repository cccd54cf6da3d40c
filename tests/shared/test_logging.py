"""Log lines: JSON or readable, and never a secret."""

import os
import subprocess
import sys

import orjson
import pytest

PROGRAM = """
import logging
import sys
import structlog
from shared import logging as logs
from shared.settings import Settings

logs.configure(Settings(log_format=sys.argv[1], log_level="info"), "agents")
log = structlog.get_logger()
log.debug("unwanted")
log.info("call", ms=1.5)

def fail(token):
    raise RuntimeError("broken")

try:
    fail("a" + "-token-of-somebody")
except RuntimeError as error:
    log.error("fault", exc_info=error)
    logging.getLogger("asyncpg").warning("%s failed", "it", exc_info=True)
logging.getLogger("asyncpg").info("unwanted")
"""


def run(log_format: str) -> list[str]:
    """What a process that logs so writes on standard error; nothing is for standard output."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_is_one_object_per_line() -> None:
    call, fault, foreign = map(orjson.loads, run("json"))
    assert call.pop("timestamp").endswith("Z")
    assert call == {"event": "call", "level": "info", "ms": 1.5, "service": "agents"}
    assert fault["exception"][0]["exc_value"] == "broken"
    assert (foreign["event"], foreign["logger"]) == ("it failed", "asyncpg")
    assert foreign["exception"] == fault["exception"]


def test_without_a_terminal_it_is_json() -> None:
    assert run("auto")[0].startswith("{")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values(log_format: str) -> None:
    text = "\n".join(run(log_format))
    assert "broken" in text
    assert "a-token-of-somebody" not in text
    assert "unwanted" not in text
