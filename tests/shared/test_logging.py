"""Log lines: JSON or readable, and never a secret."""

import os
import subprocess
import sys

import orjson
import pytest

from shared.auth.caller import Call, current_call, log_fields

PROGRAM = """
import logging
import sys
import structlog
from shared import logging as logs
from shared.auth.caller import Call, current_call, log_fields
from shared.settings import Settings

logs.configure(Settings(log_format=sys.argv[1], log_level="info"), "agents", log_fields)
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
parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
current_call.set(Call("m", "r-1", trace=(("traceparent", parent),)))
log.warning("refused")
log.warning("refused", request_id="r-2")
"""
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


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
    call, fault, foreign, within, given = map(orjson.loads, run("json"))
    assert call.pop("timestamp").endswith("Z")
    assert call == {"event": "call", "level": "info", "ms": 1.5, "service": "agents"}
    assert fault["exception"][0]["exc_value"] == "broken"
    assert (foreign["event"], foreign["logger"]) == ("it failed", "asyncpg")
    assert foreign["exception"] == fault["exception"]
    ids = (within["request_id"], within["trace_id"], within["span_id"])
    assert ids == ("r-1", "a" * 32, "b" * 16)
    assert given["request_id"] == "r-2", "what a line says of itself stays"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([f"00-{TRACE}-{SPAN}-01"], True),
        ([f"01-{TRACE}-{SPAN}-01-more"], True),
        ([], False),
        ([f"00-{TRACE}-{SPAN}-01"] * 2, False),
        ([f"00-{TRACE}-{SPAN}-01-more"], False),
        ([f"ff-{TRACE}-{SPAN}-01"], False),
        ([f"00-{'0' * 32}-{SPAN}-01"], False),
        ([f"00-{TRACE}-{'0' * 16}-01"], False),
        ([f"00-{TRACE.upper()}-{SPAN}-01"], False),
        ([f"00-{TRACE}-{SPAN}-0"], False),
        (["00-x"], False),
    ],
)
def test_the_trace_of_a_call_is_found_if_it_is_one(values: list[str], found: bool) -> None:
    trace = (("tracestate", "a=b"), *(("traceparent", value) for value in values))
    token = current_call.set(Call("m", "r", trace=trace))
    said = {"request_id": "r", **({"trace_id": TRACE, "span_id": SPAN} if found else {})}
    assert log_fields() == said
    current_call.reset(token)


def test_without_a_terminal_it_is_json() -> None:
    assert run("auto")[0].startswith("{")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values(log_format: str) -> None:
    text = "\n".join(run(log_format))
    assert "broken" in text
    assert "a-token-of-somebody" not in text
    assert "unwanted" not in text
