"""A service as a process: what it says if it cannot start, and how it ends."""

import signal
from pathlib import Path

import orjson
import pytest

from tests.processes import port, service

MODULES = ("agent_service", "task_service")
URL = "postgresql://tandem:{password}@127.0.0.1:1/tandem"
SECONDS = 300


def refused(module: str = "agent_service", **environment: str) -> str:
    """The one sentence that a service says instead of starting."""
    said = service(module, **environment).communicate(timeout=SECONDS)[1]
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("password", ["hunter2#end", "hunter2?end", "hunter2/end"])
def test_a_password_that_is_not_quoted_is_not_repeated(password: str) -> None:
    said = refused(TANDEM_DATABASE_URL=URL.format(password=password))
    assert said.startswith("TANDEM_DATABASE_URL: must be a URL")
    assert "hunter2" not in said


def test_a_parameter_that_makes_no_sense_is_not_tried_again() -> None:
    url = URL.format(password="hunter2") + "?sslmode=maybe"
    assert refused(TANDEM_DATABASE_URL=url).startswith("TANDEM_DATABASE_URL: must be a URL")


def test_nothing_to_connect_to_is_said(tmp_path: Path) -> None:
    assert "TANDEM_DATABASE_URL is not set" in refused(TANDEM_DATA_DIR=str(tmp_path))


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_key_is_said(module: str, database_url: str) -> None:
    said = refused(module, TANDEM_DATABASE_URL=database_url, TANDEM_JWT_SECRET="")
    assert "set TANDEM_JWT_PUBLIC_KEY" in said


def test_a_database_without_tables_is_not_served(empty_database_url: str) -> None:
    assert "tandem db upgrade" in refused(TANDEM_DATABASE_URL=empty_database_url)


@pytest.mark.parametrize("module", MODULES)
def test_it_ends_as_it_is_told(module: str, database_url: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = service(module, TANDEM_DATABASE_URL=database_url)
        assert port(process)
        process.send_signal(number)
        assert orjson.loads(process.communicate(timeout=SECONDS)[1])["event"] == "stopped"
        assert process.returncode == 0
