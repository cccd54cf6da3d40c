"""Which calls have a line in the log: health probes, samples, slow ones."""

from contextlib import suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from structlog.typing import EventDict

from shared.grpc_server.call_lines import CallLines
from shared.grpc_server.server import Server
from tests.log_lines import logged
from tests.world import TIMEOUT_SECONDS, running

NEVER, ALWAYS = 0.0, 1.0
SLOW, FAST = 0, 600_000


async def lines_of(lines: CallLines, *services: str, count: int) -> list[EventDict]:
    """What a server that logs so says about health checks."""
    server = Server([], None, {}, 1, lines=lines)  # type: ignore[arg-type]
    async with running(server) as (channel, _):
        stub: Any = HealthStub(channel)
        async with logged(count) as said:
            for service in services:
                request = HealthCheckRequest(service=service)
                with suppress(grpc.aio.AioRpcError):
                    await stub.Check(request, timeout=TIMEOUT_SECONDS)
        return [line for line in said if line["event"] == "call"]


async def test_a_probe_is_at_debug_unless_it_fails() -> None:
    good, bad = await lines_of(CallLines(), "", "nonsense", count=2)
    assert (good["code"], good["log_level"]) == ("OK", "debug")
    assert (bad["code"], bad["log_level"]) == ("NOT_FOUND", "info")
    assert "sample" not in good


@pytest.mark.parametrize(
    ("sample", "slow_ms", "written"),
    [(NEVER, FAST, ["NOT_FOUND"]), (NEVER, SLOW, ["OK", "NOT_FOUND"])],
)
async def test_of_a_sample_failures_and_slow_calls_are_never_left_out(
    sample: float, slow_ms: int, written: list[str]
) -> None:
    lines = CallLines(sample, slow_ms)
    said = await lines_of(lines, "", "nonsense", count=len(written))
    assert [line["code"] for line in said] == written
    assert all("sample" not in line for line in said)


async def test_a_line_by_chance_says_for_how_many_it_stands() -> None:
    said = await lines_of(CallLines(0.999999, FAST), *[""] * 3, count=3)
    assert [line["sample"] for line in said] == [0.999999] * 3


async def test_what_waits_by_design_is_not_slow() -> None:
    assert CallLines(slow_ms=5).of(is_probe=False, waits=False).is_slow(5)
    assert not CallLines(slow_ms=5).of(is_probe=False, waits=True).is_slow(5)
