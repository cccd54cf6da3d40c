"""The port of the metrics: what it answers, and that no client of it costs anything."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from shared.exposition import endpoint as http
from shared.exposition.endpoint import CONNECTIONS, HEAD_BYTES, Endpoint
from shared.exposition.page import AT_ONCE, Page
from shared.metrics.catalog import LAG_SECONDS, LIMITS, LOOP_LAG, PARKED, REFUSED
from shared.metrics.instruments import Histogram, Sample
from tests.shared.exposition.scraped import FREE, Scrape, got
from tests.waiting import until

OPENMETRICS = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n"


class Source:
    """Says a number, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.histogram = Histogram(LAG_SECONDS)

    async def samples(self) -> list[Sample]:
        self.asked += 1
        return [Sample(PARKED, self.asked), Sample(LOOP_LAG, self.histogram)]


class Served:
    """An endpoint with one source."""

    def __init__(self, endpoint: Endpoint, port: int, source: Source) -> None:
        self.endpoint, self.port, self.source = endpoint, port, source

    async def silent(self, text: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that has sent only this."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text.encode())
        return reader, writer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


@asynccontextmanager
async def serving(seconds: float = http.SECONDS, fresh: float = 0) -> AsyncIterator[Served]:
    source = Source()
    endpoint = Endpoint(Page([source.samples], fresh), seconds)
    yield Served(endpoint, await endpoint.start(FREE), source)
    await endpoint.close()


async def test_the_page_is_text_or_openmetrics_as_it_is_asked_for(served: Served) -> None:
    served.source.histogram.observe(0.2)
    served.source.histogram.observe(9)
    for head, kind in (
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "text/plain; version=0.0.4"),
        (OPENMETRICS, "application/openmetrics-text; version="),
    ):
        answer = await got(served.port, head)
        is_openmetrics = "openmetrics" in kind
        assert f"content-type: {kind}" in answer.head
        assert answer.text.count("# EOF\n") == int(is_openmetrics)
        scrape = Scrape(answer.text, is_openmetrics=is_openmetrics)
        assert scrape.value("tandem_calls_parked") == served.source.asked
        lag = "tandem_event_loop_lag_seconds"
        assert [scrape.value(f"{lag}_bucket", le=le) for le in ("0.1", "0.25", "+Inf")] == [0, 1, 2]
        assert (scrape.value(f"{lag}_count"), scrape.value(f"{lag}_sum")) == (2, 9.2)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /metrics/../secret HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        ("hunter2\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\n\r\n", 400),
        (f"GET /metrics HTTP/1.1\r\nHost: x\r\nX: {'x' * HEAD_BYTES}", 431),
    ],
)
async def test_anything_else_is_refused_and_asks_no_source(
    served: Served, head: str, status: int
) -> None:
    answer = await got(served.port, head)
    assert answer.status == status
    assert "hunter2" not in answer.head + answer.text
    assert not served.source.asked


async def test_a_head_is_answered_without_the_page(served: Served) -> None:
    answer = await got(served.port, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.text) == (200, "")
    assert served.source.asked == 1


async def test_the_query_of_a_path_does_not_matter(served: Served) -> None:
    answer = await got(served.port, "GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.status == 200


@pytest.mark.parametrize("sent", ["", "GET /metr", OPENMETRICS[:-2]])
async def test_a_client_that_hangs_is_cut_off(sent: str) -> None:
    async with serving(seconds=0.05) as served:
        reader, writer = await served.silent(sent)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert not served.endpoint._open
        writer.close()


async def test_a_client_that_takes_no_answer_is_cut_off_with_it() -> None:
    """Its page is as large as what the kernel takes is not."""
    async with serving(seconds=0.3) as served:
        page: Any = served.endpoint._page
        page.text = _large
        _, writer = await served.silent("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: len(served.endpoint._open) == 1)
        await until(lambda: not served.endpoint._open)
        writer.close()


async def _large(_accept: str) -> tuple[str, bytes]:
    return "text/plain", bytes(64 * 1024 * 1024)


async def test_those_that_hang_make_way_for_those_that_come(served: Served) -> None:
    hanging = [await served.silent() for _ in range(2 * CONNECTIONS)]
    await until(lambda: len(served.endpoint._open) == CONNECTIONS)
    for _ in range(2 * CONNECTIONS):
        assert (await got(served.port)).status == 200
    assert len(served.endpoint._open) <= CONNECTIONS
    for _, writer in hanging:
        writer.close()
    await until(lambda: not served.endpoint._open)


async def test_a_page_is_made_once_a_second_for_however_many() -> None:
    async with serving(fresh=3600) as served:
        answers = await asyncio.gather(*[got(served.port) for _ in range(10)])
        assert {answer.text for answer in answers} == {answers[0].text}
        assert served.source.asked == 1
        await got(served.port, OPENMETRICS)
        assert served.source.asked == 2, "another format"


async def test_calls_have_a_turn_after_each_metric_of_a_page(served: Served) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    calls = asyncio.create_task(others())
    text = (await got(served.port)).text
    turns_before = turns
    page = Page([served.source.samples], fresh_seconds=0)
    await page.text("")
    calls.cancel()
    assert turns - turns_before >= text.count("# TYPE") > 2


LOADED = "import sys, {module}; print(*sys.modules)"


@pytest.mark.parametrize("head", ["GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", OPENMETRICS])
async def test_what_is_made_in_parts_is_one_metric_on_the_page(served: Served, head: str) -> None:
    async def limits() -> list[Sample]:
        return [Sample(REFUSED, n, (limit,)) for n, limit in enumerate(LIMITS)]

    page: Any = served.endpoint._page
    page._sources = [limits]
    assert len(LIMITS) > AT_ONCE
    text = (await got(served.port, head)).text
    scrape = Scrape(text, is_openmetrics=head == OPENMETRICS)
    assert text.count("# TYPE tandem_calls_refused") == 1
    assert text.count("# HELP tandem_calls_refused") == 1
    for n, limit in enumerate(LIMITS):
        assert scrape.value("tandem_calls_refused_total", limit=limit) == n


@pytest.mark.parametrize("module", ["agent_service.__main__", "task_service.__main__"])
def test_without_the_setting_nothing_of_it_is_loaded(module: str) -> None:
    program = [sys.executable, "-c", LOADED.format(module=module)]
    loaded = subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()
    assert "shared.metrics.catalog" in loaded
    assert not [name for name in loaded if name.startswith(("prometheus_client", "shared.expos"))]
