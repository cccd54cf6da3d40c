"""Which files may import which modules, so that each kind of file has one concern."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("agent_service", "task_service", "shared", "local", "cli", "migrations")
FILES = sorted(str(path.relative_to(ROOT)) for name in CODE for path in (ROOT / name).rglob("*.py"))

GRPC = r"grpc|grpc_\w+|google|protovalidate|tandem"
KNOWS_GRPC = (
    r".*/(servicer|messages|__main__|assignees)\.py"
    r"|cli/health\.py"
    r"|shared/grpc_server/.*|shared/resources/(idempotency|pagination|validation|validation_rules)\.py"
)
KNOWS_SQL = (
    r".*/queries\.py|migrations/.*"
    r"|shared/(schema|database)/.*|shared/auth/(access|authenticator)\.py"
    r"|shared/resources/(idempotency|listing|project_scoped)\.py"
)

FORBIDDEN = (  # files, modules that they may not import, why
    (r"shared/.*", r"agent_service|task_service|cli", "shared stands below the services"),
    (r"agent_service/.*", r"task_service|cli", "services meet over gRPC only"),
    (r"task_service/.*", r"agent_service|cli", "services meet over gRPC only"),
    (r"local/.*", r"\w+_service|cli|migrations", "local stands below the command line"),
    (r"migrations/versions/.*", r"shared\.schema", "a migration is frozen"),
    (rf"(?!{KNOWS_GRPC}).*", GRPC, "only the edge knows gRPC"),
    (rf"(?!{KNOWS_SQL}).*", r"sqlalchemy", "only queries, schema and migrations know SQL"),
    (
        r".*/servicer\.py",
        r"\w+_service\.(?!(\w+\.)?(messages|rules)(\.|$)).*",
        "it only translates",
    ),
    (r".*/messages\.py", r"\w+_service\.(.*\.)?(servicer|rules)", "it only translates"),
    (r".*/rules\.py", r"\w+_service\.(.*\.)?(servicer|messages)", "rules know no messages"),
    (r".*/queries\.py", r"\w+_service\.(.*\.)?(servicer|messages|rules)", "queries know tables"),
    (r".*/lifecycle\.py", r"(?!shared\.errors|enum|collections|typing)\w+", "it is pure"),
)


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_what_its_place_allows(file: str) -> None:
    assert offences(file, (ROOT / file).read_text()) == []


def offences(file: str, source: str) -> list[str]:
    return [
        f"{file} imports {module}: {why}"
        for files, modules, why in FORBIDDEN
        if re.fullmatch(files, file)
        for module in imported(source)
        if re.match(rf"({modules})(\.|$)", module)
    ]


def imported(source: str) -> set[str]:
    """Name the modules, and the names in them, that a source text imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    ("file", "source", "allowed"),
    [
        ("shared/resources/pagination.py", "from task_service.tasks import rules", False),
        ("agent_service/agents/rules.py", "import grpc", False),
        ("agent_service/agents/rules.py", "from tandem.agent.v1 import agent_pb2", False),
        ("agent_service/agents/rules.py", "from sqlalchemy import select", False),
        ("agent_service/agents/rules.py", "from agent_service.agents import queries", True),
        ("agent_service/agents/rules.py", "def f():\n    import grpc", False),
        ("agent_service/agents/servicer.py", "from agent_service.agents import queries", False),
        ("agent_service/agents/servicer.py", "from agent_service.agents import rules", True),
        ("agent_service/agents/queries.py", "from sqlalchemy import select", True),
        ("agent_service/agents/queries.py", "import grpc", False),
        ("agent_service/agents/lifecycle.py", "from shared.errors import Refusal", True),
        ("agent_service/agents/lifecycle.py", "import asyncpg", False),
        ("task_service/tasks/rules.py", "import agent_service.agents.rules", False),
        ("task_service/assignees.py", "import grpc", True),
        ("local/supervisor.py", "from cli.console import CommandError", False),
        ("migrations/versions/001_base.py", "from shared.schema import users", False),
    ],
)
def test_the_rule_itself_tells_right_from_wrong(file: str, source: str, allowed: bool) -> None:
    assert (offences(file, source) == []) is allowed
