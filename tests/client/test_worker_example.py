"""The example of workers: agents that are killed share tasks, and none is lost or done twice."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from task_service.sweep.rules import sweep_forever
from tests.world import World

EXAMPLE = Path(__file__).parents[2] / "clients" / "python" / "examples" / "worker.py"
TASKS = 12


@pytest.mark.long
async def test_agents_that_are_killed_lose_no_task_and_do_none_twice(world: World) -> None:
    token = (await world.user()).token
    assert token
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLE,
        env={
            **os.environ,
            "TANDEM_AGENT_ADDRESS": world.settings.agent_address,
            "TANDEM_TASK_ADDRESS": world.settings.task_address,
            "TOKEN": token,
            "TASKS": str(TASKS),
            "KILL_EVERY": "2",
            "KILLS": "2",
            "WORK_SECONDS": "1.5",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    # What an agent held that is killed comes back by this, which a service process runs beside.
    sweeping = asyncio.create_task(sweep_forever(world.database, world.settings))
    try:
        said = (await process.communicate())[0].decode()
    finally:
        sweeping.cancel()
        await asyncio.wait([sweeping])
    assert process.returncode == 0, said
    counted = re.search(r"kills (\d+), hand-outs (\d+), completions (\d+)\n", said)
    assert counted, said
    kills, claims, completions = map(int, counted.groups())
    assert completions == TASKS <= claims
    assert kills <= 2
    assert said.endswith("doubles 0, lost 0\n")
    completed = "SELECT count(*) FROM task_attempts WHERE outcome = 'completed'"
    assert await world.value(completed) == TASKS
