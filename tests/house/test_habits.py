"""What helps contributors, from hooks to CI, names things that exist."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from shared.settings import Settings

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
WORDS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_every_hook_runs_a_word_of_the_makefile() -> None:
    hooks = [hook for repo in load(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    words = {re.sub(r"^make ([a-z-]+)( ARGS=--[a-z]+)?$", r"\1", hook["entry"]) for hook in hooks}
    assert {"lint", "types", "proto-lint", "secrets"} <= words <= WORDS


def test_no_hook_fetches_anything_when_it_runs() -> None:
    repos = load(".pre-commit-config.yaml")["repos"]
    assert {repo["repo"] for repo in repos} == {"local"}
    assert {hook["language"] for repo in repos for hook in repo["hooks"]} == {"system"}


def test_ci_runs_every_check_of_make_check() -> None:
    checked = re.search(r"^check: (.*?) ##", MAKEFILE, re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text()
    looped = re.search(r"^for check in (.*?); do$", script, re.MULTILINE)
    assert checked
    assert looped
    assert set(looped[1].split()) == set(checked[1].split()) | {"coverage"}
    assert "test coverage COVERAGE=yes" in MAKEFILE
    assert "export COVERAGE=yes" in script


def test_the_workflow_gives_ci_a_machine_and_nothing_else() -> None:
    (job,) = load(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert all(re.fullmatch(r"[\w/-]+@v\d+", step["uses"]) for step in job["steps"][:-1])
    oldest = re.search(r'requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text())
    assert oldest
    assert oldest[1] in job["strategy"]["matrix"]["python"]


def test_the_devcontainer_installs_everything_and_forwards_both_services() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"] == "make .venv/.dev hooks"
    assert "hooks" in WORDS
    addresses = [Settings.agent_address, Settings.task_address]
    assert container["forwardPorts"] == [int(address.split(":")[1]) for address in addresses]


def test_every_file_has_an_owner() -> None:
    lines = (ROOT / "CODEOWNERS").read_text().splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert "*" in [pattern for pattern, *_ in rules]
    assert all(owner.startswith("@") for _, *owners in rules for owner in owners)


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())
