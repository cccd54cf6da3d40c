"""What a real process writes while calls succeed, are refused, and fail: never a token or a key."""

import asyncio
import os
import re
import sys
from uuid import uuid4

import grpc
import orjson
import pytest

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import (
    ApiKey,
    CreateApiKeyRequest,
    ExchangeApiKeyRequest,
    WhoAmIRequest,
)
from tests.http2 import posted, read_until
from tests.log_lines import against_schema
from tests.refusals import refused
from tests.world import SECRET, Channels, Client, World

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_log_line_has_a_secret(fresh_world: World, log_format: str) -> None:
    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent_service"),
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TANDEM_DATABASE_URL": fresh_world.url,
            "TANDEM_JWT_SECRET": SECRET.get_secret_value(),
            "TANDEM_AGENT_ADDRESS": "127.0.0.1:0",
            "TANDEM_LOG_FORMAT": log_format,
            "TANDEM_LOG_LEVEL": "debug",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert service.stderr
    begun = b""
    while not (port := re.search(rb"port\D{1,20}([1-9]\d+)", begun)):
        line = await service.stderr.readline()
        assert line, begun
        begun += re.sub(rb"\x1b\[\d+m", b"", line)  # colours
    shown = await calls(fresh_world, int(port[1]))
    service.terminate()
    written = (begun + await service.stderr.read()).decode()
    assert await service.wait() == 0
    assert all(word in written for word in ("CALLER_INACTIVE", "INTERNAL", "fault"))
    if log_format == "json":
        require_sound(written)
    password = fresh_world.url.split(":")[2].split("@")[0]
    # What is folded or cut would not be found otherwise. Keys begin with what is no secret.
    parts = [part for secret in shown for part in (secret[:20], secret[-20:])]
    for secret in (*parts, SECRET.get_secret_value(), password):
        assert secret not in written


def require_sound(written: str) -> None:
    """All lines are of the schema, and those within calls can be told apart by their calls."""
    lines = [orjson.loads(line) for line in written.splitlines()]
    assert [wrong for line in lines for wrong in against_schema(line)] == []
    within = [line for line in lines if line["event"] in ("call", "fault", "token refused")]
    assert all(line["request_id"] for line in within)
    traced = {line["event"] for line in lines if line.get("trace_id") == TRACE}
    assert traced == {"call", "fault"}


async def calls(world: World, port: int) -> list[str]:
    """Every kind of outcome; the tokens and API keys that were sent."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        channels = Channels(channel, channel)
        alice, ghost = await world.user(), await world.user(active=False)
        good, inactive, wrong, late = (
            Client(channels, token)
            for token in (alice.token, ghost.token, f"{alice.token}x", world.token(uuid4()))
        )
        who = WhoAmIRequest()
        await good.auth.WhoAmI(who)
        await refused(inactive.auth.WhoAmI(who), Reason.CALLER_INACTIVE)
        await refused(wrong.auth.WhoAmI(who), Reason.TOKEN_INVALID)
        await send_no_text(port, str(alice.token))
        agent = await good.agent(await good.project())
        new = CreateApiKeyRequest(api_key=ApiKey(agent_id=agent.id), request_id=str(uuid4()))
        key = (await good.auth.CreateApiKey(new)).secret
        granted = await good.auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=key))
        for changed in (f"{key[:-2]}xx", key[:-1], f"{key}{key}{key}"):
            reason = Reason.INVALID_FIELD if len(changed) > 200 else Reason.API_KEY_INVALID
            await refused(good.auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=changed)), reason)
        await world.execute("ALTER TABLE agent_api_keys RENAME TO away")
        new.request_id = ""
        await refused(good.auth.CreateApiKey(new), Reason.INTERNAL)
        await refused(good.auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=key)), Reason.INTERNAL)
        await world.execute("ALTER TABLE users RENAME TO gone")
        trace = (
            ("authorization", f"Bearer {late.token}"),
            ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),
        )
        await refused(late.auth.WhoAmI(who, metadata=trace), Reason.INTERNAL)
        tokens = [str(client.token) for client in (good, inactive, wrong, late)]
        return [*tokens, granted.access_token, key]


async def send_no_text(port: int, token: str) -> None:
    """A token in a header that is not UTF-8, which gRPC's clients do not send."""
    headers = {"authorization": f"Bearer {token}".encode() + b"\xff"}
    async with posted(port, "/tandem.agent.v1.AuthService/WhoAmI", headers) as reader:
        await read_until(reader, b"not valid here")
