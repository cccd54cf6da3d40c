"""Services that publish metrics, scraped over HTTP as Prometheus does, and what the pages say."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent_service.__main__ import build as build_agents
from shared.exposition.publishing import Publisher
from shared.grpc_server.server import Server
from shared.metrics.instruments import Source
from task_service.__main__ import build as build_tasks
from tests.world import Channels, World, running

FREE = "127.0.0.1:0"


@dataclass(frozen=True)
class Answer:
    """What was answered to a request over HTTP."""

    status: int
    head: str
    text: str


async def got(port: int, head: str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") -> Answer:
    """What is answered to a request until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode())
    answer = (await reader.read()).decode()
    writer.close()
    head, _, text = answer.partition("\r\n\r\n")
    return Answer(int(head.split(" ")[1]), head, text)


class Scrape:
    """The values of a page."""

    def __init__(self, text: str, *, is_openmetrics: bool = False) -> None:
        parse = parse_openmetrics if is_openmetrics else parse_text
        self.families: list[Metric] = list(parse(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels; 0 if there is none."""
        found = [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(sample.value for sample in found)

    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def values_of(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


@dataclass
class Published:
    """A world whose services publish metrics, at these ports."""

    world: World
    agents: int
    tasks: int
    agent_server: Server

    async def scrape(self, port: int) -> Scrape:
        answer = await got(port)
        assert answer.status == 200
        return Scrape(answer.text)


@asynccontextmanager
async def published(world: World) -> AsyncIterator[Published]:
    """Both services on the database of a world, each with a page that is always fresh."""
    settings = replace(world.settings, agent_metrics_address=FREE, task_metrics_address=FREE)
    agent_server = build_agents(world.database, settings)
    async with running(agent_server) as (agents, address):
        settings = replace(settings, agent_address=address)
        task_server = build_tasks(world.database, settings)
        async with running(task_server) as (tasks, task_address):
            settings = replace(settings, task_address=task_address)
            database = world.database
            channels = Channels(agents, tasks)
            own = World(database, settings, channels, world.owner)
            async with (
                publishing("agents", [database.samples, *agent_server.sources]) as agents_port,
                publishing("tasks", [database.samples, *task_server.sources]) as tasks_port,
            ):
                yield Published(own, agents_port, tasks_port, agent_server)


@asynccontextmanager
async def publishing(service: str, sources: Sequence[Source]) -> AsyncIterator[int]:
    """The port of a page."""
    publisher = Publisher(service, sources, fresh_seconds=0)
    port = await publisher.start(FREE)
    try:
        yield port
    finally:
        await publisher.close()
