"""The README's example prints what it says, against both services."""

import asyncio
import os
import re
import sys
from pathlib import Path

from tests.world import World

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"


async def test_the_worked_example_prints_what_it_says(world: World, tmp_path: Path) -> None:
    example, printed = worked_example()
    addresses = f"agent_address={world.settings.agent_address!r}"
    addresses += f", task_address={world.settings.task_address!r}"
    program = tmp_path / "example.py"
    program.write_text(example.replace("connect(", f"connect({addresses}, "))
    token = (await world.user()).token
    assert token
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, stdout=asyncio.subprocess.PIPE, env={**os.environ, "TOKEN": token}
    )
    said, _ = await process.communicate()
    assert said.decode() == printed


def worked_example() -> tuple[str, str]:
    """The program, and what it prints."""
    section = README.read_text().split("## A worked example")[1].split("\n## ")[0]
    (program,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    (printed,) = re.findall(r"^```text\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return program, printed
