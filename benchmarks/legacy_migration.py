"""`tandem db upgrade` of a database with 1,000,000 keys and participants whose agents do not exist.

Limits: 180 s, and 300 MB of memory of the process that migrates. Before 003 there are no agents, so
every agent id is an orphan: here 100,000 ids, a tenth of the rows, of which 10,000 are in two
projects, so that 100,000 rows are moved.
"""

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from benchmarks.postgres import temporary
from migrations.history import BASE_WITH_CREATORS
from migrations.run import upgrade
from tests.migrations.legacy import Mix, fill

SECONDS, MEGABYTES = 180.0, 300.0
MIX = Mix(
    in_keys=15_000,
    in_participants=14_000,
    in_both=60_000,
    in_two_projects=10_000,
    alike=1_000,
    users=50_000,
    projects=100,
    rows=5,
)
POLL_SECONDS = 0.05

ROWS = "SELECT (SELECT count(*) FROM agent_api_keys) + (SELECT count(*) FROM chat_participants)"
AGENTS = "SELECT count(*) FROM agents"


def main() -> int:
    """Measure, print, and return 0 if both limits are kept."""
    with temporary() as postgres:
        upgrade(postgres.url, BASE_WITH_CREATORS)
        asyncio.run(_fill(postgres.url))
        rows = asyncio.run(_value(postgres.url, ROWS))
        seconds, megabytes = _measure(postgres.url)
        assert asyncio.run(_value(postgres.url, ROWS)) == rows
        assert asyncio.run(_value(postgres.url, AGENTS)) == MIX.agents
    print(f"{rows:,} keys and participants, {MIX.agents:,} placeholders, {MIX.moved:,} rows moved:")
    print(f"{seconds:.0f} s (limit {SECONDS:.0f}), {megabytes:.0f} MB (limit {MEGABYTES:.0f})")
    return 0 if seconds <= SECONDS and megabytes <= MEGABYTES else 1


def _measure(url: str) -> tuple[float, float]:
    """The duration in seconds, and the peak memory of the migrating process in MB."""
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import app; app()", "db", "upgrade"],
        env={**os.environ, "TANDEM_DATABASE_URL": url},
    )
    most = 0.0
    while process.poll() is None:
        most = max(most, _megabytes(process.pid))
        time.sleep(POLL_SECONDS)
    assert process.returncode == 0
    return time.monotonic() - begin, most


def _megabytes(pid: int) -> float:
    """The peak so far; 0 of a process that has just ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await fill(connection, MIX)
    await connection.close()


async def _value(url: str, statement: str) -> int:
    connection = await asyncpg.connect(url)
    value: int = await connection.fetchval(statement)
    await connection.close()
    return value


if __name__ == "__main__":
    sys.exit(main())
