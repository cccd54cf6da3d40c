"""What the pages of both services say, after the calls that move each metric."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import orjson
import pytest

from shared.database.pool import Connection
from shared.errors import Reason
from shared.grpc_server.admission import STREAMS_PER_CONNECTION
from shared.metrics.catalog import LIMITS, METRICS, PROCESS
from tandem.agent.v1.agent_service_pb2 import Agent, GetAgentRequest, UpdateAgentRequest
from tandem.event.v1.event_service_pb2 import WatchEventsRequest
from tandem.task.v1.task_service_pb2 import WaitTaskRequest
from task_service.backlog.rules import Backlog
from task_service.events.log_reader import LogReader
from tests.databases import execute
from tests.locks import under_way
from tests.processes import service
from tests.refusals import outcome, refused
from tests.shared.exposition.scraped import FREE, Published, Scrape, got, published
from tests.task_service.sweep.swept import expire, swept
from tests.task_service.team import Team
from tests.waiting import until
from tests.world import World

GET_AGENT = {"grpc_service": "tandem.agent.v1.AgentService", "grpc_method": "GetAgent"}
WATCHED = {"grpc_service": "tandem.event.v1.EventService", "grpc_method": "WatchEvents"}
END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
NOWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
async def shared_pages(shared_world: World) -> AsyncIterator[Published]:
    async with published(shared_world) as pages:
        yield pages


@pytest.fixture
async def pages(world: World, shared_pages: Published) -> Published:
    """Both services with pages, on an empty database. What they have counted, they keep."""
    assert world.database is shared_pages.world.database
    return shared_pages


class Moved:
    """By how much values have grown since a scrape."""

    def __init__(self, before: Scrape, after: Scrape) -> None:
        self._before, self._after = before, after

    def __call__(self, name: str, **labels: str) -> float:
        return self._after.value(name, **labels) - self._before.value(name, **labels)


async def test_calls_are_counted_by_method_code_and_reason(pages: Published) -> None:
    alice = await pages.world.user()
    agent = await alice.agent(await alice.project())
    before = await pages.scrape(pages.agents)
    for _ in range(3):
        await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id))
    for _ in range(2):
        await refused(
            alice.agents.GetAgent(GetAgentRequest(agent_id=NOWHERE)), Reason.AGENT_NOT_FOUND
        )
    nobody = pages.world.nobody()
    await refused(nobody.agents.GetAgent(GetAgentRequest(agent_id=agent.id)), Reason.TOKEN_MISSING)
    await until(lambda: _ended(pages, before, 6))
    moved = Moved(before, await pages.scrape(pages.agents))
    assert moved("grpc_server_started_total", **GET_AGENT) == 6
    handled = "grpc_server_handled_total"
    assert moved(handled, **GET_AGENT) == 6
    assert moved(handled, **GET_AGENT, grpc_code="OK", reason="", grpc_type="unary") == 3
    assert moved(handled, **GET_AGENT, grpc_code="NotFound", reason="AGENT_NOT_FOUND") == 2
    assert moved(handled, **GET_AGENT, grpc_code="Unauthenticated", reason="TOKEN_MISSING") == 1
    seconds = "grpc_server_handling_seconds"
    assert moved(f"{seconds}_count", **GET_AGENT) == 6
    assert moved(f"{seconds}_bucket", **GET_AGENT, le="+Inf") == 6
    assert moved(f"{seconds}_bucket", **GET_AGENT, le="60.0") == 6
    assert 0 < moved(f"{seconds}_sum", **GET_AGENT) < 6 * 60


async def _ended(pages: Published, before: Scrape, calls: int) -> bool:
    """A call ends a little after its client has the answer."""
    after = await pages.scrape(pages.agents)
    return Moved(before, after)("grpc_server_handled_total", **GET_AGENT) >= calls


async def test_a_method_that_does_not_exist_is_unknown_and_no_text_of_a_client_is_a_label(
    pages: Published,
) -> None:
    alice = await pages.world.user(name="hunter2")
    await alice.project(slug="hunter2")
    channel: Any = pages.world.channels.agents
    # What was called before is there already.
    await outcome(channel.unary_unary("/warm/up")(b""))
    before = await pages.scrape(pages.agents)
    for n in range(50):
        method = f"/hunter2.{n}/Hunter2{n}"
        metadata = (("x-request-id", f"hunter2-{n}"), ("authorization", f"Bearer hunter2{n}"))
        await outcome(channel.unary_unary(method)(b"hunter2", metadata=metadata))
    await outcome(alice.agents.GetAgent(GetAgentRequest(agent_id="hunter2")))
    after = await pages.scrape(pages.agents)
    assert Moved(before, after)("grpc_server_handled_total", grpc_method="unknown") == 50
    new = {(s.name, *sorted(s.labels.items())) for s in after.samples}
    new -= {(s.name, *sorted(s.labels.items())) for s in before.samples}
    assert all(("grpc_method", "GetAgent") in labels for _, *labels in new), new
    assert not [s for s in after.samples if "hunter2" in repr(s).lower()]


async def test_every_label_has_few_values(pages: Published) -> None:
    for port in (pages.agents, pages.tasks):
        scrape = await pages.scrape(port)
        reasons = scrape.values_of("grpc_server_handled_total", "reason")
        assert reasons <= {"", *Reason.__members__}
        assert scrape.values_of("tandem_calls_refused_total", "limit") == set(LIMITS)
        assert len(scrape.samples) < 2_000


async def test_what_is_published_is_what_is_documented(pages: Published) -> None:
    """Beside a call of each kind, so that no metric is missing for want of one."""
    alice = await pages.world.user()
    await alice.task(await alice.project())
    found: dict[str, tuple[str, str]] = {}
    labels: dict[str, set[str]] = {}
    for port in (pages.agents, pages.tasks):
        scrape = await pages.scrape(port)
        for family in scrape.families:
            suffix = "_total" if family.type == "counter" else ""
            found[family.name + suffix] = (family.type, family.documentation)
            for sample in family.samples:
                labels.setdefault(family.name + suffix, set()).update({*sample.labels} - {"le"})
    documented = {m.name: (m.kind, m.meaning) for m in METRICS}
    assert found.keys() == documented.keys() | {m.name for m in PROCESS}
    assert {name: found[name] for name in documented} == documented
    assert {m.name: set(m.labels) for m in (*METRICS, *PROCESS)} == labels


async def test_a_call_at_work_holds_a_place_and_gives_it_back(pages: Published) -> None:
    alice = await pages.world.user()
    agent = await alice.agent(await alice.project())
    change = UpdateAgentRequest(agent=Agent(id=agent.id, nickname="Scout"))
    async with under_way(pages.world.url, "LOCK TABLE agents IN EXCLUSIVE MODE") as blocked:
        call = asyncio.ensure_future(outcome(alice.agents.UpdateAgent(change)))
        await blocked.wait()
        scrape = await pages.scrape(pages.agents)
        assert scrape.value("tandem_calls_in_flight", kind="work") == 1
        assert scrape.value("tandem_calls_in_flight_limit", kind="work") == 160
    await call
    for name in ("tandem_calls_in_flight", "tandem_calls_waiting"):
        await until(lambda n=name: _value(pages.agents, pages, n, 0))  # type: ignore[misc]


async def test_connections_are_leased_and_waited_for_until_they_are_free(
    pages: Published,
) -> None:
    database, gate, all_are = pages.world.database, asyncio.Event(), asyncio.Barrier(11)
    before = await pages.scrape(pages.agents)

    async def hold(_connection: Connection) -> None:
        await all_are.wait()
        await gate.wait()

    async def hurry(_connection: Connection) -> None:
        pass

    holders = [asyncio.create_task(database.read(hold)) for _ in range(10)]
    await all_are.wait()
    waiting = [asyncio.create_task(database.read(hurry)) for _ in range(2)]
    await until(lambda: _value(pages.agents, pages, "tandem_database_pool_waiting", 2))
    scrape = await pages.scrape(pages.agents)
    connections = "tandem_database_pool_connections"
    assert scrape.value(connections, state="leased") == 10
    assert scrape.value(connections, state="idle") == 0
    assert scrape.value("tandem_database_pool_size") == 10
    gate.set()
    await asyncio.gather(*holders, *waiting)
    scrape = await pages.scrape(pages.agents)
    assert scrape.value(connections, state="leased") == 0
    assert scrape.value(connections, state="idle") == 10
    assert scrape.value("tandem_database_pool_waiting") == 0
    moved = Moved(before, scrape)
    assert moved("tandem_database_pool_wait_seconds_count") == 2
    assert moved("tandem_database_pool_wait_seconds_bucket", le="+Inf") == 2
    assert moved("tandem_database_pool_wait_seconds_sum") > 0


async def _value(port: int, pages: Published, name: str, value: float, **labels: str) -> bool:
    return (await pages.scrape(port)).value(name, **labels) == value


async def test_a_call_that_waits_is_parked_until_it_ends(pages: Published) -> None:
    alice = await pages.world.user()
    task = await alice.task(await alice.project())
    wait = alice.tasks.WaitTask(WaitTaskRequest(task_id=task.id))
    waiting = asyncio.ensure_future(wait)
    await until(lambda: _value(pages.tasks, pages, "tandem_calls_parked", 1))
    await until(lambda: _value(pages.tasks, pages, "tandem_calls_in_flight", 0, kind="work"))
    wait.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    await until(lambda: _value(pages.tasks, pages, "tandem_calls_parked", 0))
    scrape = await pages.scrape(pages.tasks)
    assert scrape.value("grpc_server_handled_total", grpc_method="WaitTask") >= 1
    assert "Canceled" in scrape.values_of("grpc_server_handled_total", "grpc_code")


async def test_watches_and_how_far_they_are_behind_are_counted(pages: Published) -> None:
    alice = await pages.world.user()
    project = await alice.project()
    before = await pages.scrape(pages.tasks)
    watch = alice.events.WatchEvents(WatchEventsRequest(project_id=project.id), timeout=None)
    await watch.read()
    scrape = await pages.scrape(pages.tasks)
    assert scrape.value("tandem_streams_open", kind="watch") == 1
    assert scrape.value("tandem_event_logs_watched") == 1
    await until(lambda: _value(pages.tasks, pages, "tandem_event_log_lag_events", 0))
    watch.cancel()
    for name in ("tandem_streams_open", "tandem_event_logs_watched"):
        await until(lambda n=name: _value(pages.tasks, pages, n, 0))  # type: ignore[misc]
    moved = Moved(before, await pages.scrape(pages.tasks))
    assert moved("grpc_server_started_total", **WATCHED, grpc_type="server_stream") == 1
    assert moved("grpc_server_handled_total", **WATCHED, grpc_code="Canceled") == 1
    assert moved("grpc_server_handling_seconds_count", **WATCHED) == 0


async def test_calls_that_are_refused_because_of_load_name_the_limit(pages: Published) -> None:
    alice = await pages.world.user()
    before = await pages.scrape(pages.agents)
    large = GetAgentRequest(agent_id="x" * (4 * 1024 * 1024 + 1))
    await refused(alice.agents.GetAgent(large), Reason.LIMIT_EXCEEDED)
    channel: Any = pages.world.channels.agents
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    open_streams = [watch(b"") for _ in range(STREAMS_PER_CONNECTION)]
    for stream in open_streams:
        await stream.read()
    assert await _value(pages.agents, pages, "tandem_streams_open", 10, kind="probe")
    await outcome(watch(b"").read())
    moved = Moved(before, await pages.scrape(pages.agents))
    refusals = "tandem_calls_refused_total"
    assert moved(refusals, limit="message_size") == 1
    assert moved(refusals, limit="streams") == 1
    assert moved(refusals) == 2
    for stream in open_streams:
        stream.cancel()
    await until(lambda: _value(pages.agents, pages, "tandem_streams_open", 0, kind="probe"))


async def test_conflicts_and_lost_connections_are_counted_by_their_causes(
    pages: Published,
) -> None:
    before = await pages.scrape(pages.agents)
    database = pages.world.database

    async def raising(code: str, connection: Any) -> None:
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")

    for code, _ in (("40P01", 1), ("40001", 1), ("55P03", 1), ("57P01", 1), ("25006", 1)):
        with suppress(Exception):
            await database.transaction(lambda c, code=code: raising(code, c))  # type: ignore[misc]
    moved = Moved(before, await pages.scrape(pages.agents))
    conflicts = "tandem_database_conflicts_total"
    assert moved(conflicts, cause="deadlock") == 4
    assert moved(conflicts, cause="serialization") == 4
    assert moved(conflicts, cause="lock_timeout") == 1
    assert moved("tandem_database_outages_total", cause="connection") == 1
    assert moved("tandem_database_outages_total", cause="read_only") == 1


async def test_a_process_says_what_it_is_and_how_late_its_loop_is(pages: Published) -> None:
    await until(lambda: _lag(pages, 2))
    for port, name in ((pages.agents, "agents"), (pages.tasks, "tasks")):
        scrape = await pages.scrape(port)
        assert scrape.value("tandem_build_info", service=name) == 1
        assert scrape.value("tandem_ready") == scrape.value("tandem_database_up") == 1
        assert scrape.value("process_resident_memory_bytes") > 1e7


async def _lag(pages: Published, times: int) -> bool:
    scrape = await pages.scrape(pages.agents)
    return scrape.value("tandem_event_loop_lag_seconds_count") >= times


async def test_a_process_that_is_not_ready_says_so(pages: Published) -> None:
    await pages.agent_server.set_ready(ready=False)
    assert await _value(pages.agents, pages, "tandem_ready", 0)
    await pages.agent_server.set_ready(ready=True)
    assert await _value(pages.agents, pages, "tandem_ready", 1)


async def test_calls_that_end_in_any_way_leave_nothing_under_way(pages: Published) -> None:
    """Given up, out of time, or served: each that began has ended once."""
    alice = await pages.world.user()
    agent = await alice.agent(await alice.project())
    change = UpdateAgentRequest(agent=Agent(id=agent.id, nickname="Scout"))
    async with under_way(pages.world.url, "LOCK TABLE agents IN EXCLUSIVE MODE") as blocked:
        calls = [alice.agents.UpdateAgent(change) for _ in range(6)]
        late = [alice.agents.UpdateAgent(change, timeout=0.05) for _ in range(6)]
        waiting = [asyncio.ensure_future(outcome(call)) for call in calls + late]
        await blocked.wait()
        for call in calls[:3]:
            call.cancel()
        await asyncio.wait(waiting[6:])
    await asyncio.wait(waiting)
    method = {"grpc_method": "UpdateAgent"}

    async def are_even() -> bool:
        scrape = await pages.scrape(pages.agents)
        started = scrape.value("grpc_server_started_total", **method)
        return started > 0 and scrape.value("grpc_server_handled_total", **method) == started

    await until(are_even)
    await until(lambda: _value(pages.agents, pages, "tandem_calls_in_flight", 0, kind="work"))
    scrape = await pages.scrape(pages.agents)
    assert scrape.value("grpc_server_handled_total", **method, grpc_code="Canceled") >= 9
    assert scrape.value("grpc_server_handled_total", **method, grpc_code="OK") >= 3


async def test_a_watch_that_cannot_read_falls_behind_by_the_events_that_are_there(
    pages: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await pages.world.user()
    project = await alice.project()
    watch = alice.events.WatchEvents(WatchEventsRequest(project_id=project.id), timeout=None)
    await watch.read()
    gate, page = asyncio.Event(), LogReader.page

    async def gated(self: LogReader, *position: Any) -> Any:
        await gate.wait()
        return await page(self, *position)

    monkeypatch.setattr(LogReader, "page", gated)

    async def is_behind() -> bool:
        """A read that began before may still find some of them."""
        await alice.task(project)
        return (await pages.scrape(pages.tasks)).value("tandem_event_log_lag_events") >= 2

    await until(is_behind)
    gate.set()
    await until(lambda: _value(pages.tasks, pages, "tandem_event_log_lag_events", 0))
    watch.cancel()
    await until(lambda: _value(pages.tasks, pages, "tandem_streams_open", 0, kind="watch"))


async def test_a_sweep_counts_what_it_has_done(pages: Published) -> None:
    world = pages.world
    team = await Team.formed(world)
    task = await team.owner.task(team.project)
    await (await team.worker()).claim()
    await expire(world, task.id)
    before, began = await pages.scrape(pages.tasks), time.time()
    await swept(world, team)
    after = await pages.scrape(pages.tasks)
    moved = Moved(before, after)
    assert moved("tandem_sweep_done_total", chore="leases_expired") == 1
    assert moved("tandem_sweep_done_total") == 1
    assert after.value("tandem_sweep_last_success_timestamp_seconds") >= began
    assert moved("tandem_sweep_failures_total") == 0


async def test_without_the_database_a_page_says_so_and_comes_at_once(
    fresh_world: World, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backlog.__init__, "__defaults__", (0,))  # look at each scrape
    name = fresh_world.url.rpartition("/")[2]
    async with published(fresh_world) as pages:
        for down in (False, True, False):
            await execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS {not down}")
            await execute(postgres_url, END_OTHERS.format(name))
            await until(lambda d=down: _follows(pages, is_up=not d))  # type: ignore[misc]
            for port in (pages.agents, pages.tasks):
                scrape = await pages.scrape(port)
                assert scrape.value("tandem_database_up") == (not down)
                assert scrape.value("process_open_fds") > 0
            about_tasks = {"tandem_tasks", "tandem_leases", "tandem_tasks_read_timestamp_seconds"}
            assert about_tasks <= scrape.names() or down
            assert about_tasks.isdisjoint(scrape.names()) or not down


async def _follows(pages: Published, *, is_up: bool) -> bool:
    """Whether the look of each second, which only a process has, finds this."""
    return await pages.world.database.takes_changes() == is_up


async def test_a_process_publishes_at_the_address_of_its_setting(database_url: str) -> None:
    process = service(
        "agent_service", TANDEM_DATABASE_URL=database_url, TANDEM_AGENT_METRICS_ADDRESS=FREE
    )
    assert process.stderr
    try:
        said = orjson.loads(await asyncio.to_thread(process.stderr.readline))
        while said["event"] != "metrics":
            said = orjson.loads(await asyncio.to_thread(process.stderr.readline))
        answer = await got(said["port"])
        assert Scrape(answer.text).value("tandem_build_info", service="agents") == 1
        taken = f"127.0.0.1:{said['port']}"
        other = service(
            "agent_service", TANDEM_DATABASE_URL=database_url, TANDEM_AGENT_METRICS_ADDRESS=taken
        )
        _, refusal = await asyncio.to_thread(other.communicate)
        assert refusal.splitlines()[-1].startswith(f"Cannot listen on {taken}")
        assert other.returncode == 1
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate)
