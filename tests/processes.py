"""A service as a process of its own, on any free port."""

import os
import subprocess
import sys

import orjson

from shared.service import EXCESS
from tests.world import SECRET


def service(module: str, **environment: str) -> "subprocess.Popen[str]":
    """The process of a service that listens on any free port, if it gets that far.

    It stops without a delay, for which tests need not wait.
    """
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("TANDEM_")}
    addresses = {f"TANDEM_{name}_ADDRESS": "127.0.0.1:0" for name in ("AGENT", "TASK")}
    return subprocess.Popen(
        [sys.executable, "-m", module],
        env={
            **inherited,
            **addresses,
            "TANDEM_SHUTDOWN_DELAY": "0",
            "TANDEM_JWT_SECRET": SECRET.get_secret_value(),
            **environment,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def port(process: "subprocess.Popen[str]") -> int:
    """Where it listens, as soon as it does. It may say before that its role can do too much."""
    assert process.stderr
    said = orjson.loads(process.stderr.readline())
    if said["event"] == EXCESS:
        said = orjson.loads(process.stderr.readline())
    assert said["event"] == "listening", said
    found: int = said["port"]
    return found
