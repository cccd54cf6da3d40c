"""The README's first session works as it is printed."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.supervised import Run, Surroundings

ROOT = Path(__file__).parents[2]
ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# What a later command says again: ids, and the secret of an API key.
NAMED = re.compile(rf"{ID}|tdm_[a-z0-9]+_[\w-]{{43}}")
VOLATILE = {"createdAt", "updatedAt", "readyAt", "keyId", "keyPrefix"}


def test_the_first_session_of_the_readme(running: Run) -> None:
    names: dict[str, str] = {}
    setup, *steps = _session()
    for command, printed in steps:
        said = _run(f"{setup[0]}\n{_known(command, names)}", running.surroundings)
        if printed.startswith("{"):
            _compare(json.loads(printed), json.loads(said), names)
        else:
            assert said == _known(printed, names)
    assert len(steps) == 7


def _session() -> Iterator[tuple[str, str]]:
    """Each command of the session with what it is said to print."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## A first session")[1].split("\n## ")[0]
    blocks = re.findall(r"```(sh|json|text)\n(.*?)```", section, re.DOTALL)
    for (kind, content), (next_kind, printed) in zip(
        blocks, [*blocks[1:], ("sh", "")], strict=True
    ):
        if kind == "sh":
            yield content, "" if next_kind == "sh" else printed


def _run(script: str, surroundings: Surroundings) -> str:
    for port, address in (
        ("50051", surroundings.agent_address),
        ("50052", surroundings.task_address),
    ):
        script = script.replace(f"call {port}", f"call {address.rpartition(':')[2]}")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=surroundings.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # A refusal is printed as an error.
    return done.stdout or done.stderr


def _compare(printed: dict[str, Any], said: dict[str, Any], names: dict[str, str]) -> None:
    for name, value in printed.items():
        if isinstance(value, dict):
            _compare(value, said[name], names)
        elif NAMED.fullmatch(str(value)):
            assert names.setdefault(value, said[name]) == said[name]
        elif name not in VOLATILE:
            assert said[name] == value
    assert set(said) - {"details"} == set(printed)


def _known(command: str, names: dict[str, str]) -> str:
    return NAMED.sub(lambda found: names[found[0]], command)
