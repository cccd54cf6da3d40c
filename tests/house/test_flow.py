"""A call can be followed: through how many functions, in how many files, is part of the style."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tandem.agent.v1.agent_service_pb2 import Agent, UpdateAgentRequest
from tandem.task.v1.task_service_pb2 import CreateTaskRequest, Task
from tests.world import World

ROOT = Path(__file__).parents[2]
CODE = tuple(f"{ROOT / name}/" for name in ("agent_service", "task_service", "shared"))
# Asks gRPC for calls that are still to come, between those that are followed here.
ACCEPTING = str(ROOT / "shared" / "grpc_server" / "accepting.py")
# Comprehensions are frames of their own before Python 3.12.
NO_FUNCTIONS = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")
# Of these, four functions in three files write the event and tell those who wait for it, and five
# read one field each that is not in its row as it is in its message.
MOST_FUNCTIONS, MOST_FILES = 54, 16


async def functions(call: Awaitable[Any]) -> set[tuple[str, int]]:
    """The functions of the services, by file and line, that a call passes through."""
    passed: set[tuple[str, int]] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        ours = code.co_filename.startswith(CODE) and code.co_name not in NO_FUNCTIONS
        if event == "call" and ours and code.co_filename != ACCEPTING:
            passed.add((code.co_filename, code.co_firstlineno))

    sys.setprofile(note)
    try:
        await call
    finally:
        sys.setprofile(None)
    return passed


async def fewest(call: Callable[[], Awaitable[Any]]) -> set[tuple[str, int]]:
    """The functions of a call for which no cache was out of date, as one of a second soon is."""
    return min([await functions(call()) for _ in range(5)], key=len)


def assert_short(passed: set[tuple[str, int]]) -> None:
    shown = "\n".join(f"{file}:{line}" for file, line in sorted(passed))
    assert 20 < len(passed) <= MOST_FUNCTIONS, f"{len(passed)} functions:\n{shown}"
    files = {file for file, _ in passed}
    assert len(files) <= MOST_FILES, f"{len(files)} files:\n{shown}"


async def test_a_task_is_created_in_few_steps(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    request = CreateTaskRequest(task=Task(project_id=project.id, title="Task"))
    await alice.tasks.CreateTask(request)  # caches are warm from here on
    assert_short(await fewest(lambda: alice.tasks.CreateTask(request)))


async def test_an_agent_is_updated_in_few_steps(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    request = UpdateAgentRequest(agent=Agent(id=agent.id, nickname="Scout"))
    await alice.agents.UpdateAgent(request)
    assert_short(await fewest(lambda: alice.agents.UpdateAgent(request)))
