"""How long ExchangeApiKey takes to reject a key, by what is wrong with it, against an unknown key.

The kinds of keys are tried in turn, thousands of times each, so that other load on the machine
affects all of them alike. "unknown" and "another unknown" differ by noise only.
"""

import asyncio
import contextlib
import statistics
import sys
import time
from typing import Any

import asyncpg
import grpc
import structlog
from uuid_utils.compat import uuid7

from agent_service.__main__ import build
from agent_service.api_keys import keys
from agent_service.api_keys.keys import NewKey
from benchmarks.postgres import temporary
from migrations.run import upgrade
from shared.database.transaction import Database
from shared.settings import SecretStr, Settings
from tandem.agent.v1.auth_service_pb2 import ExchangeApiKeyRequest
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceStub

ROUNDS = 3000
SECRET = SecretStr("a secret of the benchmarks, long enough for HS256")
OTHER = "A" * 43
OWNER = "INSERT INTO users (id, username, email) VALUES ($1, 'bench', 'bench@example.com')"
PROJECT = "INSERT INTO projects (id, owner_id, slug, name) VALUES ($1, $2, 'bench', 'Bench')"
AGENT = (
    "INSERT INTO agents (id, project_id, name, is_active)"
    " VALUES ($1, $2, $3::text, $3::text = 'active')"
)
KEY = (
    "INSERT INTO agent_api_keys"
    " (id, project_id, agent_id, key_id, api_key_hash, key_prefix, status, expires_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, now() + $8::text::interval)"
)


def main() -> int:
    """Measure and print."""
    # One line per call would drown the figures.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with temporary() as postgres:
        upgrade(postgres.url)
        report(asyncio.run(measure(postgres.url)))
    return 0


async def measure(url: str) -> dict[str, list[float]]:
    """The duration of each call in seconds, by kind of key."""
    kinds = await fill(url)
    database = await Database.connect(url, size=2)
    server = build(database, Settings(jwt_secret=SECRET))
    port = await server.start("127.0.0.1:0")
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        exchange = AuthServiceStub(channel).ExchangeApiKey
        for _ in range(ROUNDS):
            for kind, text in kinds.items():
                begun = time.perf_counter()
                await _answer(exchange, text)
                took[kind].append(time.perf_counter() - begun)
    await server.stop()
    await database.close()
    return took


async def _answer(exchange: Any, text: str) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        await exchange(ExchangeApiKeyRequest(api_key=text))


def report(took: dict[str, list[float]]) -> None:
    """Print the medians, absolute and relative to the median of unknown keys."""
    medians = {kind: statistics.median(times) for kind, times in took.items()}
    for kind, median in medians.items():
        share = median / medians["unknown"]
        print(f"{kind:22} {median * 1e6:6.0f} µs  {share:.3f}")


async def fill(url: str) -> dict[str, str]:
    """A key of each kind."""
    made = {name: keys.make() for name in ("right", "revoked", "expired", "inactive agent")}
    connection = await asyncpg.connect(url)
    owner_id, project_id = uuid7(), uuid7()
    await connection.execute(OWNER, owner_id)
    await connection.execute(PROJECT, project_id, owner_id)
    agents = {name: uuid7() for name in ("active", "inactive")}
    for name, agent_id in agents.items():
        await connection.execute(AGENT, agent_id, project_id, name)
    for name, key in made.items():
        agent_id = agents["inactive" if name == "inactive agent" else "active"]
        await connection.execute(KEY, uuid7(), project_id, agent_id, *_columns(name, key))
    await connection.close()
    return {
        "unknown": keys.make().text,
        "another unknown": keys.make().text,
        "wrong secret": f"{made['right'].prefix}_{OTHER}",
        "revoked": made["revoked"].text,
        "expired": made["expired"].text,
        "of an inactive agent": made["inactive agent"].text,
        "malformed": "x" * len(made["right"].text),
        "right": made["right"].text,
    }


def _columns(name: str, key: NewKey) -> tuple[str, ...]:
    status = "revoked" if name == "revoked" else "active"
    life = "-1 hour" if name == "expired" else "1 hour"
    return key.key_id, keys.hash_of(key.text), key.prefix, status, life


if __name__ == "__main__":
    sys.exit(main())
