"""A server is started, found again, and stopped."""

import os
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from local.embedded_postgres import server_for_command, start
from local.embedded_postgres.postmaster import LOG_BYTES
from local.embedded_postgres.processes import find_postmaster
from shared.host.embedded_postgres import OWNER, SERVICE, EmbeddedPostgresError, running_url
from shared.service import NO_TABLES
from tests.local.embedded_postgres.folders import ask
from tests.processes import service

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "TimeZone": "UTC",
    "jit": "off",
    "fsync": "on",
    "server_encoding": "UTF8",
    "password_encryption": "scram-sha-256",
}


def test_a_new_server_has_the_database_and_the_settings(empty_data_dir: Path) -> None:
    data_dir = empty_data_dir
    server = start(data_dir)
    assert ask(server.url, "SELECT current_database()") == "tandem"
    assert {name: ask(server.url, f"SHOW {name}") for name in SETTINGS} == SETTINGS
    addresses = {c.laddr.ip for c in server.process.net_connections() if c.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}


def test_nobody_gets_in_without_the_password(data_dir: Path) -> None:
    server = start(data_dir)
    password = urlsplit(server.url).password
    assert password
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(server.url.replace(password, "guessed"), "SELECT 1")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()}
    assert modes["postgres.password"] == 0o600
    assert modes["postgres"] == 0o700


def test_rows_and_url_outlive_a_stop(data_dir: Path) -> None:
    first = start(data_dir)
    ask(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    first.stop()
    assert not first.alive()
    assert running_url(data_dir) is None
    second = start(data_dir)
    assert second.url == first.url
    assert ask(second.url, "SELECT answer FROM kept") == 42


def test_a_second_start_finds_the_running_server(data_dir: Path) -> None:
    first = start(data_dir)
    second = start(data_dir)
    assert second.adopted
    assert second.process.pid == first.process.pid
    assert second.url == first.url
    assert running_url(data_dir) == second.service_url == first.service_url
    second.stop()
    assert not first.alive()


def test_a_taken_port_is_left_to_its_owner(data_dir: Path) -> None:
    first = start(data_dir)
    port = urlsplit(first.url).port
    assert port
    first.stop()
    with socket.create_server(("127.0.0.1", port)):
        second = start(data_dir)
    assert urlsplit(second.url).port != port
    assert ask(second.url, "SELECT 1") == 1


def test_the_log_stays_bounded_while_the_server_writes_to_it(data_dir: Path) -> None:
    server = start(data_dir)
    log = server.home.log
    with log.open("a") as file:
        file.write("x" * (LOG_BYTES + 1))
    server.bound_log()
    assert log.stat().st_size == 0
    server.stop()
    assert "shut down" in log.read_text()


def test_the_environment_of_the_caller_changes_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGOPTIONS", "-c nonsense=1")
    server = start(data_dir)
    assert "PGOPTIONS" not in psutil.Process(server.process.pid).environ()


def test_a_service_finds_the_running_server(data_dir: Path) -> None:
    start(data_dir)
    said = service("agent_service", TANDEM_DATA_DIR=str(data_dir)).communicate(timeout=60)[1]
    assert said == NO_TABLES + "\n"


def test_a_server_for_a_command_ends_with_the_command(data_dir: Path) -> None:
    with server_for_command(data_dir, SERVICE) as url:
        assert ask(url, "SELECT 1") == 1
        assert running_url(data_dir) == url
    assert running_url(data_dir) is None


def test_a_command_uses_a_running_server_as_it_is(data_dir: Path) -> None:
    server = start(data_dir)
    with server_for_command(data_dir, OWNER) as url:
        assert url == server.url == running_url(data_dir, OWNER)
    with server_for_command(data_dir, SERVICE) as url:
        assert url == server.service_url == running_url(data_dir)
    assert server.alive()


@pytest.mark.parametrize("content", ["", "garbage"])
def test_a_ruined_port_file_is_made_anew(data_dir: Path, content: str) -> None:
    server = start(data_dir)
    server.stop()
    server.home.port_file.write_text(content)
    assert ask(start(data_dir).url, "SELECT 1") == 1


def test_a_password_that_is_gone_is_not_replaced_by_another(data_dir: Path) -> None:
    server = start(data_dir)
    server.stop()
    password = data_dir / "postgres.password"
    password.rename(kept := data_dir / "kept")
    with pytest.raises(EmbeddedPostgresError, match="put it back"):
        start(data_dir)
    assert not password.exists()
    assert find_postmaster(server.home.cluster) is None
    kept.rename(password)
    assert ask(start(data_dir).url, "SELECT 1") == 1


def test_a_database_that_is_gone_is_not_replaced_by_an_empty_one(data_dir: Path) -> None:
    server = start(data_dir)
    server.stop()
    moved = data_dir.with_name("moved")
    os.rename(server.home.cluster, moved)
    with pytest.raises(EmbeddedPostgresError, match="is gone from"):
        start(data_dir)
    os.rename(moved, server.home.cluster)
    assert ask(start(data_dir).url, "SELECT 1") == 1
