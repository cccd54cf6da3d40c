"""`tandem agents top`."""

import asyncio
import os
import pty
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from cli.top import CLEAR, age, picture
from tandem.task.v1 import task_service_pb2 as pb
from tests.cli.conftest import PROGRAM, SECRET, Program
from tests.plans import cost_of
from tests.waiting import SECONDS
from tests.world import World

MANY_TASKS = """
INSERT INTO tasks (id, project_id, title, status, required_capabilities, priority)
SELECT gen_random_uuid(), $1, 'Task', CASE WHEN n % 3 = 0 THEN 'completed' ELSE 'pending' END,
    'skill' || n % $3, (ARRAY['low', 'medium', 'high', 'critical'])[n % 4 + 1]
FROM generate_series(1, $2) n
"""
MANY_AGENTS = """
INSERT INTO agents (id, project_id, name, status)
SELECT gen_random_uuid(), $1, 'agent' || n, (ARRAY['online', 'offline'])[n % 2 + 1]
FROM generate_series(1, $2) n
"""
PRESENCE = """
INSERT INTO agent_presence (project_id, agent_id) SELECT project_id, id FROM agents
ON CONFLICT DO NOTHING
"""
# Of each project as many as it has agents that are online, so that no table is small.
MANY_LEASES = """
WITH held AS (
    SELECT t.id, a.id AS agent_id FROM (
        SELECT id, row_number() OVER (ORDER BY id) AS n FROM tasks WHERE project_id = $1
    ) t JOIN (
        SELECT id, row_number() OVER (ORDER BY id) AS n FROM agents
        WHERE project_id = $1 AND status = 'online'
    ) a USING (n)
), attempts AS (
    INSERT INTO task_attempts (project_id, task_id, fence, attempt, agent_id)
    SELECT $1, id, 1, 1, agent_id FROM held
)
INSERT INTO task_leases (project_id, task_id, agent_id, fence, pooled, agent_slot, expires_at,
    seconds)
SELECT $1, id, agent_id, 1, true, 1, now() + interval '1 hour', 60 FROM held
"""
ANALYZE = "ANALYZE tasks; ANALYZE agents; ANALYZE agent_presence"


def tandem(world: World) -> Program:
    environment = {"TANDEM_DATABASE_URL": world.url, "TANDEM_JWT_SECRET": SECRET}
    return Program({**environment, "COLUMNS": "160"})


async def test_it_shows_agents_leases_and_what_waits(world: World) -> None:
    alice = await world.user()
    project = await alice.project(slug="apollo", name="Apollo")
    scout = await alice.agent(project, name="Scout", capabilities=["search"], max_leases=5)
    await alice.agent(project, name="Idle")
    await alice.task(project, title="Land", priority=pb.TASK_PRIORITY_CRITICAL)
    caller = await alice.as_agent(scout)
    request = pb.ClaimTasksRequest(project_id=project.id, agent_id=scout.id)
    await caller.tasks.ClaimTasks(request)
    for title in ("One", "Two"):
        await alice.task(project, title=title, required_capabilities=["search", "read"])
    mine = {"assigned_to": scout.id, "assigned_to_type": pb.ASSIGNEE_TYPE_AGENT}
    await alice.task(project, priority=pb.TASK_PRIORITY_HIGH, **mine)
    await world.execute("UPDATE agents SET status = 'online' WHERE name = 'Scout'")
    said = await tandem(world).prints("agents", "top", "apollo", "--once")
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert rows[0].startswith("Apollo (apollo) ")
    assert any(row.startswith("Scout online ") and " 1 of 5 " in row for row in rows)
    assert "1 offline" in rows
    assert any(row.startswith("Land Scout 1 of 3 ") for row in rows)
    assert any(row.startswith("read, search 2 ") and row.endswith(" medium") for row in rows)
    assert any(row.startswith("agent Scout 1 ") and row.endswith(" high") for row in rows)


async def test_it_says_that_there_is_nothing(world: World) -> None:
    project = await (await world.user()).project()
    said = await tandem(world).prints("agents", "top", project.id, "--once")
    for part in ("Agents: none", "Leases: none", "Waiting: none", "0 offline"):
        assert f" {part}\n" in said


class Terminal:
    """A process on a terminal of its own, and what it has written there."""

    def __init__(self, process: asyncio.subprocess.Process, keyboard: int) -> None:
        self.process = process
        self.written = ""
        self._keyboard = keyboard

    async def until_pictures(self, number: int, text: str) -> None:
        """Wait for so many pictures, the last of which is whole if it has the text."""
        while self.written.count(CLEAR) < number or text not in self.written.split(CLEAR)[-1]:
            part = asyncio.to_thread(os.read, self._keyboard, 65536)
            self.written += (await asyncio.wait_for(part, SECONDS)).decode()

    def press(self, key: bytes) -> None:
        os.write(self._keyboard, key)


def on_screen(screen: int) -> None:
    """Be what the keys of the terminal are for; what starts tests may ignore Ctrl-C."""
    os.login_tty(screen)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@asynccontextmanager
async def on_a_terminal(tandem: Program, *arguments: str) -> AsyncIterator[Terminal]:
    keyboard, screen = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *arguments,
        env={**os.environ, **tandem.environment},
        preexec_fn=lambda: on_screen(screen),
    )
    os.close(screen)
    try:
        yield Terminal(process, keyboard)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(keyboard)


async def test_on_a_terminal_it_is_shown_again_until_ctrl_c(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    top = ("agents", "top", project.slug, "--interval", "0.5")
    async with on_a_terminal(tandem(world), *top) as terminal:
        await terminal.until_pictures(1, "Waiting: none")
        await alice.task(project, required_capabilities=["search"])
        await terminal.until_pictures(2, "search")
        terminal.press(b"\x03")
        assert await asyncio.wait_for(terminal.process.wait(), SECONDS) == 0
    assert "Traceback" not in terminal.written


async def test_without_a_terminal_it_is_shown_once(world: World) -> None:
    project = await (await world.user()).project()
    said = await tandem(world).prints("agents", "top", project.slug)
    assert said.count(f"({project.slug})") == 1
    assert CLEAR not in said


async def test_a_project_that_is_not_there_is_a_sentence(world: World) -> None:
    sentence = await tandem(world).says_why_not("agents", "top", "nothing", "--once")
    assert sentence == "There is no project nothing.\n"


async def test_what_it_reads_does_not_grow_with_the_project(world: World) -> None:
    costs = []
    for tasks, agents, lanes in ((8_000, 1_000, 30), (24_000, 3_000, 200)):
        project = await (await world.user()).project()
        await world.execute(MANY_TASKS, UUID(project.id), tasks, lanes)
        await world.execute(MANY_AGENTS, UUID(project.id), agents)
        await world.execute(PRESENCE)
        await world.execute(ANALYZE)
        await world.execute(MANY_LEASES, UUID(project.id))
        await world.execute("ANALYZE task_leases; ANALYZE task_attempts")
        costs.append(await cost_of(world.owner, partial(picture, project=project.slug)))
    small, large = costs
    assert large.sequential <= {"projects"}, large.sequential
    assert large.rows <= small.rows * 1.3


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (None, "-"),
        (timedelta(), "0s"),
        (timedelta(seconds=61), "1m 1s"),
        (timedelta(days=2, hours=3, minutes=4), "2d 3h"),
        (timedelta(hours=5), "5h"),
    ],
)
def test_ages_have_two_units(length: timedelta | None, shown: str) -> None:
    assert age(length) == shown
