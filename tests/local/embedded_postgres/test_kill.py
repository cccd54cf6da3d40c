"""Whatever is killed, the next start has every acknowledged row."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from local.embedded_postgres import Server, postmaster, start
from local.embedded_postgres.account import Account, account_for
from local.embedded_postgres.processes import has_ended, processes_in
from shared.host.embedded_postgres import EmbeddedPostgresError
from tests.local.embedded_postgres.folders import ask, copy, reachable_folder, remove

START_AND_DIE = """
import os, sys
from pathlib import Path
from local.embedded_postgres import start
print(start(Path(sys.argv[1])).process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def kill(server: Server) -> None:
    server.process.kill()
    server.process.wait()


def test_a_killed_server_loses_no_acknowledged_row(data_dir: Path) -> None:
    server = start(data_dir)
    ask(server.url, "CREATE TABLE kept (number int)")
    acknowledged = asyncio.run(write_until_killed(server))
    assert acknowledged > 100
    again = start(data_dir)
    assert again.url == server.url
    found = ask(again.url, "SELECT count(*) FROM kept WHERE number < $1", acknowledged)
    assert found == acknowledged


async def write_until_killed(server: Server) -> int:
    connection = await asyncpg.connect(server.url)
    number = 0
    try:
        while True:
            await connection.execute("INSERT INTO kept VALUES ($1)", number)
            number += 1
            if number == 200:
                server.process.kill()  # and go on writing until it is noticed
    except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError):
        return number
    finally:
        connection.terminate()
        server.process.wait()


def test_a_server_outlives_its_starter_and_is_adopted(data_dir: Path) -> None:
    starter = subprocess.run(
        [sys.executable, "-c", START_AND_DIE, data_dir], capture_output=True, check=False
    )
    assert starter.returncode == -signal.SIGKILL
    server = start(data_dir)
    assert server.adopted
    assert server.process.pid == int(starter.stdout)
    assert ask(server.url, "SELECT 1") == 1
    server.stop()
    assert not server.alive()


def test_an_innocent_process_with_the_recorded_pid_is_left_alone(data_dir: Path) -> None:
    server = start(data_dir)
    kill(server)
    with bystander(account_for(server.home.cluster), Path("/")) as innocent:
        record_pid(server, innocent.pid)
        again = start(data_dir)
        assert not again.adopted
        assert ask(again.url, "SELECT 1") == 1
        assert innocent.poll() is None
        innocent.kill()


def test_another_server_with_the_recorded_pid_is_left_alone(data_dir: Path, original: Path) -> None:
    folder = reachable_folder()
    copy(original, folder / "data")
    other = start(folder / "data")
    server = start(data_dir)
    kill(server)
    record_pid(server, other.process.pid)
    again = start(data_dir)
    assert not again.adopted
    assert again.process.pid != other.process.pid
    assert ask(other.url, "SELECT 1") == 1
    remove(folder / "data")
    folder.rmdir()


@pytest.mark.parametrize("remains", ["", "\0\0\0\0"])
def test_what_a_power_cut_made_of_the_pid_file_stops_nobody(data_dir: Path, remains: str) -> None:
    server = start(data_dir)
    kill(server)
    (server.home.cluster / "postmaster.pid").write_text(remains)
    assert ask(start(data_dir).url, "SELECT 1") == 1


def test_the_pid_file_stays_while_anybody_works_in_the_cluster(data_dir: Path) -> None:
    server = start(data_dir)
    kill(server)
    with bystander(account_for(server.home.cluster), server.home.cluster) as inhabitant:
        record_pid(server, inhabitant.pid)
        with pytest.raises(EmbeddedPostgresError, match=f"Process {inhabitant.pid} works in"):
            start(data_dir)
        assert (server.home.cluster / "postmaster.pid").exists()
        inhabitant.kill()
    assert not start(data_dir).adopted


def test_orphans_that_do_not_notice_are_ended(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster, "ORPHAN_SECONDS", 0.2)
    server = start(data_dir)
    asyncio.run(leave_computing(server))
    orphans = list(processes_in(server.home.cluster))
    assert orphans
    assert not start(data_dir).adopted
    assert all(has_ended(orphan) for orphan in orphans)


async def leave_computing(server: Server) -> None:
    connection = await asyncpg.connect(server.url)
    endless = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"
    running = asyncio.create_task(connection.execute(endless))
    await asyncio.sleep(0.2)
    kill(server)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    connection.terminate()


def test_a_new_cluster_is_whole_or_not_there(empty_data_dir: Path) -> None:
    data_dir = empty_data_dir
    with subprocess.Popen([sys.executable, "-c", START_AND_DIE, data_dir]) as starter:
        while not list(data_dir.glob("postgres.new-*/data/base")):
            assert starter.poll() is None
        starter.kill()
    assert not (data_dir / "postgres").exists()
    server = start(data_dir)
    assert ask(server.url, "SELECT current_database()") == "tandem"
    assert not list(data_dir.glob("postgres.new-*"))


def bystander(account: Account, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(account.command("/bin/sleep", "60"), **account.options(folder))


def record_pid(server: Server, pid: int) -> None:
    path = server.home.cluster / "postmaster.pid"
    _, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([f"{pid}\n", *rest]))
