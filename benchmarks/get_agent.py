"""The throughput of GetAgent relative to that of a bare handler on the same core.

Both servers are measured in turn, for several rounds, each alone on the first core; PostgreSQL and
the load generator (h2load, in Debian's nghttp2-client) use the others. The limit is 0.8.
"""

import asyncio
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import grpc
from uuid_utils.compat import uuid7

from benchmarks.postgres import temporary
from migrations.run import upgrade
from shared.auth.signing import sign_user_token
from shared.settings import Settings
from tandem.agent.v1.agent_service_pb2 import GetAgentRequest
from tandem.agent.v1.agent_service_pb2_grpc import AgentServiceStub

LIMIT = 0.8
ROUNDS = 7
SECONDS = 4
CONNECTIONS, STREAMS = 4, 8
SECRET = "a secret of the benchmarks, long enough for HS256"  # noqa: S105
METHOD = "/tandem.agent.v1.AgentService/GetAgent"
BARE_PORT, OUR_PORT = 50971, 50972


def main() -> int:
    """Measure, print, and return 0 if the limit is kept."""
    if not shutil.which("h2load"):
        print("h2load is missing: install Debian's nghttp2-client.", file=sys.stderr)
        return 2
    with temporary() as postgres:
        _pin(postgres.process.pid, others=True)
        upgrade(postgres.url)
        user_id, agent_id = asyncio.run(_fill(postgres.url))
        return _report(_measure(postgres.url, user_id, agent_id, postgres.home.data_dir))


def _measure(url: str, user_id: UUID, agent_id: UUID, folder: Path) -> list[tuple[float, float]]:
    token = sign_user_token(Settings(), SECRET, user_id, timedelta(hours=1))
    body = folder / "body"
    message = GetAgentRequest(agent_id=str(agent_id)).SerializeToString()
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    figures = []
    bare = _server("benchmarks.bare_server", url, str(BARE_PORT))
    ours = _server("agent_service", url)
    with bare, ours:
        for number in range(ROUNDS + 1):
            pair = (
                _rate(BARE_PORT, token, body, agent_id),
                _rate(OUR_PORT, token, body, agent_id),
            )
            if number:  # the first round warms up
                figures.append(pair)
                print(f"round {number}: bare {pair[0]:.0f}/s, Tandem {pair[1]:.0f}/s", flush=True)
    return figures


def _report(figures: list[tuple[float, float]]) -> int:
    ratios = [ours / bare for bare, ours in figures]
    ratio = statistics.median(ratios)
    print(f"GetAgent: {ratio:.2f} of a bare handler (median of {len(ratios)};")
    print(f"lowest {min(ratios):.2f}, highest {max(ratios):.2f}); the limit is {LIMIT}")
    return 0 if ratio >= LIMIT else 1


def _rate(port: int, token: str, body: Path, agent_id: UUID) -> float:
    _require_an_answer(port, token, agent_id)
    command = ["h2load", f"-D{SECONDS}", f"-c{CONNECTIONS}", f"-m{STREAMS}", "-t1", f"-d{body}"]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    command += ["-H", f"authorization: Bearer {token}", f"http://127.0.0.1:{port}{METHOD}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"finished in [\d.]+s, ([\d.]+) req/s", said)
    assert found, said
    _require_an_answer(port, token, agent_id)
    return float(found[1])


def _require_an_answer(port: int, token: str, agent_id: UUID) -> None:
    """h2load counts a gRPC error as a success, so a real client checks the response."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = AgentServiceStub(channel).GetAgent(
            GetAgentRequest(agent_id=str(agent_id)),
            metadata=(("authorization", f"Bearer {token}"),),
            timeout=20,
            wait_for_ready=True,
        )
    assert answer.id == str(agent_id)


@contextmanager
def _server(module: str, url: str, *arguments: str) -> Iterator[None]:
    environment = {
        **os.environ,
        "TANDEM_DATABASE_URL": url,
        "TANDEM_JWT_SECRET": SECRET,
        "TANDEM_AGENT_ADDRESS": f"127.0.0.1:{OUR_PORT}",
    }
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, env=environment, stderr=log)
        _pin(process.pid, others=False)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _pin(pid: int, *, others: bool) -> None:
    """Give a process the first core alone, or all cores but that."""
    cores = sorted(os.sched_getaffinity(0))
    chosen = cores[1:] if others else cores[:1]
    os.sched_setaffinity(pid, chosen or cores)


async def _fill(url: str) -> tuple[UUID, UUID]:
    user_id, project_id, agent_id = uuid7(), uuid7(), uuid7()
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO users (id, username, email) VALUES ($1, 'bench', 'bench@example.com')", user_id
    )
    await connection.execute(
        "INSERT INTO projects (id, owner_id, slug, name) VALUES ($1, $2, 'bench', 'Bench')",
        project_id,
        user_id,
    )
    await connection.execute(
        "INSERT INTO agents (id, project_id, name, capabilities, config)"
        """ VALUES ($1, $2, 'Scout', '["search", "read"]', '{"depth": 3, "mode": "fast"}')""",
        agent_id,
        project_id,
    )
    await connection.close()
    return user_id, agent_id


if __name__ == "__main__":
    sys.exit(main())
