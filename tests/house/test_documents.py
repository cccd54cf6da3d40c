"""The documents are complete, and what they refer to exists: files, headings, tests, settings."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from shared.settings import setting_variables
from shared.settings.variables import IN_FILE, OTHERS, OTHERS_IN_FILES, TESTS

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "docs/**/*.md", "benchmarks/*.md", "clients/*/*.md")
PAGES = sorted(page for pattern in PATTERNS for page in ROOT.glob(pattern))
SECURITY = ROOT / "docs" / "security.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
# Its tests name variables that nothing reads.
MADE_UP = ("tests/shared/test_environment.py", "tests/cli/test_config.py")
DECISIONS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page.read_text()) if not resolves(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_backticks_exists(page: Path) -> None:
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)(?:::\w+)?`", page.read_text())
    ours = [path for path in named if (ROOT / path.split("/")[0]).exists()]
    assert [path for path in ours if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("link", "good"),
    [
        ("page.md", True),
        ("page.md#two-words", True),
        ("page.md#given", True),
        ("#two-words-1", True),
        ("page.md#else", False),
        ("other.md", False),
        ("#code", False),
    ],
)
def test_the_check_itself_tells_right_from_wrong(tmp_path: Path, link: str, good: bool) -> None:
    page = tmp_path / "page.md"
    page.write_text('# Two `words`!\n<a id="given"></a>\n## Two words\n```\n# Code\n```\n')
    assert resolves(page, link) is good


def test_every_threat_names_a_test_that_exists() -> None:
    rows = threats(SECURITY.read_text())
    assert len(rows) > 50
    for threat, proofs in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proofs)
        assert named, f"no test: {threat}"
        assert [f"{file}::{name}" for file, name in named if name not in known_in(file)] == []


def test_every_setting_is_documented_with_its_default() -> None:
    for each in setting_variables():
        row = rf"^\| `{each.name}`(?:, or `…_FILE`)? \| .+? \| (.*?) \| .+? \| .+ \|$"
        found = re.search(row, CONFIGURATION.read_text(), re.MULTILINE)
        assert found, f"docs/configuration.md has no row for {each.name}."
        assert each.default is None or found[1] == f"`{each.default}`"


def test_every_variable_that_is_named_anywhere_is_known() -> None:
    """A process refuses what no part of Tandem reads."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split() if name not in MADE_UP]
    known = {name for each in setting_variables() for name in (each.name, each.file_name)}
    known |= {*OTHERS, *(name + IN_FILE for name in OTHERS_IN_FILES)}
    for file in files:
        text = file.read_bytes().decode(errors="ignore")
        named = re.findall(r"\bTANDEM_[A-Z][A-Z0-9_]*[A-Z0-9]\b", text)
        assert not [n for n in named if n not in known and not n.startswith(TESTS)], file


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_every_decision_is_in_the_index_and_has_its_parts(page: Path) -> None:
    text = page.read_text()
    title = re.match(rf"# {page.name[:4]}: (.+)\n", text)
    assert title
    assert f"[{page.name[:4]}]({page.name})" in (page.parent / "README.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "Alternatives"]


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_no_message_in_a_sequence_diagram_is_cut() -> None:
    """Mermaid takes a semicolon there for the end of the line, and then draws nothing at all."""
    for page in PAGES:
        for diagram in re.findall(
            r"^```mermaid\nsequenceDiagram\n(.*?)^```", page.read_text(), re.M | re.S
        ):
            assert ";" not in diagram, page.name


def links(text: str) -> list[str]:
    """The targets of links that are not to another host."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(text))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def resolves(page: Path, link: str) -> bool:
    path, _, place = link.partition("#")
    target = page.parent / path if path else page
    if not place or not target.exists():
        return target.exists()
    return place in places(target.read_text())


@cache
def places(text: str) -> set[str]:
    """The anchors of a page: those that it spells, and those that its headings get."""
    found = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE):
        words = re.sub(r"<[^>]*>", "", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def threats(text: str) -> list[tuple[str, str]]:
    """The rows of the tables with three columns: the threat, and the tests."""
    rows = re.findall(r"^\| (.+?) \| .+? \| (.+?) \|$", text, re.MULTILINE)
    return [(threat, proofs) for threat, proofs in rows if threat not in ("threat", "---")]


@cache
def known_in(file: str) -> set[str]:
    path = ROOT / file
    if not path.exists():
        return set()
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }
